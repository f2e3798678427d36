"""Adds ``shufflenet_det.pth`` to wheels and editable installs; all else is in pyproject.toml."""

import setuptools  # noqa: I001  # it is what provides distutils
from distutils.command.install_data import install_data


class InstallBesidePackages(install_data):
    """Puts the data files into site-packages, where Python reads ``.pth`` files at its start."""

    def finalize_options(self):
        self.set_undefined_options("install", ("install_lib", "install_dir"))
        super().finalize_options()


class Distribution(setuptools.Distribution):
    """One whose data files editable installs get as well: setuptools asks for them by this name."""

    has_data = setuptools.Distribution.has_data_files


setuptools.setup(
    distclass=Distribution,
    data_files=[("", ["shufflenet_det.pth"])],
    cmdclass={"install_data": InstallBesidePackages},
)
