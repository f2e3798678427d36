"""Detect objects on images, in folders, videos and from cameras, and draw the boxes.

MODEL is the name of a ready detector (shufflenet-det models lists them), a config with
--checkpoint, a checkpoint that carries its config, or an exported model such as model.onnx.
SOURCE is an image, a folder of images, a video, or a camera's number.
"""

import argparse
import json
import os
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..detector import Detections, Detector
    from ..detector.sources import Array

EXAMPLE = "shufflenet-det predict nanodet_plus_m_416 street.jpg --out drawn"
DEFAULT_OUT = "predictions"
_QUIT = (ord("q"), 27)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="name, config, checkpoint or exported model")
    parser.add_argument("source", metavar="SOURCE", help="image, folder, video or camera number")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights, where MODEL is a config")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the detector and of its output."""
    parser.add_argument(
        "--out",
        "--out-dir",
        metavar="DIR",
        help=f"folder for annotated images (default: {DEFAULT_OUT}, or none with --json or --show)",
    )
    parser.add_argument("--json", metavar="FILE", help="file for the boxes, as COCO's results")
    parser.add_argument("--show", action="store_true", help="show the annotated images in a window")
    parser.add_argument(
        "--score-thr", type=float, default=0.3, help="lowest score of a box (default: 0.3)"
    )
    parser.add_argument("--device", help="cpu, cuda:0, … (default: what there is)")
    parser.add_argument(
        "--trust", action="store_true", help="execute the config that a checkpoint carries"
    )


def run(args: argparse.Namespace) -> int:
    """Predict, and return 1 if an image could not be read."""
    from ..detector import Detector, Video, as_video, image_files

    folder = args.out or (None if args.json or args.show else DEFAULT_OUT)
    files: list[Path] = []
    video = as_video(args.source)
    if video is None:
        source = Path(args.source)
        files = image_files(source) if source.is_dir() else [source]
        if not source.exists():
            raise FileNotFoundError(f"image, folder or video {args.source!r} not found")
    _keep_originals(folder, Path(args.source))
    frames = Video(video) if video is not None else None  # before the model: mistakes come first
    detector = Detector(
        args.model,
        args.checkpoint,
        score_threshold=args.score_thr,
        device=args.device,
        trust=args.trust,
    )
    results = _Results(detector, folder, args.json, args.show)
    with results:
        if frames is not None:
            results.add_video(frames)
        else:
            results.add_images(files)
    print(results.summary())
    return 1 if results.unread else 0


class _Results:
    """Where the boxes of a run go."""

    def __init__(
        self, detector: "Detector", folder: str | None, json_file: str | None, show: bool
    ) -> None:
        self.detector, self.folder, self.show = detector, folder and Path(folder), show
        self.json_file = json_file and Path(json_file)
        self.records: list[dict[str, Any]] = []
        self.names: Counter[str] = Counter()
        self.unread: list[str] = []
        self.images, self.unit, self.seconds = 0, "image", 0.0
        self._stack = ExitStack()

    def __enter__(self) -> "_Results":
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        for target in (self.folder, self.json_file and self.json_file.parent):
            if target:
                target.mkdir(parents=True, exist_ok=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._stack.enter_context(self._bar)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        from ..host.local_files import atomic_write

        if self.json_file and error[0] is None:
            with atomic_write(self.json_file) as part:
                part.write_text(json.dumps(self.records, ensure_ascii=False), encoding="utf-8")

    def add_images(self, files: list[Path]) -> None:
        from ..detector import read_image
        from ..detector.results import write_image

        task = self._bar.add_task("", total=len(files), speed="")
        names = _output_names(files)
        for path in files:
            try:
                image = read_image(path)
            except (OSError, ValueError) as error:
                if len(files) == 1:
                    raise
                self.unread.append(path.name)
                print(f"skipped: {error}", file=sys.stderr)
                continue
            finally:
                self._bar.advance(task)
            found = self._detect(
                image, int(path.stem) if path.stem.isdecimal() else path.name, path
            )
            self._bar.update(task, speed=self._speed())
            if self.folder or self.show:
                drawn = found.plot()
            if self.folder:
                write_image(self.folder / names[path], drawn)
            if self.show and not self._shown(drawn, wait=0):
                break

    def add_video(self, video: Any) -> None:
        import supervision as sv

        self.unit = "frame"
        camera = isinstance(video.source, int)
        stem = f"camera_{video.source}" if camera else Path(video.source).stem
        task = self._bar.add_task("", total=video.frames, speed="")
        part = None
        if self.folder:
            self.target = self.folder / f"{stem}.mp4"
            part = self.folder / f".{stem}.part.mp4"
            info = sv.VideoInfo(video.width, video.height, video.fps, video.frames)
        with ExitStack() as stack:
            if part:
                stack.callback(part.unlink, missing_ok=True)
                sink = stack.enter_context(sv.VideoSink(str(part), info))
            try:
                for number, frame in enumerate(video):
                    found = self._detect(frame, number, Path(str(video.source)))
                    self._bar.update(task, advance=1, speed=self._speed())
                    if part or self.show:
                        drawn = found.plot()
                    if part:
                        sink.write_frame(drawn)
                    if self.show and not self._shown(drawn, wait=1):
                        break
            except KeyboardInterrupt:
                if not camera:
                    raise
            if part:
                sink.__exit__(None, None, None)
                os.replace(part, self.target)

    def _detect(self, image: "Array", image_id: int | str, path: Path) -> "Detections":
        begin = perf_counter()
        found = self.detector(image)
        self.seconds += perf_counter() - begin
        self.images += 1
        self.names.update(found["class_name"].tolist())
        if self.json_file:
            self.records += found.as_coco(image_id, self.detector.classes, file_name=path.name)
        return found

    def _speed(self) -> str:
        return f"{self.images / self.seconds:.1f} {self.unit}s/s"

    def _shown(self, image: "Array", wait: int) -> bool:
        """Show an image; False if the person has closed the window or typed q."""
        import cv2

        try:
            cv2.imshow("shufflenet-det", image)
            return cv2.waitKey(wait) & 0xFF not in _QUIT
        except cv2.error as error:
            raise RuntimeError("--show needs a screen and an OpenCV with windows") from error

    def summary(self) -> str:
        """What was found and where it is, in a line or two."""
        found = ", ".join(f"{name} {number}" for name, number in self.names.most_common())
        plural = "" if self.images == 1 else "s"
        text = f"{self.images} {self.unit}{plural}, {self.names.total()} boxes"
        text += f" ({found})" if found else ""
        if self.images:
            text += f"; detection {1000 * self.seconds / self.images:.0f} ms per {self.unit}"
        if self.folder:
            where = self.target if self.unit == "frame" else f"{self.folder}{os.sep}"
            text += f"\ndrawn: {where}"
        if self.json_file:
            text += f"\nboxes: {self.json_file}"
        if self.unread:
            text += f"\n{len(self.unread)} of {self.images + len(self.unread)} images could not be "
            text += f"read: {', '.join(self.unread)}"
        return text


def _keep_originals(folder: str | None, source: Path) -> None:
    """Raise where an output would replace its input image."""
    if folder is None:
        return
    originals = source if source.is_dir() else source.parent
    if Path(folder).resolve() == originals.resolve():
        raise ValueError(f"--out {folder!r} is the folder of the originals: give another one")


def _output_names(files: list[Path]) -> dict[Path, str]:
    """Output names: the input's, with .png appended where OpenCV cannot write the format."""
    written = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
    return {p: p.name if p.suffix.lower() in written else f"{p.name}.png" for p in files}
