"""Folders of images by class, as ImageNet is unpacked: ``train/CLASS/*.jpg`` and ``val/…``."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import TRANSFORMS
from PIL import Image
from torchvision import datasets
from torchvision.datasets.folder import default_loader, is_image_file
from torchvision.transforms import v2


class UnreadableImageError(ValueError):
    """An image file is damaged or no image. From a loader's process, the last line names it."""


class ImageFolder(datasets.ImageFolder):
    """torchvision's ``ImageFolder`` for mmengine's Runner.

    An item is ``{'inputs': image, 'data_samples': class}``: (3, H, W) uint8, BGR as mmdet reads
    images, so that a ``data_preprocessor`` means here what it means for a detector; and the number
    of the class in the sorted order of the folders' names, which for ImageNet is the usual one.
    """

    def __init__(self, root: str, pipeline: Iterable[Mapping[str, Any]]) -> None:
        """Find the images.

        Args:
            root: The folder that holds a folder for each class.
            pipeline: Configs of torchvision's transforms (``torchvision.transforms.v2.…``), which
                get a PIL image and end with one of a fixed size.

        Raises:
            FileNotFoundError: The folder is not there, or a class has no image.
        """
        steps = [TRANSFORMS.build(dict(step)) for step in pipeline]
        super().__init__(root, transform=v2.Compose(steps), loader=_load)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image of this number and its class."""
        image, label = super().__getitem__(index)
        return {"inputs": v2.functional.pil_to_tensor(image).flip(0), "data_samples": label}

    @property
    def metainfo(self) -> dict[str, Any]:
        """``{'classes': names}``, as mmengine writes it into checkpoints."""
        return {"classes": tuple(self.classes)}


def require_image_folders(folders: Sequence[str], num_classes: int) -> None:
    """Raise unless folders hold images of the same classes, and of the right number of them.

    Args:
        folders: Such as ``train`` and ``val``, with a folder for each class in each.
        num_classes: Classes that there should be.

    Raises:
        FileNotFoundError: A folder, its folders of classes, or a class's images are not there.
        ValueError: The folders have not the same classes, or another number of them.
    """
    classes: list[set[str]] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"The images are not there: looked for {str(folder)!r}. A folder as ImageNet's, "
                "ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, is given with `--data-root "
                "ROOT`; `--demo` runs the same config on a small made one."
            )
        found = {entry.name for entry in folder.iterdir() if entry.is_dir()}
        if not found:
            raise FileNotFoundError(
                f"{str(folder)!r} has no folder for each class: images, those of ImageNet's "
                f"validation too, lie in {folder.name}/CLASS"
            )
        empty = sorted(name for name in found if not _has_image(folder / name))
        if empty:
            raise FileNotFoundError(
                f"{str(folder)!r} has no image in {len(empty)} of its {len(found)} classes: "
                f"{', '.join(empty[:3])}{', …' if len(empty) > 3 else ''}"
            )
        classes.append(found)
        if found != classes[0]:
            raise ValueError(
                f"{folders[0]!r} and {str(folder)!r} must have the same classes, and "
                f"{min(found ^ classes[0])!r} is in one alone"
            )
    if len(classes[0]) != num_classes:
        raise ValueError(
            f"{folders[0]!r} has {len(classes[0])} classes, and the classifier {num_classes}: a "
            "training takes another number with --cfg-options model.num_classes=…"
        )


def _has_image(folder: Path) -> bool:
    """Whether ``ImageFolder`` finds an image there."""
    walk = os.walk(folder, followlinks=True)
    return any(is_image_file(name) for *_, names in walk for name in names)


def _load(path: str) -> Image.Image:
    try:
        return default_loader(path)
    except Exception as error:  # broken files break the readers in every way there is
        raise UnreadableImageError(f"{path!r} is damaged or no image ({error})") from error
