"""Levels, channels and strides, over every variant and every choice of outputs."""

import copy
import pickle
from functools import cache
from math import ceil

import networks
import pytest
import torch
from networks import (
    EVERY,
    LAYOUTS,
    LEVELS,
    MOBILENET_FACTORS,
    SMALL,
    STRIDES,
    V1_FACTORS,
    V1_GROUPS,
    V2_FACTORS,
    XCEPTION_FACTORS,
)

from shufflenet_det.backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception

HEIGHT, WIDTH = 97, 131


@cache
def _step(network, variant):
    """The map shapes of one training step at an odd size, and parameters without gradient."""
    torch.manual_seed(0)
    net = networks.all_levels(network, dict(variant))
    maps = net(networks.images(2, 3, HEIGHT, WIDTH))
    networks.loss(maps).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    return [m.shape for m in maps], net.out_channels, net.out_strides, without


def step(network, variant):
    return _step(network, tuple(variant.items()))


@pytest.mark.parametrize(("network", "variant"), EVERY)
def test_maps_are_as_declared_at_an_odd_size(network, variant):
    shapes, channels, strides, _ = step(network, variant)
    assert strides == STRIDES[: LEVELS[network]]
    height, width = HEIGHT, WIDTH
    if variant.get("layout") == "pytorchcv":
        height, width = height - 1, width - 1  # 49 and 66 at stride 2: its pooling drops one of 49
    assert shapes == [
        (2, c, ceil(height / s), ceil(width / s)) for c, s in zip(channels, strides, strict=True)
    ]


@pytest.mark.parametrize(("network", "variant"), EVERY)
def test_every_parameter_gets_a_gradient(network, variant):
    assert step(network, variant)[-1] == []


@pytest.mark.parametrize(("network", "variant"), SMALL)
@pytest.mark.parametrize("size", [(64, 64), (65, 95), (33, 32), (1, 1)])
def test_sizes_round_up(network, variant, size):
    net = networks.all_levels(network, variant).eval()
    with torch.no_grad():
        maps = net(networks.images(1, 3, *size))
    assert [m.shape[2:] for m in maps] == [
        tuple(ceil(side / s) for side in size) for s in net.out_strides
    ]


@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_every_choice_of_outputs(network, variant):
    torch.manual_seed(0)
    whole = networks.randomise(networks.all_levels(network, variant)).eval()
    x = networks.images(2, 3, 64, 64)
    expected = [m.detach() for m in whole(x)]
    state = whole.state_dict()
    for chosen in networks.subsets(LEVELS[network]):
        net = network(**variant, out_indices=chosen).eval()
        net.load_state_dict({k: state[k] for k in net.state_dict()})
        maps = net(x)
        assert isinstance(maps, tuple)
        assert net.out_channels == tuple(expected[i].shape[1] for i in chosen)
        assert net.out_strides == tuple(STRIDES[i] for i in chosen)
        assert all(map(torch.equal, maps, [expected[i] for i in chosen])), chosen
        networks.loss(net.train()(x)).backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters()), chosen


@pytest.mark.parametrize(("network", "variant"), EVERY)
def test_levels_above_the_last_output_are_not_built(network, variant):
    with torch.device("meta"):
        for last in range(LEVELS[network]):
            net = network(**variant, out_indices=[last])
            built = {name.split(".")[0] for name, _ in net.named_parameters()}
            expected = networks.LEVEL_NAMES[: last + 1]
            assert built - {"stage1"} == set(expected)
            assert ("stage1" in built) == (network is MobileNetV1 or "depth" in variant)


@pytest.mark.parametrize("network", LEVELS)
def test_default_outputs_are_the_three_stages(network):
    net = network()
    assert net.out_indices == (1, 2, 3)
    assert net.out_strides == (8, 16, 32)


@pytest.mark.parametrize(("network", "variant"), SMALL)
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies_are_whole(network, variant, again):
    net = networks.randomise(network(**variant, frozen_stages=1, norm_eval=True))
    assert net.train() is net.eval() is net.train()
    twin = again(net)
    assert networks.same(twin.state_dict(), net.state_dict())
    assert [m.training for m in twin.modules()] == [m.training for m in net.modules()]
    assert (twin.out_channels, twin.out_strides) == (net.out_channels, net.out_strides)
    x = networks.images(2, 3, 64, 64)
    assert all(map(torch.equal, twin.eval()(x), net.eval()(x)))


