"""A training step changes all parts that are not frozen, and no others."""

import networks
import pytest
import torch
from networks import LEVELS, SMALL, norms
from torch import nn

NORM_CFGS = [
    pytest.param({"type": "BN"}, id="BN"),
    pytest.param({"type": "SyncBN"}, id="SyncBN"),
    pytest.param({"type": "GN", "num_groups": 1}, id="GN"),
]


def step(net):
    """One training step as a runner makes it; the names of the tensors that changed."""
    before = networks.copied(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    networks.loss(net.train()(networks.images(2, 3, 64, 64))).backward()
    optimizer.step()
    return {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}


def names(net, levels):
    parts = (*levels, "stage1") if "conv1" in levels else levels  # a stage 1 is of its level
    prefixes = tuple(f"{name}." for name in parts)
    return {k for k in net.state_dict() if k.startswith(prefixes)}


def frozen_choices(variants):
    return [
        pytest.param(*variant.values, frozen, id=f"{variant.id}-{frozen}")
        for variant in variants
        for frozen in range(-1, LEVELS[variant.values[0]])
    ]


@pytest.mark.parametrize("norm_cfg", NORM_CFGS)
@pytest.mark.parametrize(("network", "variant", "frozen"), frozen_choices(SMALL))
def test_a_step_changes_what_is_not_frozen_and_nothing_else(network, variant, frozen, norm_cfg):
    net = networks.all_levels(network, variant, frozen_stages=frozen, norm_cfg=norm_cfg)
    net.init_weights()
    net.eval()
    free = networks.LEVEL_NAMES[frozen + 1 : LEVELS[network]]
    maps = net(networks.images(2, 3, 64, 64))
    if any(m.requires_grad for m in maps):
        assert step(net) == names(net, free)
    else:
        assert frozen == LEVELS[network] - 1
        before = networks.copied(net.state_dict())
        net.train()(networks.images(2, 3, 64, 64))
        assert networks.same(net.state_dict(), before)


@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_frozen_stages_may_lie_above_the_last_output(network, variant):
    net = network(**variant, out_indices=(1,), frozen_stages=3).train()
    assert not any(p.requires_grad for p in net.parameters())
    assert not any(norm.training for norm in norms(net))


@pytest.mark.parametrize("type_", ["BN", "SyncBN"])
@pytest.mark.parametrize(("network", "variant"), SMALL)
def test_norm_eval_keeps_the_statistics_and_trains_the_parameters(network, variant, type_):
    net = networks.all_levels(network, variant, norm_eval=True, norm_cfg={"type": type_})
    changed = step(net)
    assert changed == {k for k, _ in net.named_parameters()}


@pytest.mark.parametrize(("network", "variant"), SMALL)
@pytest.mark.parametrize("norm_cfg", NORM_CFGS)
def test_norms_without_gradients(network, variant, norm_cfg):
    net = networks.all_levels(network, variant, norm_cfg=norm_cfg | {"requires_grad": False})
    convolutions = {f"{k}.weight" for k, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    changed = step(net)
    assert {k for k in changed if "running" not in k and "tracked" not in k} == convolutions
