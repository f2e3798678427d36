"""Our networks give the features of every source's network, with its checkpoint."""

import pytest
import torch
import torchvision
from published_networks import (
    V1_WIDTHS,
    V2_WIDTHS,
    Tape,
    assert_close,
    halves_v2,
    image,
    jaxony_v1,
    megvii_v1,
    megvii_v2,
    openmmlab_names,
    openmmlab_v1,
    paddle_names,
    pytorchcv_b_names,
    pytorchcv_names,
    pytorchcv_v1,
    torchvision_names,
)
from torch import nn

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import load_pretrained, read_weights


def cases(names, every):
    """Each of ``every`` in double precision, the first also in single precision."""
    rows = [(*(row if isinstance(row, tuple) else (row,)), torch.float64) for row in every]
    first = [(*rows[0][:-1], torch.float32)]
    return pytest.mark.parametrize((*names.split(), "dtype"), rows + first)


def v1(groups, width, shuffle="paper", **kwargs):
    return ShuffleNetV1(groups, width, shuffle, out_indices=(0, 1, 2, 3), **kwargs)


def v2(width, layout="torchvision", conv5=None, levels=5):
    return ShuffleNetV2(width, layout, conv5_channels=conv5, out_indices=tuple(range(levels)))


def conv5_of(width):
    return 2048 if width == 2.0 else 1024


@cases("width", V2_WIDTHS)
def test_torchvision(width, dtype, save, features):
    name = f"shufflenet_v2_x{str(width).replace('.', '_')}"
    source = torchvision.models.get_model(name, weights=None).to(dtype).eval()
    for norm in source.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.uniform_(0.5, 1.5)
    x = image(dtype)
    with torch.no_grad():
        expected = [source.maxpool(source.conv1(x))]
        for stage in (source.stage2, source.stage3, source.stage4, source.conv5):
            expected.append(stage(expected[-1]))
    assert_close(features(v2(width), save(source.state_dict()), x), expected)


@cases(
    "groups width", [key for key in V1_WIDTHS if key[0] in (3, 8) and key[1] in (0.5, 1, 1.5, 2)]
)
def test_megvii_v1(groups, width, dtype, save, features):
    tape = Tape(dtype=dtype)
    expected = megvii_v1(tape, image(dtype), groups, *V1_WIDTHS[groups, width])
    state = {f"module.{key}": tensor for key, tensor in tape.state.items()}
    state["module.classifier.0.weight"] = torch.rand(10, expected[-1].shape[1])
    path = save({"state_dict": state}, "weights.pth.tar")
    assert_close(features(v1(groups, width, "inverse"), path, image(dtype)), expected)


@cases("groups", (1, 2, 3, 4, 8))
def test_openmmlab_v1(groups, dtype, save, features):
    tape = Tape(dtype=dtype)
    expected = openmmlab_v1(tape, image(dtype), groups, *V1_WIDTHS[groups, 1.0])
    tape.linear(expected[-1].mean((2, 3)), "head.fc", 10)
    path = save({"meta": {"epoch": 300}, "state_dict": tape.state})
    assert_close(features(v1(groups, 1.0), path, image(dtype)), expected)


@cases("groups", (2, 3, 4, 8))
def test_jaxony_v1(groups, dtype, save, features):
    tape = Tape(dtype=dtype)
    x = image(dtype) - 0.5  # so that much of the bare stem's output is negative
    expected = jaxony_v1(tape, x, groups, *V1_WIDTHS[groups, 1.0])
    assert (expected[0] < 0).any()
    tape.linear(expected[-1].mean((2, 3)), "fc", 10)
    path = save({"epoch": 90, "arch": "shufflenet", "state_dict": tape.state, "best_prec1": 62.2})
    assert_close(features(v1(groups, 1.0, stem_act=False), path, x), expected)


@cases("groups width", [key for key in V1_WIDTHS if key[1] <= 1 and key != (8, 0.5)])
def test_pytorchcv_v1(groups, width, dtype, save, features):
    tape = Tape(dtype=dtype)
    expected = pytorchcv_v1(tape, image(dtype), groups, *V1_WIDTHS[groups, width])
    tape.linear(expected[-1].mean((2, 3)), "output", 10)
    ours = features(v1(groups, width), save(tape), image(dtype))
    assert_close(ours, [maps.flip(1) for maps in expected])


