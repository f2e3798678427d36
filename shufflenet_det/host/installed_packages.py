"""Lets ``_base_ = 'mmdet::…'`` find the installed mmdet.

mmengine asks ``pkg_resources`` where a package lies, which setuptools has dropped in version 82.
Where it is gone, ``importlib`` is asked. Ends with the release of mmengine after 0.10.7, whose
main branch asks ``importlib`` (https://github.com/open-mmlab/mmengine/pull/1676).
"""

from importlib import metadata, util
from pathlib import Path
from types import ModuleType

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
    folder = _folder(package) or _folder(package.replace("-", "_"))
    if folder is not None:
        return folder
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"{package!r} is not installed: pip install {package}") from None
    sources = [file for file in distribution.files or () if file.suffix == ".py"]
    if not sources:
        raise ModuleNotFoundError(f"{package!r} is installed and has no Python module")
    # The topmost package; a private one (PyYAML's _yaml) last.
    first = min(
        sources, key=lambda f: (f.name != "__init__.py", len(f.parts), f.parts[0][0] in "._")
    )
    return str(Path(str(distribution.locate_file(first))).parent)


def _folder(module: str) -> str | None:
    """Where a package or module lies; None for namespaces, which lie in several places."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):  # its parent is missing, or no package
        return None
    return str(Path(spec.origin).parent) if spec and spec.has_location and spec.origin else None
