"""The checkpoints that others have published, and what is known of each.

None could be fetched where this was written: that a file is what its source's code says is proved
on random weights, and the digests are those that the file names or the source's lists carry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .layouts import IMAGENET_BGR, LAYOUTS, Pixels

_WIDTH_CODES = {"wd4": 0.25, "wd2": 0.5, "w3d4": 0.75, "w1": 1.0, "w3d2": 1.5, "w2": 2.0}


@dataclass(frozen=True)
class Record:
    """One published checkpoint.

    Attributes:
        name: By which it can be asked for.
        url: Of the file, or of the page where people get it.
        file: Its name, with the folders that tell it from others.
        layout: Key of :data:`~shufflenet_det.weights.layouts.LAYOUTS`; empty if unreadable.
        network: The class that computes it here.
        arguments: What the class is built with.
        top1: Published accuracy on ImageNet-1k's validation images, %; None: not a classifier.
        licence: Of the code that it was published with.
        source: Where these facts were read.
        digest: What the file's digest begins with, such as ``sha256:5666bf0f80``; may be empty.
        aliases: Names that mmengine has for it.
        unreadable: Why it cannot be loaded; empty: it can.
        note: What else there is to know, and which of these facts are unverified.
        own_pixels: The images it was trained on where they are not those of its layout.
    """

    name: str
    url: str
    file: str
    layout: str
    network: str
    arguments: Mapping[str, Any]
    top1: float | None
    licence: str
    source: str
    digest: str = ""
    aliases: tuple[str, ...] = ()
    unreadable: str = ""
    note: str = ""
    own_pixels: Pixels | None = None

    @property
    def pixels(self) -> Pixels:
        """The images it was trained on."""
        return self.own_pixels or LAYOUTS[self.layout].pixels

    @property
    def can_be_fetched(self) -> bool:
        """Whether ``url`` is the file's own."""
        return self.url.endswith(self.file)


def find_record(name: str) -> Record | None:
    """The record of a published checkpoint.

    Args:
        name: The record's name, what mmengine calls it, or a path or URL whose end is the
            published file's name, with or without ``.zip``.

    Returns:
        The record, or None.
    """
    parts = _parts(name)
    for record in RECORDS:
        file = _parts(record.file)
        if name in (record.name, *record.aliases) or parts[-len(file) :] == file:
            return record
    return None


def declared(name: str) -> dict[str, Any]:
    """Which ``groups`` and ``widen_factor`` a checkpoint's name says its network has.

    Args:
        name: Path, URL or record; words such as ``x0.5``, ``1.5x``, ``w3d4``, ``g3`` count where
            ``shufflenet`` stands before them.

    Returns:
        The arguments of which the name speaks, without contradiction.
    """
    record = find_record(name)
    if record is not None:
        return {k: v for k, v in record.arguments.items() if k in ("groups", "widen_factor")}
    words = re.sub(r"^.*shufflenet[_-]?(v?[12]b?(?![\d]))?", "", _parts(name)[-1].lower())
    if words == _parts(name)[-1].lower():
        return {}
    numbers = re.findall(r"(?:^|[^a-z\d])x_?(\d[._]\d+)(?![\dx])", words)
    numbers += re.findall(r"(?:^|\D)(\d[._]\d+)x(?![a-z\d])", words)
    codes = re.findall(r"_(wd4|wd2|w3d4|w3d2|w1|w2)(?![a-z0-9])", words)
    widths = {float(n.replace("_", ".")) for n in numbers} | {_WIDTH_CODES[c] for c in codes}
    groups = {int(g) for g in re.findall(r"(?:^|[^a-z])g(?:roup)?_?([12348])(?!\d)", words)}
    claims: dict[str, Any] = {}
    if len(groups) == 1:
        claims["groups"] = groups.pop()
    if len(widths) == 1:
        claims["widen_factor"] = widths.pop()
    return claims


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/").removesuffix(".zip")).parts or ("",)


