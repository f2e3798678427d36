"""Features of every source's network and of ours agree, with the source's checkpoint on disk."""

import pytest
import torch
import torchvision
from published_networks import (
    Tape,
    halves_v2,
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

V2_WIDTHS = {
    0.5: (48, 96, 192),
    1.0: (116, 232, 464),
    1.5: (176, 352, 704),
    2.0: (244, 488, 976),
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def cases(names, every):
    """Each of ``every`` in double precision, the first in single precision, too."""
    rows = [(*(row if isinstance(row, tuple) else (row,)), torch.float64) for row in every]
    first = [(*rows[0][:-1], torch.float32)]
    return pytest.mark.parametrize((*names.split(), "dtype"), rows + first)


both_precisions = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def image(dtype, seed=1, side=64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, side, side, generator=generator, dtype=dtype)


def loaded(backbone, state, path, dtype):
    torch.save(state, path)
    backbone = backbone.to(dtype)
    load_pretrained(backbone, str(path))
    return backbone.eval()


def assert_equal_features(backbone, x, expected):
    with torch.no_grad():
        features = backbone(x)
    assert len(features) == len(expected)
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.shape == theirs.shape
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error < TOLERANCE[x.dtype]


def v1(groups, width, shuffle="paper", **kwargs):
    return ShuffleNetV1(groups, width, shuffle, out_indices=(0, 1, 2, 3), **kwargs)


def v2(width, layout="torchvision", conv5=None, levels=5):
    return ShuffleNetV2(width, layout, conv5_channels=conv5, out_indices=tuple(range(levels)))


@cases("width", V2_WIDTHS)
def test_torchvision(width, dtype, tmp_path):
    name = f"shufflenet_v2_x{str(width).replace('.', '_')}"
    source = torchvision.models.get_model(name, weights=None).to(dtype).eval()
    for norm in source.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.uniform_(0.5, 1.5)
    expected = []
    with torch.no_grad():
        x = source.maxpool(source.conv1(image(dtype)))
        for level in (None, source.stage2, source.stage3, source.stage4, source.conv5):
            x = level(x) if level else x
            expected.append(x)
    ours = loaded(v2(width), source.state_dict(), tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, image(dtype), expected)


MEGVII_V1 = {
    (3, 0.5): (12, (120, 240, 480)),
    (3, 1.0): (24, (240, 480, 960)),
    (3, 1.5): (24, (360, 720, 1440)),
    (3, 2.0): (48, (480, 960, 1920)),
    (8, 0.5): (16, (192, 384, 768)),
    (8, 1.0): (24, (384, 768, 1536)),
    (8, 1.5): (24, (576, 1152, 2304)),
    (8, 2.0): (48, (768, 1536, 3072)),
}


@cases("groups width", MEGVII_V1)
def test_megvii_v1(groups, width, dtype, tmp_path):
    tape = Tape(dtype=dtype)
    expected = megvii_v1(tape, image(dtype), groups, *MEGVII_V1[groups, width])
    state = {f"module.{key}": tensor for key, tensor in tape.state.items()}
    state["module.classifier.0.weight"] = torch.rand(10, expected[-1].shape[1])
    path = tmp_path / "weights.pth.tar"
    ours = loaded(v1(groups, width, "inverse"), {"state_dict": state}, path, dtype)
    assert_equal_features(ours, image(dtype), expected)


@cases("groups", (1, 2, 3, 4, 8))
def test_openmmlab_v1(groups, dtype, tmp_path):
    widths = {
        1: (144, 288, 576),
        2: (200, 400, 800),
        3: (240, 480, 960),
        4: (272, 544, 1088),
        8: (384, 768, 1536),
    }[groups]
    tape = Tape(dtype=dtype)
    expected = openmmlab_v1(tape, image(dtype), groups, 24, widths)
    tape.linear(expected[-1].mean((2, 3)), "head.fc", 10)
    state = {"meta": {"epoch": 300}, "state_dict": tape.state}
    ours = loaded(v1(groups, 1.0), state, tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, image(dtype), expected)


@cases("groups", (2, 3, 4, 8))
def test_jaxony_v1(groups, dtype, tmp_path):
    widths = {2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
    tape = Tape(dtype=dtype)
    x = image(dtype) - 0.5  # so that much of the bare stem's output is negative
    expected = jaxony_v1(tape, x, groups, 24, widths[groups])
    assert (expected[0] < 0).any()
    tape.linear(expected[-1].mean((2, 3)), "fc", 10)
    state = {"epoch": 90, "arch": "shufflenet", "state_dict": tape.state, "best_prec1": 62.2}
    ours = loaded(v1(groups, 1.0, stem_act=False), state, tmp_path / "weights.pth.tar", dtype)
    assert_equal_features(ours, x, expected)


PYTORCHCV_V1 = {
    (1, 0.25): (6, (36, 72, 144)),
    (3, 0.25): (6, (60, 120, 240)),
    (1, 0.5): (12, (72, 144, 288)),
    (3, 0.5): (12, (120, 240, 480)),
    (1, 0.75): (18, (108, 216, 432)),
    (3, 0.75): (18, (180, 360, 720)),
    (1, 1.0): (24, (144, 288, 576)),
    (2, 1.0): (24, (200, 400, 800)),
    (3, 1.0): (24, (240, 480, 960)),
    (4, 1.0): (24, (272, 544, 1088)),
    (8, 1.0): (24, (384, 768, 1536)),
}


@cases("groups width", PYTORCHCV_V1)
def test_pytorchcv_v1(groups, width, dtype, tmp_path):
    tape = Tape(dtype=dtype)
    expected = pytorchcv_v1(tape, image(dtype), groups, *PYTORCHCV_V1[groups, width])
    tape.linear(expected[-1].mean((2, 3)), "output", 10)
    ours = loaded(v1(groups, width), tape.state, tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, image(dtype), [features.flip(1) for features in expected])


def conv5_of(width):
    return 2048 if width == 2.0 else 1024


@cases("width", V2_WIDTHS)
def test_megvii_v2(width, dtype, tmp_path):
    tape = Tape(dtype=dtype)
    expected = megvii_v2(tape, image(dtype), V2_WIDTHS[width], conv5_of(width))
    tape.linear(expected[-1].mean((2, 3)), "classifier.0", 10, bias=False)
    state = {"state_dict": {f"module.{key}": tensor for key, tensor in tape.state.items()}}
    ours = loaded(v2(width, "paper"), state, tmp_path / "weights.pth.tar", dtype)
    assert_equal_features(ours, image(dtype), expected)


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
def test_other_names_of_torchvision_s_network(names, norm, width, dtype, tmp_path):
    tape = Tape(dtype=dtype, norm=norm)
    expected = halves_v2(tape, image(dtype), V2_WIDTHS[width], conv5_of(width), names)
    ours = loaded(v2(width), {"state_dict": tape.state}, tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, image(dtype), expected)


@both_precisions
def test_nanodet_without_conv5_takes_the_averaged_weights(dtype, tmp_path):
    tape, average = Tape(dtype=dtype), Tape(seed=2, dtype=dtype)
    halves_v2(tape, image(dtype), V2_WIDTHS[1.0], 0, torchvision_names("model.backbone."))
    names = torchvision_names("avg_model.backbone.")
    expected = halves_v2(average, image(dtype), V2_WIDTHS[1.0], 0, names)
    state = {"state_dict": {**tape.state, **average.state, "model.head.w": torch.rand(3)}}
    ours = loaded(v2(1.0, levels=4), state, tmp_path / "nanodet.ckpt", dtype)
    assert_equal_features(ours, image(dtype), expected)


# osmr/imgclsmob: conv5 grows with the width
PYTORCHCV_CONV5 = {0.5: 1024, 1.0: 1024, 1.5: 1553, 2.0: 2153}


def test_nanodets_best_model_is_nanodets(tmp_path):
    """It has neither Lightning's prefix nor conv5, but a detector's other parts beside it."""
    tape = Tape()
    halves_v2(tape, image(torch.float32), V2_WIDTHS[1.0], 0, torchvision_names("backbone."))
    path = str(tmp_path / "nanodet_model_best.pth")
    torch.save(
        {"state_dict": {**tape.state, "fpn.reduce_layers.0.conv.weight": torch.ones(1)}}, path
    )
    weights = read_weights(path)
    assert weights.source.title == "NanoDet's V2" and weights.images is not None


@pytest.mark.parametrize(("slope", "warned"), [(0.1, 0), (0.01, 1)])
def test_nanodets_activation_is_known_with_its_slope(slope, warned, tmp_path, warnings):
    tape = Tape()
    names = torchvision_names("model.backbone.")
    halves_v2(tape, image(torch.float32), V2_WIDTHS[1.0], 0, names)
    act_cfg = {"type": "LeakyReLU", "negative_slope": slope}
    backbone = ShuffleNetV2(1.0, act_cfg=act_cfg)
    state = tape.state | {"model.head.gfl_cls.0.weight": torch.ones(1)}
    loaded(backbone, state, tmp_path / "nanodet.ckpt", torch.float32)
    assert len(warnings()) == warned
    assert all("negative_slope=0.1" in warning for warning in warnings())


@cases("width", V2_WIDTHS)
def test_pytorchcv_v2b(width, dtype, tmp_path):
    layout = "torchvision" if width == 0.5 else "pytorchcv_b"
    tape = Tape(dtype=dtype)
    conv5 = PYTORCHCV_CONV5[width]
    names = pytorchcv_b_names()
    expected = halves_v2(tape, image(dtype), V2_WIDTHS[width], conv5, names, split_24=True)
    tape.linear(expected[-1].mean((2, 3)), "output", 10)
    ours = loaded(v2(width, layout, conv5), tape.state, tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, image(dtype), expected)


@cases("width", V2_WIDTHS)
@pytest.mark.parametrize("side", [64, 74, 97])  # 37 and 49 at stride 2: odd
def test_pytorchcv_v2(width, side, dtype, tmp_path):
    tape = Tape(dtype=dtype)
    conv5 = PYTORCHCV_CONV5[width]
    x = image(dtype, side=side)
    expected = halves_v2(tape, x, V2_WIDTHS[width], conv5, pytorchcv_names(), pad=0)
    ours = loaded(v2(width, "pytorchcv", conv5), tape.state, tmp_path / "weights.pth", dtype)
    assert_equal_features(ours, x, expected)
