"""The installed versions, and whether they work together.

A :func:`problem` makes mmdet unusable; a :func:`doubt` is only a warning.
"""

import platform
from importlib import metadata, util

from packaging.requirements import Requirement
from packaging.version import Version

PACKAGES = ("torch", "torchvision", "mmengine", "mmdet", "mmcv", "mmcv-lite", "pycocotools")
# Maintained forks, which install the same modules under other distribution names.
FORKS = ("onedl-mmengine", "onedl-mmdetection", "onedl-mmcv")
_INSTALL_MMCV = "pip install 'mmcv-lite>=2.1,<2.2'"


def problem() -> str | None:
    """Why mmdet cannot be used, in one sentence with the command that fixes it; None if it can."""
    modules = ("torchvision", "mmdet", "pycocotools")
    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed: pip install {' '.join(missing)}"
    try:
        import mmdet  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def explained(error: Exception) -> ImportError:
    """Add the command that fixes it to an error of ``import mmdet``, which asserts its versions."""
    sentence = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name == "mmcv":
        sentence = f"mmcv is not installed, which mmdet needs: {_INSTALL_MMCV}"
    elif sentence.startswith("MMCV"):
        # mmcv and mmcv-lite install into the same folder, so only one can be installed.
        remove = "pip uninstall -y mmcv && " if _version("mmcv") else ""
        sentence += f" {remove}{_INSTALL_MMCV}"
    elif sentence.startswith("MMEngine"):
        sentence += " pip install 'mmengine>=0.10.5,<1.0'"
    return ImportError(sentence, name="mmdet")


def doubt() -> str | None:
    """A warning in one sentence if the torchvision wheel was built for another torch; or None.

    Only the release numbers are compared, because nightlies, release candidates and vendors' builds
    have inexact requirements.
    """
    installed = _version("torch")
    try:
        required = [Requirement(text) for text in metadata.requires("torchvision") or ()]
        pins = [s for r in required if r.name == "torch" for s in r.specifier if s.operator == "=="]
        if not pins or not installed:
            return None
        if Version(pins[0].version).release == Version(installed).release:
            return None
    except (metadata.PackageNotFoundError, ValueError):  # not stated, or not comparable
        return None
    return (
        f"torchvision {_version('torchvision')} is built for torch {pins[0].version}, and torch "
        f"{installed} is installed; if its ops fail: pip install --upgrade torch torchvision"
    )


def report() -> list[tuple[str, str]]:
    """The rows (name, value) of ``python -m shufflenet_det``, most of them versions."""
    import torch

    from . import import_hooks

    rows = [("python", platform.python_version())]
    rows += [(name, _version(name) or "not installed") for name in PACKAGES]
    rows += [(name, version) for name in FORKS if (version := _version(name))]
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        rows.append(("GPU", f"{', '.join(gpus)} (CUDA {torch.version.cuda})"))
    elif torch.backends.mps.is_available():
        rows.append(("GPU", "Apple's (mps)"))
    else:
        rows.append(("GPU", "none: training and inference run on the CPU"))
    if doubtful := doubt():
        rows.append(("warning", doubtful))
    if trouble := problem():
        return [*rows, ("mmdet", f"does not work: {trouble}")]
    serving = import_hooks.serving()
    rows += [("kernels of mmcv.ops", serving), ("mmdet", "works")]
    if serving == "torchvision":
        rows.append(("needs a compiled mmcv", ", ".join(import_hooks.missing_ops())))
    return rows


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