def _record(
    layout: str,
    width: float,
    groups: int | None = None,
    computes: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Record:
    known = LAYOUTS[layout]
    arguments = {"widen_factor": width, **(computes or known.computes)}
    if groups is not None:
        arguments = {"groups": groups, **arguments}
    facts.setdefault("file", facts["url"].rsplit("/", 1)[-1])
    return Record(layout=layout, network=known.network, arguments=arguments, **facts)


def _torchvision() -> list[Record]:
    rows = (
        (0.5, "x0.5-f707e7126e", 60.552, "x0_5", ("torchvision://shufflenetv2_x0.5",)),
        (1.0, "x1-5666bf0f80", 69.362, "x1_0", ("torchvision://shufflenetv2_x1.0",)),
        (1.5, "x1_5-3c479a10", 72.996, "x1_5", ()),
        (2.0, "x2_0-8be3c8ee", 76.230, "x2_0", ()),
    )
    return [
        _record(
            "torchvision",
            width,
            name=f"torchvision/v2_{width}x",
            url=f"https://download.pytorch.org/models/shufflenetv2_{file}.pth",
            top1=top1,
            licence="BSD-3-Clause",
            source="torchvision/models/shufflenetv2.py",
            digest=f"sha256:{file.rpartition('-')[2]}",
            aliases=(
                f"torchvision://shufflenet_v2_{key}.imagenet1k_v1",
                f"torchvision://shufflenet_v2_{key}.default",
                *aliases,
            ),
        )
        for width, file, top1, key, aliases in rows
    ]


def _openmmlab() -> list[Record]:
    rows = (
        (1, 3, "shufflenet_v1_batch1024_imagenet_20200804-5d6cec73", 68.13),
        (2, None, "shufflenet_v2_batch1024_imagenet_20200812-5bf4721e", 69.55),
    )
    root = "https://download.openmmlab.com/mmclassification/v0"
    return [
        _record(
            f"openmmlab_v{version}",
            1.0,
            groups,
            name=f"openmmlab/v{version}_{f'g{groups}_' if groups else ''}1.0x",
            url=f"{root}/shufflenet_v{version}/{file}.pth",
            top1=top1,
            licence="Apache-2.0",
            source=f"mmpretrain configs/shufflenet_v{version}/metafile.yml",
            digest=f"sha256:{file.rpartition('-')[2]}",
            aliases=(f"mmcls://shufflenet_v{version}",),
        )
        for version, groups, file, top1 in rows
    ]


def _megvii() -> list[Record]:
    common: dict[str, Any] = {
        "url": "https://1drv.ms/f/s!AgaP37NGYuEXhRfQxHRseR7eSxXo",
        "licence": "MIT",
        "source": "megvii-model/ShuffleNet-Series README.md",
        "note": "file name as others' code has it, unverified",
    }
    errors_v1 = {3: (42.7, 32.2, 28.4, 25.9), 8: (41.2, 32.0, 29.0, 27.1)}
    widths = (0.5, 1.0, 1.5, 2.0)
    records = [
        _record(
            "megvii_v1",
            width,
            groups,
            name=f"megvii/v1_g{groups}_{width}x",
            file=f"Group{groups}/models/{width}x.pth.tar",
            top1=round(100 - error, 1),
            **common,
        )
        for groups, errors in errors_v1.items()
        for width, error in zip(widths, errors, strict=True)
    ]
    return records + [
        _record(
            "megvii_v2",
            width,
            name=f"megvii/v2_{width}x",
            file=f"ShuffleNetV2.{width}x.pth.tar",
            top1=round(100 - error, 1),
            **common,
        )
        for width, error in zip(widths, (38.9, 30.6, 27.4, 25.0), strict=True)
    ]


def _pytorchcv() -> list[Record]:
    rows = (
        ("v1", 1, 0.25, "v0.0.134", "shufflenet_g1_wd4-3729-47dbd0f2", 62.44),
        ("v1", 3, 0.25, "v0.0.135", "shufflenet_g3_wd4-3653-6abdd65e", 61.74),
        ("v1", 1, 0.5, "v0.0.174", "shufflenet_g1_wd2-2261-dae4bdad", 46.59),
        ("v1", 3, 0.5, "v0.0.167", "shufflenet_g3_wd2-2080-ccaacfc8", 44.16),
        ("v1", 1, 0.75, "v0.0.218", "shufflenet_g1_w3d4-1711-161cd24a", 39.58),
        ("v1", 3, 0.75, "v0.0.219", "shufflenet_g3_w3d4-1650-3f3b0aef", 38.20),
        ("v1", 1, 1.0, "v0.0.223", "shufflenet_g1_w1-1389-4cfb65a3", 34.93),
        ("v1", 2, 1.0, "v0.0.241", "shufflenet_g2_w1-1363-07256203", 34.25),
        ("v1", 3, 1.0, "v0.0.244", "shufflenet_g3_w1-1348-ce54f64e", 34.39),
        ("v1", 4, 1.0, "v0.0.245", "shufflenet_g4_w1-1335-e2415f82", 34.19),
        ("v1", 8, 1.0, "v0.0.250", "shufflenet_g8_w1-1342-9a979b36", 34.06),
        ("v2", None, 0.5, "v0.0.90", "shufflenetv2_wd2-1865-9c22238b", 40.99),
        ("v2", None, 1.0, "v0.0.133", "shufflenetv2_w1-1163-c71dfb7a", 31.44),
        ("v2", None, 1.5, "v0.0.288", "shufflenetv2_w3d2-0942-26a92304", 27.47),
        ("v2", None, 2.0, "v0.0.301", "shufflenetv2_w2-0845-337255f6", 25.94),
        ("v2b", None, 0.5, "v0.0.157", "shufflenetv2b_wd2-1822-01d18d6f", 40.29),
        ("v2b", None, 1.0, "v0.0.161", "shufflenetv2b_w1-1125-6a5d3dc4", 30.62),
        ("v2b", None, 1.5, "v0.0.203", "shufflenetv2b_w3d2-0911-f2106fee", 27.31),
        ("v2b", None, 2.0, "v0.0.242", "shufflenetv2b_w2-0834-cb36b92c", 25.58),
    )
    root = "https://github.com/osmr/imgclsmob/releases/download"
    return [
        _record(
            f"pytorchcv_{version}",
            width,
            groups,
            name=f"pytorchcv/{version}_{f'g{groups}_' if groups else ''}{width}x",
            computes={"layout": "torchvision"} if (version, width) == ("v2b", 0.5) else None,
            url=f"{root}/{tag}/{file}.pth.zip",
            top1=round(100 - error, 2),
            licence="MIT",
            source="osmr/imgclsmob pytorch/pytorchcv/models/model_store.py, README",
            digest=f"sha1:{file.rpartition('-')[2]}",
            note="the digest is of the file inside of the zip",
        )
        for version, groups, width, tag, file, error in rows
    ]


def _others() -> list[Record]:
    jaxony = _record(
        "jaxony_v1",
        1.0,
        3,
        name="jaxony/v1_g3_1.0x",
        url="https://drive.google.com/file/d/12oGJsyDgp51LhQ7FOzKxF9nBsutLkE6V/view",
        file="imagenet/shufflenet.pth.tar",
        top1=62.2,
        licence="MIT",
        source="jaxony/ShuffleNet README.md",
        note="file name unverified",
    )
    root = "https://github.com/RangiLyu/nanodet/releases/download/v1.0.0-alpha-1"
    nanodet = [
        _record(
            "nanodet",
            width,
            name=f"nanodet/plus-m{'' if width == 1.0 else '-1.5x'}_{size}",
            url=f"{root}/nanodet-plus-m{'' if width == 1.0 else '-1.5x'}_{size}_checkpoint.ckpt",
            aliases=(f"nanodet_plus_m{'' if width == 1.0 else '_1.5x'}_{size}",),
            top1=None,
            licence="Apache-2.0",
            source=f"RangiLyu/nanodet config/nanodet-plus-m*_{size}.yml",
            digest="sha256:f4c6080f3ef3" if (width, size) == (1.0, 320) else "",
            note=f"a detector's backbone, COCO mAP {ap}; trained with act_cfg=dict("
            "type='LeakyReLU', negative_slope=0.1)",
        )
        for width, size, ap in (
            (1.0, 320, 27.0),
            (1.0, 416, 30.4),
            (1.5, 320, 29.9),
            (1.5, 416, 34.1),
        )
    ]
    paddle = [
        _record(
            "paddle",
            width,
            name=f"paddle/v2_{width}x",
            url="https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
            f"ShuffleNetV2_x{str(width).replace('.', '_')}_pretrained.pdparams",
            top1=top1,
            licence="Apache-2.0",
            source="PaddlePaddle/PaddleClas docs, PaddleDetection shufflenet_v2.py",
            unreadable="PaddlePaddle's format: re-save it as PyTorch's"
            + ("; no such width here" if width in (0.25, 0.33) else ""),
            note="files older than May 2022 have 224 channels in stage 2, not 244"
            if width == 2.0
            else "",
        )
        for width, top1 in (
            (0.25, 49.90), (0.33, 53.73), (0.5, 60.32), (1.0, 68.80), (1.5, 71.63), (2.0, 73.15),
        )
    ]  # fmt: skip
    tensorpack = [
        Record(
            name=f"tensorpack/{name}",
            url=f"http://models.tensorpack.com/ImageNetModels/{file}.npz",
            file=f"{file}.npz",
            layout="",
            network=f"ShuffleNetV{version}",
            arguments=arguments,
            top1=round(100 - error, 1),
            licence="Apache-2.0",
            source="tensorpack/tensorpack examples/ImageNetModels",
            unreadable="TensorFlow's SAME padding is asymmetric",
            own_pixels=IMAGENET_BGR,
        )
        for name, version, file, arguments, error in (
            ("v1_g8_0.5x", 1, "ShuffleNetV1-0.5x-g=8", {"groups": 8, "widen_factor": 0.5}, 40.8),
            ("v1_g8_1.0x", 1, "ShuffleNetV1-1x-g=8", {"groups": 8, "widen_factor": 1.0}, 32.6),
            ("v2_0.5x", 2, "ShuffleNetV2-0.5x", {"widen_factor": 0.5}, 39.5),
            ("v2_1.0x", 2, "ShuffleNetV2-1x", {"widen_factor": 1.0}, 30.6),
        )
    ]
    return [jaxony, *nanodet, *paddle, *tensorpack]


RECORDS: tuple[Record, ...] = (
    *_torchvision(),
    *_openmmlab(),
    *_megvii(),
    *_pytorchcv(),
    *_others(),
)
