"""The records of published checkpoints, and the pixels that follow from them."""

import dataclasses
import re

import pytest
from mmengine.config import ConfigDict
from torchvision.models import get_model_weights

from shufflenet_det.backbones import shufflenet_v1
from shufflenet_det.weights import LAYOUTS, RECORDS, find_record, fit_data_preprocessor
from shufflenet_det.weights.loading import can_be_built
from shufflenet_det.weights.records import declared

RGB = {
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
}
BGR_0_255 = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False}
IDS = [record.name for record in RECORDS]
every_record = pytest.mark.parametrize("record", RECORDS, ids=IDS)


@pytest.mark.parametrize("key", ("x0_5", "x1_0", "x1_5", "x2_0"))
def test_torchvision_s_records_are_torchvision_s(key):
    weights = get_model_weights(f"shufflenet_v2_{key}").IMAGENET1K_V1
    record = find_record(weights.url)
    assert record.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert record.arguments["widen_factor"] == float(key[1:].replace("_", "."))
    transform = weights.transforms()
    pixels = record.pixels.data_preprocessor()
    assert pixels["mean"] == pytest.approx([255 * m for m in transform.mean])
    assert pixels["std"] == pytest.approx([255 * s for s in transform.std])


def test_every_layout_but_variants_of_names_has_a_record():
    assert set(LAYOUTS) - {record.layout for record in RECORDS} == {"paddle_vision"}


@every_record
def test_a_record_is_found_by_whatever_it_is_called(record):
    names = [record.name, *record.aliases, record.file, f"/data/{record.file}"]
    names += [record.url] if record.can_be_fetched else []
    assert all(find_record(name) is record for name in names)


@every_record
def test_a_file_that_carries_a_digest_has_it_in_its_record(record):
    if record.digest:
        algorithm, _, start = record.digest.partition(":")
        assert re.fullmatch("[0-9a-f]{8,}", start)
        assert algorithm == ("sha1" if record.name.startswith("pytorchcv") else "sha256")
        assert start in record.url or record.name.startswith("nanodet")


@every_record
def test_records_are_complete(record):
    assert record.licence and record.source and record.pixels
    assert (record.top1 is None) == record.name.startswith("nanodet")
    assert record.layout in LAYOUTS or record.unreadable
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "another"


@pytest.mark.parametrize(
    "record", [r for r in RECORDS if r.name.startswith(("torchv", "openm", "megvii"))], ids=str
)
def test_the_networks_of_the_main_sources_can_be_built(record):
    assert can_be_built(record.network, record.arguments)


# https://github.com/megvii-model/ShuffleNet-Series, top-1 errors in its README.
@pytest.mark.parametrize(
    ("name", "error"),
    [
        *zip([f"v1_g3_{w}x" for w in (0.5, 1.0, 1.5, 2.0)], (42.7, 32.2, 28.4, 25.9), strict=True),
        *zip([f"v1_g8_{w}x" for w in (0.5, 1.0, 1.5, 2.0)], (41.2, 32.0, 29.0, 27.1), strict=True),
        *zip([f"v2_{w}x" for w in (0.5, 1.0, 1.5, 2.0)], (38.9, 30.6, 27.4, 25.0), strict=True),
    ],
)
def test_the_authors_accuracies(name, error):
    record = find_record(f"megvii/{name}")
    assert record.top1 == pytest.approx(100 - error)
    assert record.pixels.data_preprocessor() == BGR_0_255


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("shufflenetv2_x0.5.pth", {"widen_factor": 0.5}),
        ("work/ShuffleNetV2.1.5x.pth.tar", {"widen_factor": 1.5}),
        ("a/shufflenet_g3_wd4-3653.pth.zip", {"groups": 3, "widen_factor": 0.25}),
        ("shufflenetv1_g8_2.0x.pth", {"groups": 8, "widen_factor": 2.0}),
        ("shufflenetv2_x0.5_to_x1.0.pth", {}),
        ("faster_rcnn_shufflenet_2x_coco.pth", {}),
        ("ssdlite320_shufflenet_coco_20250102-1f2e3d4c.pth", {}),
        ("shufflenet_1x_g3_epoch_12.pth", {"groups": 3}),
        ("shufflenetv2_8xb24_epoch_1.5.pth", {}),
        ("epoch_12.pth", {}),
        ("resnet_x0.5.pth", {}),
        ("shufflenetv2_x0.5/epoch_12.pth", {}),
    ],
)
def test_what_a_name_says_of_the_network(name, claims):
    assert declared(name) == claims


