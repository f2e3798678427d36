"""Lets ``_base_ = 'mmdet::…'`` find the installed mmdet.

mmengine asks ``pkg_resources`` where a package lies, which setuptools has dropped in version 82.
Where it is gone, ``importlib`` is asked. Ends with the release of mmengine after 0.10.7, whose
main branch asks ``importlib`` (https://github.com/open-mmlab/mmengine/pull/1676).
"""

from importlib import metadata, util
from pathlib import Path
from types import ModuleType

from packaging.utils import canonicalize_name

from .import_hooks import replace_everywhere


def install(module: ModuleType) -> None:
    """Replace the two functions of ``mmengine.utils.package_utils``, if pkg_resources is gone."""
    if util.find_spec("pkg_resources") is None:
        for ours in (is_installed, get_installed_path):
            replace_everywhere(getattr(module, ours.__name__), ours)


def is_installed(package: str) -> bool:
    """Whether a distribution, or a module, of this name is installed."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return _folder(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """The folder of a distribution's module, or of a module of this name.

    Raises:
        ModuleNotFoundError: Neither is installed.
    """
    names = [package, package.replace("-", "_")]
    if not any(map(_folder, names)):  # mmsegmentation's module is mmseg
        by_module = metadata.packages_distributions()
        wanted = canonicalize_name(package)
        names = [n for n, owners in by_module.items() if wanted in map(canonicalize_name, owners)]
    for folder in filter(None, map(_folder, names)):
        return folder
    raise ModuleNotFoundError(f"{package!r} is not installed: pip install {package}")


def _folder(module: str) -> str | None:
    """Where a package or module lies; None for namespaces, which lie in several places."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):  # its parent is missing, or no package
        return None
    return str(Path(spec.origin).parent) if spec and spec.has_location and spec.origin else None
