"""Training in channels-last memory format gives the same results."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn

from shufflenet_det.deploy.verification import photographs
from shufflenet_det.training.channels_last import channels_last

NETWORKS = {
    "V1": {"type": "ShuffleNetV1", "widen_factor": 0.5},
    "V2": {"type": "ShuffleNetV2", "widen_factor": 0.5},
    "V2*": {"type": "ShuffleNetV2", "extra_depthwise": True},
    "mmdet's MobileNetV2": {"type": "mmdet.MobileNetV2", "out_indices": (1, 2, 4)},
    "mmdet's CSPNeXt": {"type": "mmdet.CSPNeXt", "deepen_factor": 0.33, "widen_factor": 0.25},
}


@pytest.fixture(scope="module")
def images():
    found = [torch.from_numpy(image[:160, :192].copy()) for image in photographs()]
    return torch.stack(found[:2]).permute(0, 3, 1, 2).float().sub(114).div(58)


def step(network, images, **autocast):
    with torch.autocast("cpu", **autocast):
        maps = network(images)
    sum(m.float().square().mean() for m in maps).backward()
    return maps, {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize("cfg", NETWORKS.values(), ids=NETWORKS)
def test_maps_and_gradients_are_those_of_the_network_as_built(cfg, images):
    torch.manual_seed(0)
    network = MODELS.build(cfg).double()
    changed = channels_last(copy.deepcopy(network))
    assert changed.state_dict().keys() == network.state_dict().keys()
    maps, gradients = step(network, images.double(), enabled=False)
    ours, its_gradients = step(changed, images.double(), enabled=False)
    torch.testing.assert_close(ours, maps)
    for name, gradient in gradients.items():
        torch.testing.assert_close(its_gradients[name], gradient, msg=name)


def test_a_copy_has_weights_of_its_own(images):
    network = channels_last(MODELS.build(NETWORKS["V2"])).eval()
    other = copy.deepcopy(network)
    before = network(images)[-1]
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    assert not other(images)[-1].any() and torch.equal(network(images)[-1], before)


def test_in_bfloat16_depthwise_convolutions_stay_in_float32(images):
    network = channels_last(MODELS.build(NETWORKS["V2"]))
    kinds = {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if module.groups > 1 else "others"
            module.register_forward_hook(
                lambda *args, kind=kind: kinds.setdefault(kind, set()).add(args[2].dtype)
            )
    _, gradients = step(network, images, dtype=torch.bfloat16)
    assert kinds == {"depthwise": {torch.float32}, "others": {torch.bfloat16}}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
