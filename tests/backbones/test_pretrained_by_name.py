"""Weights of the networks that nobody publishes: they load by our names, all or none."""

import networks
import pytest
import torch
from torch import nn
from torchvision.models import shufflenet_v2_x0_5

from shufflenet_det.backbones import MobileNetV1, ShuffleNetV2, Xception
from shufflenet_det.weights import needed_arguments, read_weights

NETWORKS = [
    pytest.param(MobileNetV1, {"widen_factor": 0.25}, id="mobilenet"),
    pytest.param(Xception, {"widen_factor": 0.5}, id="xception"),
]
KEYS = {
    MobileNetV1: "stage3.5.pointwise.0.weight",
    Xception: "stage3.7.branch.0.weight",
}


@pytest.fixture
def load(tmp_path):
    """Save something to a file and initialise a network from it."""

    def run(content, network, prefix=None, **kwargs):
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        init_cfg = {"type": "Pretrained", "checkpoint": str(path), "prefix": prefix}
        net = network(**kwargs, init_cfg=init_cfg)
        before = networks.copied(net.state_dict())
        try:
            net.init_weights()
        except ValueError as error:
            assert networks.same(net.state_dict(), before)
            assert "weights.pth" in str(error)
            assert "nothing was loaded" in str(error) or "prefix=" in str(error)
            raise
        return net

    return run


def made(network, variant, seed=1):
    return networks.randomise(network(**variant), seed).state_dict()


def classifier(channels):
    return {"weight": torch.rand(10, channels), "bias": torch.rand(10)}


FORMS = {
    "bare": lambda s: s,
    "with its classifier": lambda s: s | {f"fc.{k}": v for k, v in classifier(8).items()},
    "with its head": lambda s: s | {f"head.fc.{k}": v for k, v in classifier(8).items()},
    "pretrained": lambda s: {
        "meta": {},
        "state_dict": {f"backbone.{k}": v for k, v in s.items()}
        | {f"head.fc.{k}": v for k, v in classifier(8).items()},
    },
    "parallel": lambda s: {f"module.backbone.{k}": v for k, v in s.items()},
    "old": lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_every_form_of_a_checkpoint_loads_whole(network, variant, form, load):
    state = made(network, variant)
    assert networks.same(load(FORMS[form](state), network, **variant).state_dict(), state)


@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_a_prefix_chooses_among_several(network, variant, load):
    state, other = made(network, variant), made(network, variant, seed=2)
    content = {f"teacher.{k}": v for k, v in other.items()}
    content |= {f"student.net.{k}": v for k, v in state.items()}
    assert networks.same(load(content, network, "student.net", **variant).state_dict(), state)
    with pytest.raises(ValueError, match=r"several backbones.*prefix="):
        load(content, network, **variant)


UNFIT = {
    "1 missing": lambda s, key: {k: v for k, v in s.items() if k != key},
    "1 left over": lambda s, key: s | {f"{key}.more": torch.ones(1)},
    "1 of another shape": lambda s, key: s | {key: torch.ones(2, 3)},
    "not finite": lambda s, key: s | {key: torch.full_like(s[key], torch.nan)},
}


@pytest.mark.parametrize("problem", UNFIT)
@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_what_does_not_fit_is_listed_and_changes_nothing(network, variant, problem, load):
    content = UNFIT[problem](made(network, variant), KEYS[network])
    with pytest.raises(ValueError) as raised:
        load(content, network, **variant)
    assert problem in str(raised.value) and KEYS[network] in str(raised.value)


@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_another_width_is_named(network, variant, load):
    name, factor = network.__name__, variant["widen_factor"]
    built = rf"build {name}\(widen_factor={factor}\), not {name}\(widen_factor=1.0\)"
    with pytest.raises(ValueError, match=rf"{built}.*of another shape"):
        load(made(network, variant), network, widen_factor=1.0)


def test_another_network_is_named(load):
    with pytest.raises(ValueError, match=r"build Xception\(widen_factor=0.5\), not MobileNetV1\("):
        load(made(Xception, {"widen_factor": 0.5}), MobileNetV1)
    with pytest.raises(ValueError, match=r"build MobileNetV1\(widen_factor=1.0\), not Shuffle"):
        load(made(MobileNetV1, {}), ShuffleNetV2)


@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_a_shufflenets_weights_are_named(network, variant, load):
    state = shufflenet_v2_x0_5().state_dict()
    name = network.__name__
    with pytest.raises(ValueError, match=rf"build ShuffleNetV2\(widen_factor=0.5.*not {name}\("):
        load(state, network, **variant)


@pytest.mark.parametrize("content", [nn.Linear(2, 2).state_dict(), {"a.b": torch.ones(1)}])
@pytest.mark.parametrize(("network", "variant"), NETWORKS)
def test_files_without_such_a_backbone_are_refused(network, variant, content, load):
    with pytest.raises(ValueError, match="holds no ShuffleNet"):
        load(content, network, **variant)


@pytest.mark.parametrize(("network", "variant"), networks.OTHERS[:-1])
def test_a_checkpoint_tells_its_network_and_its_classifier(network, variant, tmp_path):
    path = str(tmp_path / "weights.pth")
    content = FORMS["pretrained"](made(network, variant))
    channels = network(**variant).out_channels[-1]
    content["state_dict"] |= {f"head.fc.{k}": v for k, v in classifier(channels).items()}
    torch.save(content, path)
    weights = read_weights(path)
    assert weights.network == network.__name__
    assert weights.classifier.keys() == {"weight", "bias"}
    assert needed_arguments(weights) == variant