@cases("width", V2_WIDTHS)
def test_megvii_v2(width, dtype, save, features):
    tape = Tape(dtype=dtype)
    expected = megvii_v2(tape, image(dtype), V2_WIDTHS[width], conv5_of(width))
    tape.linear(expected[-1].mean((2, 3)), "classifier.0", 10, bias=False)
    path = save({"state_dict": {f"module.{key}": tensor for key, tensor in tape.state.items()}})
    assert_close(features(v2(width, "paper"), path, image(dtype)), expected)


@cases("width", (0.5, 1.0))
@pytest.mark.parametrize(
    ("names", "norm"),
    [
        (openmmlab_names(), "torch"),
        (torchvision_names("model.backbone.", "stage4.conv5"), "torch"),
        (paddle_names("._conv", "._batch_norm"), "paddle"),
        (paddle_names("._conv", "._batch_norm"), "torch"),
        (paddle_names(".0", ".1"), "paddle"),
    ],
    ids=["openmmlab", "nanodet", "paddle", "paddle-running", "paddle.vision"],
)
def test_other_names_of_torchvisions_network(names, norm, width, dtype, save, features):
    tape = Tape(dtype=dtype, norm=norm)
    expected = halves_v2(tape, image(dtype), V2_WIDTHS[width], conv5_of(width), names)
    path = save({"state_dict": tape.state})
    assert_close(features(v2(width), path, image(dtype)), expected)


def test_nanodet_without_conv5_takes_the_averaged_weights(save, features):
    tape, average = Tape(dtype=torch.float64), Tape(seed=2, dtype=torch.float64)
    halves_v2(tape, image(), V2_WIDTHS[1.0], 0, torchvision_names("model.backbone."))
    names = torchvision_names("avg_model.backbone.")
    expected = halves_v2(average, image(), V2_WIDTHS[1.0], 0, names)
    state = {"state_dict": {**tape.state, **average.state, "model.head.w": torch.rand(3)}}
    assert_close(features(v2(1.0, levels=4), save(state, "nanodet.ckpt")), expected)


def test_nanodets_best_model_is_nanodets(save):
    """It has neither Lightning's prefix nor conv5, but a detector's other parts beside it."""
    tape = Tape()
    halves_v2(tape, image(torch.float32), V2_WIDTHS[1.0], 0, torchvision_names("backbone."))
    state = {"state_dict": tape.state | {"fpn.reduce_layers.0.conv.weight": torch.ones(1)}}
    weights = read_weights(save(state, "nanodet_model_best.pth"))
    assert weights.source.title == "NanoDet's V2" and weights.images is not None


@pytest.mark.parametrize(("slope", "warned"), [(0.1, 0), (0.01, 1)])
def test_nanodets_activation_is_known_with_its_slope(slope, warned, save, warnings):
    tape = Tape()
    names = torchvision_names("model.backbone.")
    halves_v2(tape, image(torch.float32), V2_WIDTHS[1.0], 0, names)
    act_cfg = {"type": "LeakyReLU", "negative_slope": slope}
    backbone = ShuffleNetV2(1.0, act_cfg=act_cfg)
    state = tape.state | {"model.head.gfl_cls.0.weight": torch.ones(1)}
    load_pretrained(backbone, save(state, "nanodet.ckpt"))
    assert len(warnings()) == warned
    assert all("negative_slope=0.1" in warning for warning in warnings())


# osmr/imgclsmob: conv5 grows with the width
PYTORCHCV_CONV5 = {0.5: 1024, 1.0: 1024, 1.5: 1553, 2.0: 2153}


@cases("width", V2_WIDTHS)
def test_pytorchcv_v2b(width, dtype, save, features):
    layout = "torchvision" if width == 0.5 else "pytorchcv_b"
    tape, conv5, names = Tape(dtype=dtype), PYTORCHCV_CONV5[width], pytorchcv_b_names()
    expected = halves_v2(tape, image(dtype), V2_WIDTHS[width], conv5, names, split_24=True)
    tape.linear(expected[-1].mean((2, 3)), "output", 10)
    assert_close(features(v2(width, layout, conv5), save(tape), image(dtype)), expected)


@cases("width", V2_WIDTHS)
@pytest.mark.parametrize("side", [64, 74, 97])  # 37 and 49 at stride 2: odd
def test_pytorchcv_v2(width, side, dtype, save, features):
    tape, conv5, x = Tape(dtype=dtype), PYTORCHCV_CONV5[width], image(dtype, side)
    expected = halves_v2(tape, x, V2_WIDTHS[width], conv5, pytorchcv_names(), pad=0)
    assert_close(features(v2(width, "pytorchcv", conv5), save(tape), x), expected)
