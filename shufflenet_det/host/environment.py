"""What the installed versions are, whether they fit, and one sentence where they do not.

What is certain is a :func:`problem`; what only looks wrong is a :func:`doubt`, which warns and
forbids nothing.
"""

import platform
from importlib import metadata, util

from packaging.requirements import Requirement
from packaging.version import Version

PACKAGES = ("torch", "torchvision", "mmengine", "mmdet", "mmcv", "mmcv-lite", "pycocotools")
# Maintained forks, which install the same modules under names of their own.
FORKS = ("onedl-mmengine", "onedl-mmdetection", "onedl-mmcv")
_INSTALL_MMCV = "pip install 'mmcv-lite>=2.1,<2.2'"


def problem() -> str | None:
    """Why mmdet cannot be used here, in one sentence with the command that fixes it; or None."""
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
    """What ``import mmdet`` raises, which asserts its versions, with the command that fixes it."""
    sentence = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name == "mmcv":
        sentence = f"mmcv is not installed, which mmdet needs: {_INSTALL_MMCV}"
    elif sentence.startswith("MMCV"):
        # mmcv and mmcv-lite own the same folder: one of them at a time.
        remove = "pip uninstall -y mmcv && " if _version("mmcv") else ""
        sentence += f" {remove}{_INSTALL_MMCV}"
    elif sentence.startswith("MMEngine"):
        sentence += " pip install 'mmengine>=0.10.5,<1.0'"
    return ImportError(sentence, name="mmdet")


def doubt() -> str | None:
    """What looks wrong, in one sentence: a torchvision wheel is built for the torch it names.

    Only releases are compared: nightlies, candidates and vendors' builds name each other loosely.
    """
    installed = _version("torch")
    try:
        required = [Requirement(text) for text in metadata.requires("torchvision") or ()]
        pins = [s for r in required if r.name == "torch" for s in r.specifier if s.operator == "=="]
        if not pins or not installed:
            return None
        if Version(pins[0].version).release == Version(installed).release:
            return None
    except (metadata.PackageNotFoundError, ValueError):  # it does not say, or nothing comparable
        return None
    return (
        f"torchvision {_version('torchvision')} is built for torch {pins[0].version}, and torch "
        f"{installed} is installed; if its ops fail: pip install --upgrade torch torchvision"
    )


def report() -> list[tuple[str, str]]:
    """Rows (what, how it is here) for ``python -m shufflenet_det``, most of them versions."""
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
        rows.append(("doubtful", doubtful))
    if trouble := problem():
        return [*rows, ("mmdet", f"does not work: {trouble}")]
    serving = import_hooks.serving()
    rows += [("kernels of mmcv.ops", serving), ("mmdet", "works")]
    if serving == "torchvision":
        from .ops import NOT_CARRIED

        ops = "; ".join(f"{kind}: {names}" for kind, names in NOT_CARRIED.items())
        rows.append(("needs a compiled mmcv", ops))
    return rows


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
