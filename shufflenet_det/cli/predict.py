"""Detect objects on images, in folders, videos and from cameras, and draw the boxes.

MODEL is the name of a ready detector (shufflenet-det models lists them), a config with
--checkpoint, a checkpoint that contains its config, or an exported model such as model.onnx.
SOURCE is an image, a folder of images, a video, or a camera's number.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..detector import Video
    from ..detector.sources import Array

EXAMPLE = "shufflenet-det predict nanodet_plus_m_416 street.jpg --out drawn"
DEFAULT_OUT = "predictions"
_QUIT = (ord("q"), 27)
_WRITTEN = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # by OpenCV


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="name, config, checkpoint or exported model")
    parser.add_argument("source", metavar="SOURCE", help="image, folder, video or camera number")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights, if MODEL is a config")
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
    parser.add_argument("--device", help="cpu, cuda:0, … (default: a GPU if there is one)")
    parser.add_argument(
        "--trust", action="store_true", help="execute the config that a checkpoint contains"
    )


def run(args: argparse.Namespace) -> int:
    """Predict, and return 1 if an image could not be read."""
    from tqdm import tqdm

    from ..detector import Detector, Video, as_video, image_files
    from ..host.local_files import atomic_write

    out = args.out or (None if args.json or args.show else DEFAULT_OUT)
    folder, source, video = out and Path(out), Path(args.source), as_video(args.source)
    if video is None and not source.exists():
        raise FileNotFoundError(f"image, folder or video {args.source!r} not found")
    originals = source if source.is_dir() else source.parent
    if folder and folder.resolve() == originals.resolve():
        raise ValueError(f"--out {out!r} is the folder of the originals: give another one")
    # Report wrong inputs before the model is built.
    files = image_files(source) if source.is_dir() else [source]
    frames = None if video is None else Video(video)
    detector = Detector(
        args.model,
        args.checkpoint,
        score_threshold=args.score_thr,
        device=args.device,
        trust=args.trust,
    )
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    skipped: list[str] = []
    records: list[dict[str, Any]] = []
    names: Counter[str] = Counter()
    count, seconds = 0, 0.0
    inputs, unit = _read(files, skipped), "image"
    total: int | None = len(files)
    where = f"{folder}{os.sep}"
    writer: AbstractContextManager = nullcontext(_write_image)
    if frames is not None:
        stem = source.stem if isinstance(video, str) else f"camera_{video}"
        inputs = ((number, source.name, frame) for number, frame in enumerate(frames))
        unit, total, where = "frame", frames.frames, f"{folder and folder / stem}.mp4"
        if folder:
            writer = _video_writer(Path(where), frames)
    bar = tqdm(inputs, total=total, unit=f" {unit}s", leave=False, disable=None)
    with bar, writer as write:
        try:
            for image_id, name, image in bar:
                begin = perf_counter()
                found = detector(image)
                seconds += perf_counter() - begin
                count += 1
                names.update(found["class_name"].tolist())
                if args.json:
                    records += found.as_coco(image_id, detector.classes, file_name=name)
                if folder:
                    write(folder / name, found.plot())
                if args.show and not _shown(found.plot(), wait=0 if frames is None else 1):
                    break
        except KeyboardInterrupt:
            if not isinstance(video, int):  # Ctrl-C is the usual end of a camera's frames
                raise
    if args.json:
        with atomic_write(args.json) as part:
            part.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    of_classes = ", ".join(f"{name} {number}" for name, number in names.most_common())
    text = f"{count} {unit}{'' if count == 1 else 's'}, {names.total()} boxes"
    text += f" ({of_classes})" if names else ""
    print(text + (f"; detection {1000 * seconds / count:.0f} ms per {unit}" if count else ""))
    if folder:
        print(f"drawn: {where}")
    if args.json:
        print(f"boxes: {args.json}")
    if skipped:
        what = f"{len(skipped)} of {count + len(skipped)} images could not be read"
        print(f"{what}: {', '.join(skipped)}")
    return 1 if skipped else 0


def _read(files: list[Path], skipped: list[str]) -> "Iterator[tuple[int | str, str, Array]]":
    """Read images: COCO's id, file name, image. Unreadable files are added to ``skipped``."""
    from ..detector import read_image

    for path in files:
        try:
            image = read_image(path)
        except (OSError, ValueError) as error:
            if len(files) == 1:
                raise
            skipped.append(path.name)
            print(f"skipped: {error}", file=sys.stderr)
            continue
        yield int(path.stem) if path.stem.isdecimal() else path.name, path.name, image


def _write_image(path: Path, image: "Array") -> None:
    """Write an image; append .png to its name if OpenCV cannot write its format."""
    from ..detector.results import write_image

    written = path.suffix.lower() in _WRITTEN
    write_image(path if written else path.with_name(f"{path.name}.png"), image)


@contextmanager
def _video_writer(target: Path, frames: "Video") -> "Iterator[Callable[[Path, Array], None]]":
    """A function that writes frames to a video. The file appears when it is complete."""
    import supervision as sv

    part = target.with_name(f".{target.stem}.part.mp4")
    info = sv.VideoInfo(frames.width, frames.height, frames.fps, frames.frames)
    try:
        with sv.VideoSink(str(part), info) as sink:
            yield lambda path, image: sink.write_frame(image)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _shown(image: "Array", wait: int) -> bool:
    """Show an image; return False if the user has typed q or Escape."""
    import cv2

    try:
        cv2.imshow("shufflenet-det", image)
        return cv2.waitKey(wait) & 0xFF not in _QUIT
    except cv2.error as error:
        raise RuntimeError("--show needs a screen and an OpenCV with windows") from error
