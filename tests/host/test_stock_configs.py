"""A few of mmdet's configs with our backbone; docs/mmdet.md lists all results."""

import json

import pytest

from shufflenet_det.cli import run_tool
from shufflenet_det.host import stock_configs


@pytest.mark.parametrize(
    "backbone, strides",
    [
        ({"type": "ResNet", "out_indices": (1, 2, 3)}, (8, 16, 32)),
        ({"type": "ResNet", "strides": (1, 2, 2, 1), "out_indices": (3,)}, (16,)),
        ({"type": "CSPDarknet"}, (8, 16, 32)),
        ({"type": "SwinTransformer"}, (4, 8, 16, 32)),
        ({"type": "MobileNetV2", "out_indices": (4, 7)}, (16, 32)),
    ],
)
def test_levels_have_the_strides_of_the_original_backbone(backbone, strides):
    model = {"backbone": backbone, "neck": [{"type": "FPN", "in_channels": [1] * len(strides)}]}
    stock_configs.put_backbone(model)
    from shufflenet_det import ShuffleNetV2

    built = ShuffleNetV2(0.5, out_indices=model["backbone"]["out_indices"])
    assert built.out_strides == strides
    assert model["neck"][0]["in_channels"] == list(built.out_channels)


def test_a_neck_with_channels_from_the_top():
    neck = {"type": "YOLOV3Neck", "in_channels": [1024, 512, 256]}
    stock_configs.put_backbone(model := {"backbone": {"type": "Darknet"}, "neck": neck})
    assert model["neck"]["in_channels"] == [192, 96, 48]


def test_a_detector_that_is_its_backbone_is_not_applicable():
    with pytest.raises(stock_configs.NotApplicable, match="TridentResNet"):
        stock_configs.put_backbone({"backbone": {"type": "TridentResNet"}})


def test_configs_train_and_predict(tmp_path):
    """DCN v2 with large offsets, a masked convolution, and a config that is not applicable."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: mmdet -->\n<!-- end of table -->\nafter\n")
    folder = stock_configs.all_configs()[0].parent.parent
    names = (
        "dyhead/atss_r50-caffe_fpn_dyhead_1x_coco.py",
        "guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py",
        "tridentnet/tridentnet_r50-caffe_1x_coco.py",
    )
    answers = dict(stock_configs.check([folder / name for name in names], timeout=300))
    outcomes = [answers[folder / name]["outcome"] for name in names]
    assert outcomes == ["works", "works", "not applicable"], answers

    arguments = ["--results", str(tmp_path), "--page", str(page), "--only", "tridentnet"]
    for _ in range(2):
        assert run_tool("check_mmdet", arguments) == 0
    assert len(json.loads((tmp_path / "mmdet.json").read_text())["rows"]) == 1
    assert page.read_text().startswith("before") and page.read_text().endswith("after\n")
    assert "| tridentnet/tridentnet_r50-caffe_1x_coco.py | not applicable" in page.read_text()


def test_a_config_that_kills_the_process_is_reported(tmp_path):
    (tmp_path / "bad").mkdir()
    bad = tmp_path / "bad" / "ends.py"
    bad.write_text("model = __import__('os')._exit(7)\n")
    ((_, ended),) = stock_configs.check([bad], timeout=300)
    assert (ended["outcome"], ended["reason"]) == ("fails", "the process ended with status 7")
    bad.write_text("model = __import__('time').sleep(600)\n")
    ((_, slow),) = stock_configs.check([bad], timeout=0.1)
    assert slow["reason"] == "not done after 0.1 seconds"


def test_an_unknown_family_is_named(capsys):
    assert run_tool("check_mmdet", ["--only", "atss,atsss"]) == 2
    assert "no family atsss" in capsys.readouterr().err