WRONG = [
    (ShuffleNetV1, {"groups": 5}, "5", V1_GROUPS),
    (ShuffleNetV1, {"widen_factor": 0.6}, "0.6", V1_FACTORS),
    (ShuffleNetV1, {"shuffle": "sideways"}, "sideways", ("paper", "inverse")),
    (ShuffleNetV2, {"widen_factor": 0.25}, "0.25", V2_FACTORS),
    (ShuffleNetV2, {"layout": "caffe"}, "caffe", LAYOUTS),
    (ShuffleNetV1, {"depth": 101}, "101", ("50",)),
    (ShuffleNetV1, {"depth": 50, "groups": 8}, "50", ("groups=3",)),
    (ShuffleNetV2, {"depth": 101}, "101", ("50", "164")),
    (ShuffleNetV2, {"depth": 50, "widen_factor": 2.0}, "50", ("widen_factor=1.0",)),
    (ShuffleNetV1, {"bottleneck_ratio": 3}, "3", ("[1, 2, 4, 5, 8, 10, 16, 20, 40, 80]",)),
    (ShuffleNetV1, {"bottleneck_ratio": 0}, "0", ("be multiples of groups=3",)),
    (ShuffleNetV1, {"stem_channels": 25}, "25", ("multiple of groups=3", "240")),
    (ShuffleNetV1, {"stem_channels": 240}, "240", ("below",)),
    (ShuffleNetV1, {"stage_repeats": (4, 8)}, "(4, 8)", ("3 numbers", "stage2, stage3, stage4")),
    (ShuffleNetV2, {"stage_repeats": (4, 0, 4)}, "(4, 0, 4)", ("one or more",)),
    (ShuffleNetV2, {"stage_repeats": (4, 8, 4), "depth": 50}, "(4, 8, 4)", ("4 numbers", "stage1")),
    (ShuffleNetV2, {"stage_repeats": 4}, "4", ("3 numbers",)),
    (ShuffleNetV1, {"se_reduction": 0}, "0", ("1 to the 240",)),
    (ShuffleNetV2, {"se_reduction": 0.5}, "0.5", ("1 to the 116",)),
    (ShuffleNetV2, {"se_reduction": 117}, "117", ("1 to the 116",)),
    (ShuffleNetV2, {"conv5_channels": 0}, "0", ("positive",)),
    (MobileNetV1, {"widen_factor": 1.25}, "1.25", MOBILENET_FACTORS),
    (MobileNetV1, {"out_indices": (1, 4)}, "(1, 4)", ("0", "3")),
    (MobileNetV1, {"frozen_stages": 4}, "4", ("-1", "3")),
    (Xception, {"widen_factor": 0.25}, "0.25", XCEPTION_FACTORS),
    (Xception, {"stage_channels": (144, 288)}, "(144, 288)", ("3 multiples of 4",)),
    (Xception, {"stage_channels": (144, 288, 574)}, "574", ("3 multiples of 4",)),
    (Xception, {"stage_channels": (0, 288, 576)}, "(0, 288, 576)", ("3 multiples of 4",)),
    (Xception, {"stage_channels": 144}, "144", ("3 multiples of 4",)),
    (Xception, {"out_indices": (1, 4)}, "(1, 4)", ("0", "3")),
    (ShuffleNetV1, {"out_indices": (1, 4)}, "(1, 4)", ("0", "3")),
    (ShuffleNetV2, {"out_indices": (1, 5)}, "(1, 5)", ("0", "4")),
    (ShuffleNetV2, {"out_indices": ()}, "()", ("0", "4")),
    (ShuffleNetV2, {"out_indices": (2, 1)}, "(2, 1)", ("ascending",)),
    (ShuffleNetV2, {"out_indices": (1, 1)}, "(1, 1)", ("repeats",)),
    (ShuffleNetV2, {"out_indices": (-1,)}, "(-1,)", ("0", "4")),
    (ShuffleNetV2, {"out_indices": 3}, "3", ("0", "4")),
    (ShuffleNetV2, {"out_indices": (1.0,)}, "(1.0,)", ("0", "4")),
    (ShuffleNetV1, {"frozen_stages": 4}, "4", ("-1", "3")),
    (ShuffleNetV2, {"frozen_stages": 5}, "5", ("-1", "4")),
    (ShuffleNetV2, {"frozen_stages": -2}, "-2", ("-1", "4")),
    (ShuffleNetV2, {"norm_cfg": {"type": "NoNorm"}}, "NoNorm", ("BN", "SyncBN", "GN")),
    (ShuffleNetV2, {"act_cfg": {"type": "NoAct"}}, "NoAct", ("torch.nn", "MODELS")),
    (ShuffleNetV2, {"conv_cfg": {"type": "NoConv"}}, "NoConv", ("Conv",)),
    (ShuffleNetV2, {"norm_cfg": {"type": "GN"}}, "GN", ("num_groups",)),
    (ShuffleNetV2, {"norm_cfg": {"type": "GN", "num_groups": 7}}, "7", ("divide", "24")),
]


@pytest.mark.parametrize(("network", "kwargs", "given", "legal"), WRONG)
def test_mistakes_are_named_with_the_legal_values(network, kwargs, given, legal):
    with pytest.raises(ValueError) as raised:
        network(**kwargs)
    message = str(raised.value)
    for part in (next(iter(kwargs)), given, *map(str, legal)):
        assert part in message


def test_images_of_another_dtype_are_refused():
    """mmdet passes float32 images also to a detector after ``half()``."""
    net = ShuffleNetV2(0.5).to(torch.bfloat16).eval()
    images = networks.images(1, 3, 64, 64)
    with pytest.raises(TypeError, match=r"torch\.float32 .*torch\.bfloat16: .*torch\.autocast"):
        net(images)
    with torch.autocast("cpu", torch.bfloat16):
        ours = net.float()(images)
    for a, b in zip(ours, net(images), strict=True):
        assert (a.float() - b).abs().max() < 0.05 * b.abs().max()
