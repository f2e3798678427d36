"""``Detector``: an image in, boxes out.

torch is imported only for PyTorch detectors, so exported models run without it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from .results import Detections
from .sources import Array, ImageSource, Video, as_video, image_files, read_image

if TYPE_CHECKING:
    from mmengine.config import Config
    from PIL.Image import Image

__all__ = ["Detections", "Detector", "Video", "as_video", "image_files", "read_image"]

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".pkl")
EXPORTED_SUFFIXES = (".onnx", ".xml", ".param", ".tflite", ".pt2")


class Model(Protocol):
    """The model behind a detector; returns ``supervision.Detections``."""

    @property
    def classes(self) -> Sequence[str]: ...

    def __call__(self, image: Array, score_threshold: float) -> Any:
        """Detect on one BGR image; boxes with lower scores may be left out."""


class Detector:
    """Detects objects in images.

    Args:
        model: The name of a ready detector (``shufflenet-det models`` lists them; the weights are
            downloaded on first use), a config of this package or of mmdet (a path or an mmengine
            ``Config``; needs ``checkpoint``), a checkpoint that contains its config, or an exported
            model such as ``model.onnx`` (runs without torch).
        checkpoint: Path or URL of the weights, if ``model`` is a name or a config.
        score_threshold: Boxes with lower scores are left out, 0 to 1.
        device: Such as 'cpu' or 'cuda:0'. None: a GPU if available, otherwise the CPU.
        trust: Execute the config in a checkpoint as Python code. If False, it is read as data, and
            rejected if it contains more than literals.

    Attributes:
        classes: Names of the classes; ``class_id`` is an index into it.

    Raises:
        FileNotFoundError: A file does not exist, or no detector has this name.
        ValueError: The checkpoint does not fit, is damaged, or contains no config.

    Example:
        >>> detector = Detector("nanodet_plus_m_416")
        >>> result = detector("street.jpg")
        >>> result.plot("out.jpg")
    """

    def __init__(
        self,
        model: "str | Path | Config",
        checkpoint: str | Path | None = None,
        *,
        score_threshold: float = 0.3,
        device: str | None = None,
        trust: bool = False,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold={score_threshold}: must be from 0 to 1")
        self.score_threshold = score_threshold
        self._model = _open(model, checkpoint, device, trust)
        self.classes = tuple(self._model.classes)

    @overload
    def __call__(
        self, source: "Array | Image", *, score_threshold: float | None = None
    ) -> Detections: ...

    @overload
    def __call__(
        self, source: "list[ImageSource]", *, score_threshold: float | None = None
    ) -> list[Detections]: ...

    @overload
    def __call__(
        self, source: int, *, score_threshold: float | None = None
    ) -> Iterator[Detections]: ...

    @overload
    def __call__(self, source: str | Path, *, score_threshold: float | None = None) -> Any: ...

    def __call__(
        self,
        source: "ImageSource | int | list[ImageSource]",
        *,
        score_threshold: float | None = None,
    ) -> Any:
        """Detect objects in an image, in several images or in a video.

        Args:
            source: An image (a path, a BGR array as in OpenCV, or a PIL image), several images (a
                list or a folder), or a video (a path or a camera index).
            score_threshold: Overrides the threshold of the detector.

        Returns:
            The detections of one image, with boxes in pixels of the original image. For several
            images a list, for a video an iterator over the frames.

        Raises:
            FileNotFoundError: The source does not exist, or is a folder without images.
            ValueError: The source is not an image or video.
        """
        least = self.score_threshold if score_threshold is None else score_threshold
        if isinstance(source, list | tuple):
            return [self._detect(image, least) for image in source]
        video = as_video(source)
        if video is not None:
            return (self._detect(frame, least) for frame in Video(video))
        if isinstance(source, str | Path) and Path(source).is_dir():
            return [self._detect(path, least) for path in image_files(source)]
        return self._detect(source, least)

    def _detect(self, source: Any, least: float) -> Detections:
        found = self._model(read_image(source), least)
        return Detections.of(found[found.confidence >= least], self.classes, source)


def _open(model: Any, checkpoint: str | Path | None, device: str | None, trust: bool) -> Model:
    """Build ``model``; its suffix tells its kind."""
    suffix = Path(model).suffix.lower() if isinstance(model, str | Path) else None
    if suffix in EXPORTED_SUFFIXES:
        from ..deploy import Detector as ExportedModel

        return ExportedModel(model)
    from .torch_model import TorchModel

    if suffix in CHECKPOINT_SUFFIXES:
        if checkpoint is not None:
            raise ValueError(f"{model!r}, {checkpoint!r}: two checkpoints; pass a config first")
        return TorchModel(None, model, device=device, trust=trust)
    if suffix is not None:
        from .ready import LISTING, config_of, fetch_weights, find_ready

        ready = find_ready(str(model))
        model = config_of(ready[0] if ready else str(model))
        if ready and checkpoint is None:
            checkpoint = fetch_weights(ready[1])
    if checkpoint is None:
        raise ValueError(f"{str(model)!r} is a config: pass a checkpoint as well; {LISTING}")
    return TorchModel(model, checkpoint, device=device, trust=trust)
