"""Gradient checkpointing changes no result."""

import networks
import pytest
import torch
from networks import EVERY, SMALL

from shufflenet_det.backbones import MobileNetV1
from shufflenet_det.backbones.mobilenet_v1 import SeparableUnit
from shufflenet_det.backbones.shufflenet_v1 import ShuffleUnitV1
from shufflenet_det.backbones.shufflenet_v2 import ShuffleUnitV2
from shufflenet_det.backbones.xception import XceptionUnit

UNITS = (ShuffleUnitV1, ShuffleUnitV2, SeparableUnit, XceptionUnit)


def units_of(network):
    """How many units the paper's table has."""
    return 1 + 2 + 2 + 6 + 2 if network is MobileNetV1 else 4 + 8 + 4


def pair(network, variant, **kwargs):
    torch.manual_seed(0)
    plain = networks.randomise(networks.all_levels(network, variant, **kwargs))
    recomputing = networks.all_levels(network, variant, with_cp=True, **kwargs)
    recomputing.load_state_dict(plain.state_dict())
    return plain, recomputing


def step(net, x):
    maps = net(x)
    networks.loss(maps).backward()
    return maps, [p.grad for p in net.parameters()]


def assert_equal(plain, recomputing, size=(97, 131)):
    xs = [networks.images(2, 3, *size).requires_grad_() for _ in range(2)]
    (maps, grads), (maps_cp, grads_cp) = map(step, (plain, recomputing), xs)
    assert all(map(torch.equal, maps, maps_cp))
    for grad, grad_cp in zip(grads, grads_cp, strict=True):
        assert (grad is None and grad_cp is None) or torch.equal(grad, grad_cp)
    assert torch.equal(xs[0].grad, xs[1].grad)
    assert networks.same(plain.state_dict(), recomputing.state_dict())


@pytest.mark.parametrize(("network", "variant"), EVERY)
def test_maps_gradients_and_statistics_are_equal(network, variant):
    assert_equal(*pair(network, variant), size=(65, 67))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"frozen_stages": 1},
        {"norm_eval": True},
        {"norm_cfg": {"type": "BN", "momentum": None}},
        {"norm_cfg": {"type": "BN", "track_running_stats": False}},
        {"norm_cfg": {"type": "SyncBN"}},
        {"norm_cfg": {"type": "GN", "num_groups": 1}},
        {"act_cfg": {"type": "LeakyReLU"}},
    ],
    ids=str,
)
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_they_are_equal_with_other_arguments_too(network, variant, kwargs):
    nets = pair(network, variant, **kwargs)
    for _ in range(2):  # the second step uses the state after the first
        assert_equal(*nets, size=(64, 64))


@pytest.mark.parametrize("with_cp", [False, True])
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_only_units_run_again_in_the_backward_pass(network, variant, with_cp):
    net = networks.all_levels(network, variant, with_cp=with_cp)
    calls = {}
    for name, module in net.named_modules():
        if isinstance(module, (*UNITS, torch.nn.MaxPool2d)):
            count = calls.setdefault(name, [])
            module.register_forward_pre_hook(lambda *_, count=count: count.append(None))
    step(net, networks.images(2, 3, 64, 64))
    counts = {name: len(count) for name, count in calls.items()}
    assert network is MobileNetV1 or counts.pop("maxpool") == 1
    assert len(counts) == units_of(network)
    runs = 2 if with_cp else 1
    assert set(counts.values()) == {runs}
    net.eval()(networks.images(2, 3, 64, 64))
    with torch.no_grad():
        net.train()(networks.images(2, 3, 64, 64))
    assert {len(count) for name, count in calls.items() if name != "maxpool"} == {runs + 2}
