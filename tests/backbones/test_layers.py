"""Configs of convolutions, normalisations and activations, and the default initialisation."""

import networks
import pytest
import torch
from mmengine.registry import MODELS
from networks import SMALL, norms
from torch import nn

from shufflenet_det.backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception

NORMS = {
    "BN": nn.BatchNorm2d,
    "BN2d": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "GN": nn.GroupNorm,
}


class OddConv(nn.Conv2d):
    pass


@pytest.fixture
def registered():
    MODELS.register_module("OddConv", module=OddConv)
    yield
    MODELS.module_dict.pop("OddConv")


def convs(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


def normalised_convs(net):
    """All, but for the depthwise half of Xception's separable convolutions."""
    bare = isinstance(net, Xception)
    return [c for c in convs(net) if not (bare and c.groups > 1)]


def activations(net):
    return [m for m in net.modules() if type(m).__module__ == "torch.nn.modules.activation"]


@pytest.mark.parametrize("type_", NORMS)
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_norm_cfg_is_honoured_after_every_convolution(network, variant, type_):
    kwargs = {"num_groups": 1} if type_ == "GN" else {"momentum": 0.03}
    norm_cfg = {"type": type_, "eps": 1e-3, **kwargs}
    net = networks.all_levels(network, variant, norm_cfg=norm_cfg)
    assert {type(n) for n in norms(net)} == {NORMS[type_]}
    assert len(norms(net)) == len(normalised_convs(net))
    for key, value in (kwargs | {"eps": 1e-3}).items():
        assert {getattr(n, key) for n in norms(net)} == {value}
    networks.loss(net(networks.images(2, 3, 64, 64))).backward()
    assert all(p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_networks_convert_to_sync_bn(network, variant):
    net = network(**variant, frozen_stages=1)
    state = networks.copied(net.state_dict())
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net).train()
    assert {type(n) for n in norms(net)} == {nn.SyncBatchNorm}
    assert networks.same(net.state_dict(), state)
    assert not any(n.training for level in ("conv1", "stage2") for n in norms(getattr(net, level)))
    assert all(n.training for level in ("stage3", "stage4") for n in norms(getattr(net, level)))


@pytest.mark.parametrize(
    ("act_cfg", "type_"),
    [
        ({"type": "LeakyReLU", "negative_slope": 0.1}, nn.LeakyReLU),
        ({"type": "ReLU6"}, nn.ReLU6),
        ({"type": "SiLU"}, nn.SiLU),
        ({"type": "Hardswish"}, nn.Hardswish),
        ({"type": "GELU"}, nn.GELU),  # which has no in-place form
    ],
)
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_act_cfg_is_honoured_wherever_there_is_an_activation(network, variant, act_cfg, type_):
    usual = networks.all_levels(network, variant)
    net = networks.all_levels(network, variant, act_cfg=act_cfg)
    assert {type(a) for a in activations(usual)} == {nn.ReLU}
    assert [type(a) for a in activations(net)] == [type_] * len(activations(usual))
    maps = net(networks.images(2, 3, 64, 64))
    networks.loss(maps).backward()
    if type_ is nn.LeakyReLU:
        assert {a.negative_slope for a in activations(net)} == {0.1}
        assert all((m < 0).any() for m in maps)


@pytest.mark.parametrize(
    "conv_cfg",
    [{"type": "OddConv"}, {"type": OddConv, "padding_mode": "reflect"}],
    ids=["name", "class with arguments"],
)
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_conv_cfg_is_honoured_for_every_convolution(network, variant, conv_cfg, registered):
    net = networks.all_levels(network, variant, conv_cfg=conv_cfg)
    assert {type(c) for c in convs(net)} == {OddConv}
    assert {c.padding_mode for c in convs(net)} == {conv_cfg.get("padding_mode", "zeros")}


@pytest.mark.parametrize(
    ("argument", "legal"),
    [("conv_cfg", "Conv,"), ("norm_cfg", "SyncBN"), ("act_cfg", "LeakyReLU")],
)
@pytest.mark.parametrize("type_", ["Relu", "LayerNorm", "Module", "functional"])
def test_a_type_that_is_no_such_layer_is_refused(argument, legal, type_):
    with pytest.raises(ValueError, match=f"{argument}: unknown type '{type_}': must be .*{legal}"):
        ShuffleNetV2(0.5, **{argument: {"type": type_}})


def test_config_dicts_are_not_changed():
    cfgs = {
        "conv_cfg": {"type": "Conv2d"},
        "norm_cfg": {"type": "GN", "num_groups": 1, "requires_grad": False},
        "act_cfg": {"type": "ReLU"},
        "init_cfg": [{"type": "Kaiming", "layer": "Conv2d"}],
    }
    before = {
        k: (v.copy() if isinstance(v, dict) else [c.copy() for c in v]) for k, v in cfgs.items()
    }
    ShuffleNetV2(0.5, **cfgs).init_weights()
    ShuffleNetV1(3, 0.25, **cfgs).init_weights()
    MobileNetV1(0.25, **cfgs).init_weights()
    Xception(0.5, **cfgs).init_weights()
    assert cfgs == before


@pytest.mark.parametrize(
    "norm_cfg", [{"type": "BN"}, {"type": "SyncBN"}, {"type": "GN", "num_groups": 1}]
)
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_default_initialisation_reaches_every_layer(network, variant, norm_cfg):
    net = networks.all_levels(network, variant, norm_cfg=norm_cfg)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    net.init_weights()
    for norm in norms(net):
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
    for conv in convs(net):
        assert conv.bias is None
        assert not (conv.weight == 7).any()


@pytest.mark.parametrize("network", [ShuffleNetV1, ShuffleNetV2, MobileNetV1, Xception])
def test_default_initialisation_of_convolutions_is_kaimings(network):
    net = network(widen_factor=1.0)
    torch.manual_seed(0)
    net.init_weights()
    for conv in convs(net):
        # He et al. 2015, eq. 14: normal, of variance 2 / (filters x kernel area).
        std = (2 / (conv.out_channels * conv.weight[0, 0].numel())) ** 0.5
        standardised = conv.weight.flatten() / std
        tolerance = 5 / conv.weight.numel() ** 0.5  # five standard errors
        assert abs(standardised.mean()) < tolerance
        assert abs(standardised.std() - 1) < tolerance


def test_an_empty_init_cfg_leaves_the_weights():
    net = ShuffleNetV2(0.5, init_cfg=[])
    before = networks.copied(net.state_dict())
    net.init_weights()
    assert networks.same(net.state_dict(), before)
