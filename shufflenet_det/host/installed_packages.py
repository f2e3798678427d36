"""Find the installed mmdet for ``_base_ = 'mmdet::…'``.

mmengine finds packages with ``pkg_resources``, which setuptools 82 removed. Without it, this module
uses ``importlib``. Remove the module with the release of mmengine after 0.10.7, whose main branch
uses ``importlib`` (https://github.com/open-mmlab/mmengine/pull/1676).
"""

from importlib import metadata, util
from pathlib import Path
from types import ModuleType

from packaging.utils import canonicalize_name

from .import_hooks import replace_everywhere


def install(module: ModuleType) -> None:
    """Patch ``mmengine.utils.package_utils`` if ``pkg_resources`` is missing."""
    if util.find_spec("pkg_resources") is None:
        for ours in (is_installed, get_installed_path):
            replace_everywhere(getattr(module, ours.__name__), ours)


def is_installed(package: str) -> bool:
    """Whether a distribution or a module with this name is installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return _folder(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """The folder of the module with this name, or of the module of a distribution.

    Raises:
        ModuleNotFoundError: Neither is installed.
    """
    names = [package, package.replace("-", "_")]
    if not any(map(_folder, names)):  # as for mmsegmentation, whose module is mmseg
        by_module = metadata.packages_distributions()
        wanted = canonicalize_name(package)
        names = [n for n, owners in by_module.items() if wanted in map(canonicalize_name, owners)]
    for folder in filter(None, map(_folder, names)):
        return folder
    raise ModuleNotFoundError(f"{package!r} is not installed: pip install {package}")


def _folder(module: str) -> str | None:
    """The folder of a package or module; None for namespace packages, which have several."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):  # the parent is missing, or not a package
        return None
    return str(Path(spec.origin).parent) if spec and spec.has_location and spec.origin else None
