"""Public files of trained networks, if they are there: recognised, with equal features."""

import pytest
import torch
from published_networks import REPEATS, Tape, megvii_v2
from torch import nn
from torchvision.models import shufflenet_v2_x1_0

from shufflenet_det.backbones import ShuffleNetV2
from shufflenet_det.weights import load_pretrained, needed_arguments, read_weights

NANODET = ("nanodet-m_320_bn", "nanodet-m_416_bn", "nanodet-plus-m_416_bn")
X = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def real(root):
    """The path of a file."""

    def find(name):
        path = root.parent / "shared" / "weights" / name
        if not path.is_file():
            pytest.skip(f"{name} is not at hand")
        return str(path)

    return find


def features(path, x):
    weights = read_weights(path)
    net = ShuffleNetV2(**needed_arguments(weights)).to(x.dtype)
    load_pretrained(net, path)
    with torch.no_grad():
        return net.eval()(x)


@pytest.mark.parametrize(
    "name", ("fastestdet_shufflenetv2_0.5x_backbone.pth", "fastestdet_coco.safetensors")
)
def test_fastestdets_backbone_is_the_authors_with_images_of_0_to_1(name, real):
    weights = read_weights(real(name))
    assert needed_arguments(weights) == {"widen_factor": 0.5, "layout": "paper"}
    images = {"mean": [0.0] * 3, "std": [255.0] * 3, "bgr_to_rgb": False}
    assert weights.images.data_preprocessor() == images


def test_fastestdets_features(real):
    path = real("fastestdet_shufflenetv2_0.5x_backbone.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    tape = Tape(dtype=torch.float64)
    for key, tensor in state.items():
        if key.startswith("stage"):
            stage, unit, rest = key.removeprefix("stage").split(".", 2)
            key = f"features.{sum(REPEATS[: int(stage) - 2]) + int(unit)}.{rest}"
        tape.state[key] = tensor.double()
    expected = megvii_v2(tape, X.double(), (48, 96, 192), 1024)
    for ours, theirs in zip(features(path, X.double()), expected[1:4], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NANODET)
def test_nanodets_features(name, real):
    path = real(f"{name}.safetensors")
    safetensors = pytest.importorskip("safetensors.torch")
    state = {
        key.removeprefix("backbone."): tensor
        for key, tensor in safetensors.load_file(path).items()
        if key.startswith("backbone.")
    }
    net = shufflenet_v2_x1_0(weights=None)
    for module in list(net.modules()):
        for child, layer in module.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(module, child, nn.LeakyReLU(0.1))
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected and all(key.startswith(("conv5", "fc")) for key in missing)
    net.eval()
    with torch.no_grad():
        x = net.maxpool(net.conv1(X))
        for stage, ours in zip(
            (net.stage2, net.stage3, net.stage4), features(path, X), strict=True
        ):
            x = stage(x)
            torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_folded_and_unfolded_files_give_equal_features(real):
    ours = features(real("nanodet-plus-m_416_folded.safetensors"), X)
    for a, b in zip(ours, features(real("nanodet-plus-m_416_bn.safetensors"), X), strict=True):
        assert torch.equal(a, b)
