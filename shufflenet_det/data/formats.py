"""Read labels in Pascal VOC, YOLO, Labelme, CVAT or COCO format, and convert them to COCO's.

globox (MIT) parses most of the files. This module finds them, recognises their format, matches
them with their images and reports what was left out. It never changes the source.
"""

import itertools
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .annotations import Json, image_size, read_and_repair, read_json

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("coco", "voc", "yolo", "labelme", "cvat")
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders and files that stand for a part of a data set."""


@dataclass
class Source:
    """A labelled folder.

    Attributes:
        format: One of :data:`FORMATS`.
        parts: Content in COCO format by part: 'train', 'val', 'test', or 'all' if the source is
            not split. File names are relative to the folder.
        notes: One sentence for each kind of omission or repair.
    """

    format: str
    parts: dict[str, Json]
    notes: list[str] = field(default_factory=list)


def read_source(folder: str | Path, form: str | None = None) -> Source:
    """Read a folder of images and labels.

    Args:
        folder: Images and labels, possibly with ``train``, ``val`` and ``test`` in the paths.
        form: One of :data:`FORMATS`. None: the format is recognised.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: No labels or no images were found, a file is damaged, or the folder has labels
            in two formats; names the file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"folder {str(root)!r} not found")
    files = [
        Path(top, name)
        for top, folders, names in os.walk(root)
        for name in sorted(names)
        if not name.startswith(".") and folders.sort() is None
    ]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise ValueError(f"{root}: no image in the folder (looked for {', '.join(SUFFIXES)})")
    labels = _by_format(files)
    if form is not None and form not in FORMATS:
        raise ValueError(f"format {form!r}: must be one of {', '.join(FORMATS)}")
    found = [name for name in FORMATS if labels[name]]
    if form is None and len(found) != 1:
        what = f"labels of {' and '.join(found)}: choose with --format" if found else "no labels"
        raise ValueError(f"{root}: {what} (known formats: {', '.join(FORMATS)})")
    form = form or found[0]
    if not labels[form]:
        raise ValueError(f"{root}: no labels in {form} format; found {', '.join(found) or 'none'}")
    reader = _Reader(root, files, images)
    getattr(reader, f"read_{form}")(labels[form])
    return reader.source(form)


def _by_format(files: Iterable[Path]) -> dict[str, list[Path]]:
    """The label files of each format, recognised by suffix and content."""
    found: dict[str, list[Path]] = {name: [] for name in FORMATS}
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".xml":
            with file.open("rb") as opened:
                head = opened.read(4096)
            if b"<annotations" in head:
                found["cvat"].append(file)
            elif b"<annotation" in head:
                found["voc"].append(file)
        elif suffix == ".json":
            content = read_json(file)
            if isinstance(content, dict) and "images" in content and "annotations" in content:
                boxes = content["annotations"]
                if not boxes or (isinstance(boxes[0], dict) and "bbox" in boxes[0]):
                    found["coco"].append(file)
            elif isinstance(content, dict) and "shapes" in content:
                found["labelme"].append(file)
        elif suffix == ".txt" and _is_yolo(file):
            found["yolo"].append(file)
    # COCO itself has a second file with boxes for each part, person_keypoints_*.
    instances = [file for file in found["coco"] if file.name.startswith("instances_")]
    found["coco"] = instances or found["coco"]
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text file: {error}") from None


def _is_yolo(file: Path) -> bool:
    """Whether the first line is a class number and at least four coordinates."""
    try:
        lines = _text(file).split("\n", 1)
        if not lines[0].strip():
            return "labels" in file.parts  # an image without objects
        return len([float(word) for word in lines[0].split()]) >= 5
    except ValueError:
        return False