def detector(checkpoint, data_preprocessor=None):
    init_cfg = {"type": "Pretrained", "checkpoint": checkpoint}
    model = ConfigDict(type="RetinaNet", backbone={"type": "ShuffleNetV1", "init_cfg": init_cfg})
    if data_preprocessor is not None:
        model.data_preprocessor = data_preprocessor
    return model


@pytest.mark.parametrize(
    ("checkpoint", "pixels"),
    [
        ("megvii/v1_g3_1.0x", BGR_0_255),
        ("/data/ShuffleNetV1/Group8/models/0.5x.pth.tar", BGR_0_255),
        ("mmcls://shufflenet_v1", RGB),
        ("torchvision://shufflenet_v2_x1_0.imagenet1k_v1", RGB),
        ("shufflenet_g1_w1-1389-4cfb65a3.pth", RGB),
    ],
)
def test_images_are_set_where_a_config_states_none(checkpoint, pixels, warnings):
    model = detector(checkpoint)
    fit_data_preprocessor(model)
    assert model.data_preprocessor == {"type": "DetDataPreprocessor", **pixels}
    own = {"type": "Own", "pad_size_divisor": 32}
    model = detector(checkpoint, own)
    model.backbone.init_cfg = [model.backbone.init_cfg]
    fit_data_preprocessor(model)
    assert model.data_preprocessor == {**own, **pixels}
    assert warnings() == []


@pytest.mark.parametrize("stated", (RGB, {"mean": None, "std": None, "bgr_to_rgb": True}))
def test_other_images_are_warned_of_with_both(stated, warnings):
    model = detector("megvii/v1_g3_1.0x", dict(stated))
    fit_data_preprocessor(model)
    assert model.data_preprocessor == stated
    (message,) = warnings()
    assert "'bgr_to_rgb': True" in message and "megvii/v1_g3_1.0x" in message
    assert "[0.0, 0.0, 0.0]" in message


@pytest.mark.parametrize(
    "stated",
    (
        BGR_0_255,
        {"mean": (0.0, 0.0, 0.0), "std": (1, 1, 1), "bgr_to_rgb": False},
        {"mean": None, "std": None},
    ),
)
def test_the_same_images_are_left_as_they_are(stated, warnings):
    model = detector("megvii/v1_g3_1.0x", dict(stated))
    assert fit_data_preprocessor(model).data_preprocessor() == BGR_0_255
    assert model.data_preprocessor == stated
    assert warnings() == []


@pytest.mark.parametrize("init_cfg", (None, [], {"type": "Kaiming"}, {"checkpoint": "own.pth"}))
def test_other_weights_change_nothing(init_cfg, warnings):
    model = ConfigDict(backbone={"type": "ShuffleNetV1", "init_cfg": init_cfg})
    assert fit_data_preprocessor(model) is None
    assert "data_preprocessor" not in model and warnings() == []


def test_widths_of_pytorchcv_s_records_are_its_own():
    """int(width of 1.0x times the factor): pytorchcv/models/shufflenet.py."""
    base = {g: shufflenet_v1.WIDTHS[g, 1.0] for g in (1, 2, 3, 4, 8)}
    for record in RECORDS:
        groups, factor = (record.arguments.get(k) for k in ("groups", "widen_factor"))
        if record.layout == "pytorchcv_v1":
            expected = tuple(int(width * factor) for width in base[groups])
            assert shufflenet_v1.WIDTHS[groups, factor] == expected
