"""Ships ``configs/`` in the wheel, as ``shufflenet_det/configs``, and ``shufflenet_det.pth``."""
# ruff: noqa: I001

import shutil
from pathlib import Path

import setuptools  # first: it is what provides distutils
from distutils.command.install_data import install_data
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install reads the checkout's
            target = Path(self.build_lib, "shufflenet_det", "configs")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("configs", target, ignore=shutil.ignore_patterns("__pycache__"))


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
    cmdclass={"build_py": BuildWithConfigs, "install_data": InstallBesidePackages},
)
