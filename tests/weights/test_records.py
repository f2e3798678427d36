"""The records of published weights, and the preprocessing that a config gets from them."""

import re

import pytest
import torch
from mmengine.config import ConfigDict
from torchvision.models import get_model_weights

from shufflenet_det.backbones.base import NETWORKS
from shufflenet_det.weights import RECORDS, Images, find_record, fit_data_preprocessor
from shufflenet_det.weights.records import SOURCES

RGB = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True}
BGR_0_255 = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False}
BACKBONES = [record for record in RECORDS if record.kind == "backbone"]


@pytest.mark.parametrize("key", ("x0_5", "x1_0", "x1_5", "x2_0"))
def test_torchvisions_records_are_torchvisions(key):
    weights = get_model_weights(f"shufflenet_v2_{key}").IMAGENET1K_V1
    record = find_record(weights.url)
    assert record.metrics == {"ImageNet top-1": weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]}
    assert record.arguments["widen_factor"] == float(key[1:].replace("_", "."))
    transform = weights.transforms()
    images = record.images.data_preprocessor()
    assert images["mean"] == pytest.approx([255 * m for m in transform.mean])
    assert images["std"] == pytest.approx([255 * s for s in transform.std])


def test_every_record_is_complete_and_found_by_its_names():
    for record in RECORDS:
        names = [record.name, *record.aliases, *([record.url] if record.can_be_fetched else [])]
        assert all(find_record(name) is record for name in names)
        assert record.licence and record.facts and record.url.startswith("http")
        algorithm, _, start = record.digest.partition(":")
        assert not record.digest or (algorithm in ("sha1", "sha256"))
        assert re.fullmatch("([0-9a-f]{8,64})?", start)
    assert {record.source for record in BACKBONES} <= SOURCES.keys()


@pytest.mark.parametrize("record", BACKBONES, ids=lambda record: record.name)
def test_every_readable_record_builds_its_network(record):
    if not record.unreadable:
        with torch.device("meta"):
            NETWORKS[record.network](**record.arguments, out_indices=(0,))


def detector(checkpoint, data_preprocessor=None):
    init_cfg = {"type": "Pretrained", "checkpoint": checkpoint}
    model = ConfigDict(type="RetinaNet", backbone={"type": "ShuffleNetV1", "init_cfg": init_cfg})
    if data_preprocessor is not None:
        model.data_preprocessor = data_preprocessor
    return model


@pytest.mark.parametrize(
    ("checkpoint", "images"),
    [
        ("megvii/v1_g3_1.0x", BGR_0_255),
        ("mmcls://shufflenet_v1", RGB),
        ("torchvision://shufflenet_v2_x1_0.imagenet1k_v1", RGB),
    ],
)
def test_preprocessing_is_set_if_the_config_states_none(checkpoint, images):
    model = detector(checkpoint)
    fit_data_preprocessor(model)
    assert model.data_preprocessor == {"type": "DetDataPreprocessor", **images}
    own = {"type": "Own", "pad_size_divisor": 32}
    model = detector(checkpoint, own)
    model.backbone.init_cfg = [model.backbone.init_cfg]
    fit_data_preprocessor(model)
    assert model.data_preprocessor == {**own, **images}


@pytest.mark.parametrize("stated", (RGB, {"mean": None, "std": None, "bgr_to_rgb": True}))
def test_stated_preprocessing_stays_and_reaches_the_loader(stated):
    model = detector("megvii/v1_g3_1.0x", dict(stated))
    fit_data_preprocessor(model)
    assert model.data_preprocessor == stated
    assert Images.of(model.backbone.init_cfg.images) == Images.of(stated)


@pytest.mark.parametrize("init_cfg", (None, [], {"type": "Kaiming"}, {"checkpoint": "own.pth"}))
def test_other_weights_change_nothing(init_cfg):
    model = ConfigDict(backbone={"type": "ShuffleNetV1", "init_cfg": init_cfg})
    before = model.to_dict()
    assert fit_data_preprocessor(model) is None
    assert model.to_dict() == before
