"""Make a config for a labelled folder, for ``shufflenet-det train --data FOLDER``."""

import json
import os
import re
from pathlib import Path

from mmengine.logging import MMLogger

from ..config_files import find_config
from ..data.commands import FRACTIONS, write
from ..data.formats import read_source
from ..data.split import split

BASE = "own_dataset"
IMAGES_SEEN = 8000
"""Training images over all epochs; :data:`EPOCHS` limits the number of epochs."""
EPOCHS = (20, 200)


def config_for_folder(folder: str | Path, work_dir: str | Path, model: str, seed: int = 0) -> Path:
    """Import a labelled folder and write a config that trains on it.

    The folder is not changed. The work folder gets ``data/`` with images (hard links if possible)
    and annotations in COCO format, and ``config.py``. Files of an earlier run are used again.

    Args:
        folder: Images and labels in one of :data:`~shufflenet_det.data.formats.FORMATS`. If it has
            no validation part, a fifth of the training images is used for validation.
        work_dir: The work folder of the training.
        model: The ready detector to fine-tune.
        seed: Seed of the split.

    Returns:
        The path of the config.

    Raises:
        FileNotFoundError: The folder does not exist, or no detector has this name.
        ValueError: The labels cannot be read, or there are no training images.
    """
    out, config = Path(work_dir, "data"), Path(work_dir, "config.py")
    base = find_config(model)
    if config.is_file() and out.is_dir():
        return config
    if not out.is_dir():
        source = read_source(folder)
        parts = source.parts
        whole = parts.pop("all", None) or parts.get("train")
        if whole is None:
            raise ValueError(f"{folder} has no training images, only the parts {', '.join(parts)}")
        if "val" not in parts:
            parts |= split(whole, FRACTIONS, root=folder, seed=seed)
        parts.setdefault("train", whole)
        write(source, folder, out)
        counts = (f"{len(content['images'])} in {part}" for part, content in parts.items())
        print(f"{folder}: {source.format}, images: {', '.join(counts)}", *source.notes, sep="\n")
    images = len(json.loads((out / "train.json").read_text())["images"])
    epochs = min(max(IMAGES_SEEN // max(images, 1), EPOCHS[0]), EPOCHS[1])
    values = {
        "_base_": str(base.resolve()),
        "data_root": f"{out.resolve()}/",
        "pretrained": model,
        "max_epochs": epochs,
    }
    text = find_config(BASE).read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        if count != 1:
            raise AssertionError(f"configs/{BASE}.py states {name} {count} times")
    config.write_text(text)
    return config


def report(work_dir: str | Path) -> Path:
    """Evaluate a run of :func:`config_for_folder`, and log the next commands.

    The best checkpoint is evaluated, or the newest one if no validation found a box.

    Args:
        work_dir: The work folder.

    Returns:
        The path of the HTML report, for the test part, or for the validation part if there is no
        test part.

    Raises:
        FileNotFoundError: The run has no checkpoint.
    """
    from ..detector import Detector
    from ..evaluation import report as write_report

    work = Path(work_dir)
    saved = list(work.glob("best_*.pth")) or list(work.glob("epoch_*.pth"))
    if not saved:
        raise FileNotFoundError(f"no checkpoint to evaluate in {work}")
    best = max(saved, key=os.path.getmtime)
    part = "test" if (work / "data" / "test.json").is_file() else "val"
    detector = Detector(str(work / "config.py"), str(best), score_threshold=0)
    result = write_report(
        work / "data" / f"{part}.json", detector, work / "data" / "images", work / "report"
    )
    first = list(result["metrics"].items())[:2]
    figures = ", ".join(f"{name} {value:.1f}" for name, value in first if value is not None)
    for line in (
        f"{part}: {figures or 'no box found'}; report: {work / 'report' / 'report.html'}",
        f"detect: shufflenet-det predict {best} IMAGES --out drawn",
        f"export: shufflenet-det export {work / 'config.py'} {best} detector.onnx",
    ):
        MMLogger.get_current_instance().info(line)
    return work / "report" / "report.html"