class _Reader:
    """Collects images and boxes while it reads the files of one format."""

    def __init__(self, root: Path, files: Sequence[Path], images: Sequence[Path]) -> None:
        self.root = root
        self.files = files
        self.images = images
        self.by_name: dict[str, list[Path]] = {}
        for image in images:
            self.by_name.setdefault(image.name.lower(), []).append(image)
            self.by_name.setdefault(image.stem.lower(), []).append(image)
        self.boxes: dict[Path, list[tuple[str, list[float]]]] = {}
        self.sizes: dict[Path, tuple[int, int]] = {}
        self.names: list[str] = []
        self.contents: dict[str, Json] = {}
        self.notes: Counter[str] = Counter()

    def source(self, form: str) -> Source:
        if not self.contents and (unlabelled := len(self.images) - len(self.boxes)):
            self.notes["images without a label file were left out"] += unlabelled
        notes = [f"{n} {note}" if n else note for note, n in self.notes.items()]
        return Source(form, self.contents or self._parts(), notes)

    def read_voc(self, labels: Sequence[Path]) -> None:
        for label in labels:
            self._parse(label, "from_xml", label)

    def read_labelme(self, labels: Sequence[Path]) -> None:
        for label in labels:
            shapes = read_json(label)["shapes"]
            for shape in shapes if isinstance(shapes, list) else ():
                kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else "polygon"
                if kind not in ("rectangle", "polygon"):
                    self.notes["shapes that are no rectangle or polygon were left out"] += 1
            self._parse(label, "from_labelme", label, include_poly=True)

    def read_yolo(self, labels: Sequence[Path]) -> None:
        names = _yolo_names(self.files)
        for label in labels:
            image = self._image_of(label, label.stem)
            if image is None:
                continue
            wide, high = self.sizes[image] = image_size(image)
            boxes = self.boxes.setdefault(image, [])
            for number, line in enumerate(_text(label).splitlines(), 1):
                if not line.strip():
                    continue
                try:
                    kind, *numbers = [float(word) for word in line.split()]
                    if not kind.is_integer() or len(numbers) < 4:
                        raise ValueError
                except ValueError:
                    raise ValueError(
                        f"{label}, line {number}: {line!r:.60} is not 'CLASS X Y WIDTH HEIGHT' "
                        "or 'CLASS X1 Y1 X2 Y2 …' in fractions of the image"
                    ) from None
                if len(numbers) in (4, 5):  # a fifth is a score
                    x, y, w, h = numbers[:4]
                    box = [x - w / 2, y - h / 2, w, h]
                else:
                    xs, ys = numbers[0::2], numbers[1::2]
                    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
                name = names.get(int(kind))
                if name is None:
                    if names:
                        raise ValueError(
                            f"{label}, line {number}: class {int(kind)} has no name; "
                            f"there are {len(names)}: {', '.join(names.values())}"
                        )
                    name = f"class_{int(kind)}"
                boxes.append((name, [side * (wide, high)[i % 2] for i, side in enumerate(box)]))
        self.names = list(names.values())
        if not names:
            self.notes["no file with class names was found: the names are class_0, class_1, …"] = 0

    def read_cvat(self, labels: Sequence[Path]) -> None:
        for label in labels:
            try:
                tree = ElementTree.parse(label).getroot()
            except ElementTree.ParseError as error:
                raise ValueError(f"{label}: not an XML file: {error}") from None
            if tree.find("track") is not None:
                raise ValueError(
                    f"{label}: holds tracks of a video; export the frames from CVAT as "
                    "'CVAT for images 1.1'"
                )
            for node in tree.iter("image"):
                others = [child.tag for child in node if child.tag not in ("box", "tag")]
                if others:
                    self.notes["shapes that are no box were left out"] += len(others)
                self._parse(label, "from_cvat", node)

    def read_coco(self, labels: Sequence[Path]) -> None:
        for label in labels:
            content, repairs = read_and_repair(label)
            for repair in repairs:
                self.notes[f"{label.name}: {repair}"] = 0
            self._drop_roboflow_root(content)
            for image in content["images"]:
                path = self._image_of(label, str(image["file_name"]))
                if path is not None:
                    image["file_name"] = path.relative_to(self.root).as_posix()
            content["images"] = [
                image for image in content["images"] if (self.root / image["file_name"]).is_file()
            ]
            part = self._part(label)
            if part in self.contents:
                files = ", ".join(one.name for one in labels if self._part(one) == part)
                raise ValueError(
                    f"{self.root}: {files} are all for the {part!r} part; keep one of them"
                )
            self.contents[part] = content

    def _drop_roboflow_root(self, content: Json) -> None:
        """Drop Roboflow's category 0: the name of the project, without boxes."""
        used = {annotation["category_id"] for annotation in content["annotations"]}
        above = {category.get("supercategory") for category in content["categories"]}
        for category in list(content["categories"]):
            if category["name"] in above and category["id"] not in used:
                content["categories"].remove(category)
                self.notes[f"category {category['name']!r} without boxes was left out"] = 0

    def _parse(self, label: Path, parser: str, source: Any, **options: Any) -> None:
        """Add the boxes that a parser of globox reads from a label file or an XML node."""
        from globox import Annotation
        from globox.errors import ParsingError

        try:
            annotation = getattr(Annotation, parser)(source, **options)
        except (ParsingError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{label}: damaged label file: {error}") from None
        image = self._image_of(label, annotation.image_id)
        if image is not None:
            self.sizes[image] = annotation.image_size
            boxes = [(box.label, list(box.ltwh)) for box in annotation.boxes]
            self.boxes.setdefault(image, []).extend(boxes)

    def _image_of(self, label: Path, name: str) -> Path | None:
        """The image that a label file belongs to: the nearest one of this name or stem."""
        relative = Path(name.replace("\\", "/"))
        matches = self.by_name.get(relative.name.lower()) or self.by_name.get(
            relative.stem.lower(), self.by_name.get(label.stem.lower(), [])
        )
        if not matches:
            self.notes["labels without their image were left out"] += 1
            return None

        def likeness(image: Path) -> tuple[int, int]:
            below = _common(image.parts[::-1], relative.parts[::-1])
            shared = _common(image.parts, label.parts)
            same_part = self._part(image) == self._part(label)
            return below + same_part, shared

        return max(matches, key=likeness)

    def _part(self, path: Path) -> str:
        relative = path.relative_to(self.root)
        words = [*relative.parts[:-1], *relative.stem.replace(".", "_").split("_")]
        for word in words:
            word = word.lower().removesuffix("2017")
            if word in PARTS:
                return PARTS[word]
        return "all"

    def _parts(self) -> dict[str, Json]:
        names = self.names or sorted({name for boxes in self.boxes.values() for name, _ in boxes})
        number = {name: index for index, name in enumerate(names, 1)}
        categories = [{"id": number[name], "name": name} for name in names]
        parts: dict[str, Json] = {}
        for image, boxes in self.boxes.items():
            empty: Json = {"images": [], "annotations": [], "categories": categories}
            part = parts.setdefault(self._part(image), empty)
            width, height = self.sizes[image]
            name = image.relative_to(self.root).as_posix()
            entry = {"id": len(part["images"]) + 1, "file_name": name}
            part["images"].append(entry | {"width": width, "height": height})
            part["annotations"] += [
                {
                    "id": len(part["annotations"]) + index,
                    "image_id": entry["id"],
                    "category_id": number[label],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
                for index, (label, box) in enumerate(boxes, 1)
            ]
        return parts


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """The number of equal entries at the start of two sequences."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _yolo_names(files: Iterable[Path]) -> dict[int, str]:
    """Class names by number, from ``data.yaml`` or from a file with one name in each line."""
    import yaml

    for file in files:
        if file.suffix in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(_text(file))
                names = content.get("names") if isinstance(content, dict) else None
                if isinstance(names, list):
                    return dict(enumerate(map(str, names)))
                if isinstance(names, dict):
                    return {int(number): str(name) for number, name in names.items()}
            except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
                said = " ".join(str(error).split())
                raise ValueError(f"{file}: no class names by number: {said}") from None
    for file in files:
        if file.name.lower() in ("classes.txt", "obj.names", "names.txt", "_darknet.labels"):
            return dict(enumerate(line.strip() for line in _text(file).splitlines() if line))
    return {}
