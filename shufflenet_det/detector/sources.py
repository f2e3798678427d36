"""Read images from files, folders, arrays, videos and cameras. Imports no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Array: TypeAlias = npt.NDArray[Any]  # (H, W, 3), uint8, BGR
ImageSource: TypeAlias = str | Path | npt.NDArray[np.generic] | Image.Image

IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif "
    ".tiff .webp".split()
)
VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()
)
CAMERA_FPS = 25.0  # for written videos, if the camera reports no frame rate


def read_image(source: ImageSource) -> Array:
    """Read one image as in training: 8 bits, BGR, rotated by its EXIF data.

    Args:
        source: A path; an array (H, W), (H, W, 1), (H, W, 3) in BGR order or (H, W, 4) in BGRA
            order, of uint8 or uint16 (only the upper byte is used); or a PIL image. Alpha is
            dropped.

    Returns:
        (H, W, 3), uint8, BGR.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not an image, or the array has another shape or type.
        TypeError: The source has another type.
    """
    if isinstance(source, str | Path):
        return _decode(Path(source))
    if isinstance(source, np.ndarray):
        return _from_array(source, "the array")
    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image")
    raise TypeError(
        f"an image is a path, a numpy array or a PIL image, not {type(source).__name__}: {source!r}"
    )


def image_files(folder: str | Path) -> list[Path]:
    """The images of a folder, sorted by name, without subfolders; suffixes in any case.

    Raises:
        FileNotFoundError: The folder contains no image.
    """
    folder = Path(folder)
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        deeper = sorted({p.parent for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES})
        hint = f"; there are images in {str(deeper[0])!r}" if deeper else ""
        raise FileNotFoundError(
            f"no image in {str(folder)!r}{hint} (suffixes: {', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return found


def as_video(source: object) -> str | int | None:
    """The path of a video or the index of a camera; None if the source is neither.

    A string of digits is a camera index, unless a file has this name.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return source
    if isinstance(source, str | Path):
        if str(source).isdecimal() and not Path(source).exists():
            return int(str(source))
        if Path(source).suffix.lower() in VIDEO_SUFFIXES:
            return str(source)
    return None


class Video:
    """The frames of a video file or a camera.

    Args:
        source: What :func:`as_video` returns.

    Attributes:
        width, height: Size of a frame in pixels.
        fps: Frames per second.
        frames: Number of frames; None if unknown, as for a camera.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: OpenCV cannot read the video or the camera.
    """

    def __init__(self, source: str | int) -> None:
        self.source = source
        is_file = isinstance(source, str)
        if is_file and not Path(str(source)).is_file():
            raise FileNotFoundError(f"video {source!r} not found")
        self._capture = cv2.VideoCapture(source)
        opened, self._first = self._capture.read()
        if not opened:
            raise ValueError(
                f"{source!r} is not a video that OpenCV can read"
                if is_file
                else f"camera {source} cannot be read: is it connected, and not in use?"
            )
        self.height, self.width = self._first.shape[:2]
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else CAMERA_FPS
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frames = frames if is_file and frames > 0 else None

    def __iter__(self) -> Iterator[Array]:
        """Yield each frame once, (H, W, 3) in BGR order; closes the video at the end."""
        try:
            frame, more = self._first, True
            while more:
                yield _from_array(frame, f"a frame of {self.source!r}")
                more, frame = self._capture.read()
        finally:
            self._capture.release()


def _decode(path: Path) -> Array:
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder, not an image")
    if not path.exists():
        raise FileNotFoundError(f"image {str(path)!r} not found")
    content = np.fromfile(path, np.uint8)
    if not content.size:
        raise ValueError(f"{str(path)!r} is an empty file, not an image")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # too many pixels for OpenCV
        image = None
    return _from_pil(path, repr(str(path))) if image is None else image


def _from_pil(source: Path | Image.Image, name: str) -> Array:
    """Read what OpenCV cannot: icons, HEIC if its plugin is loaded, PIL images."""
    try:
        image = Image.open(source) if isinstance(source, Path) else source
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            return _from_array(np.asarray(image), name)
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not an image that OpenCV or Pillow can read") from error


def _from_array(array: npt.NDArray[Any], name: str) -> Array:
    if array.dtype == np.int32 and array.size and 0 <= array.min() <= array.max() < 1 << 16:
        array = array.astype(np.uint16)  # PIL's mode I
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}: an image is uint8 (0 to 255) or "
            "uint16, (height, width) or (height, width, 1, 3 or 4), BGR"
        )
    if not array.size:
        raise ValueError(f"{name} of shape {array.shape} has no pixels")
    if channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(array[..., :3])
