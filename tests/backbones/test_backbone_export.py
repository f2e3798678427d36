"""Backbones through TorchScript, ONNX and torch.export, and in half precision."""

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from shufflenet_det import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception

NETWORKS = {
    "V1": lambda: ShuffleNetV1(3, 0.5, out_indices=(0, 1, 2, 3)),
    "V1 inverse": lambda: ShuffleNetV1(4, 0.25, shuffle="inverse", se_reduction=4),
    "V2": lambda: ShuffleNetV2(0.5, out_indices=(0, 1, 3, 4)),
    "V2 paper": lambda: ShuffleNetV2(0.5, "paper", extra_depthwise=True, residual=True),
    "V2 pytorchcv": lambda: ShuffleNetV2(0.5, "pytorchcv"),
    "V2-50": lambda: ShuffleNetV2(depth=50, stage_repeats=(1, 2, 1, 1), out_indices=(0, 1)),
    "MobileNet": lambda: MobileNetV1(0.25, out_indices=(0, 1, 2, 3)),
    "Xception": lambda: Xception(0.5),
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


@pytest.fixture(scope="module")
def image(root):
    """(2, 3, 96, 128): noise, and a photograph where there is one."""
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    for path in sorted((root.parent / "shared" / "data").rglob("*.jpg"))[:1]:
        pixels = cv2.resize(cv2.imread(str(path)), (128, 96)).astype(np.float32)
        images[1] = torch.from_numpy(pixels / 255).permute(2, 0, 1)
    return images


def test_torchscript(network, image):
    for module in (torch.jit.script(network), torch.jit.trace(network, image)):
        torch.testing.assert_close(tuple(module(image)), network(image))


def test_onnx_by_tracing(network, image, tmp_path):
    check_onnx(network, image, tmp_path, dynamo=False, input_names=["image"])


@pytest.mark.parametrize("network", ["V2 paper"], indirect=True)
def test_onnx_by_torch_export(network, image, tmp_path):
    check_onnx(network, image, tmp_path, dynamo=True, input_names=["image"], verbose=False)


def test_torch_export(network, image):
    exported = torch.export.export(network, (image,)).module()
    torch.testing.assert_close(exported(image), network(image))


def check_onnx(network, image, folder, **options):
    torch.onnx.export(network, (image,), folder / "network.onnx", **options)
    session = onnxruntime.InferenceSession(folder / "network.onnx")
    outputs = session.run(None, {"image": image.numpy()})
    for output, expected in zip(outputs, network(image), strict=True):
        torch.testing.assert_close(torch.from_numpy(output), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(network, dtype):
    """A network that was converted to half precision also works."""
    image = torch.rand(2, 3, 64, 64)
    outputs = network.to(dtype)(image.to(dtype))
    assert all(output.dtype == dtype and output.isfinite().all() for output in outputs)
    sum(output.float().mean() for output in outputs).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


OWN_SCRIPT = """
import sys, onnxruntime, torch, mmdet.models
from mmdet.registry import MODELS
config = dict(type="shufflenet_det.ShuffleNetV2", widen_factor=0.5, stage_repeats=(1, 1, 1))
network = MODELS.build(config).eval()
image = torch.rand(1, 3, 64, 96)
for dynamo in (False, True):
    torch.onnx.export(network, (image,), sys.argv[1], input_names=["image"], dynamo=dynamo)
    outs = onnxruntime.InferenceSession(sys.argv[1]).run(None, {"image": image.numpy()})
    for out, expected in zip(outs, network(image), strict=True):
        torch.testing.assert_close(torch.from_numpy(out), expected, atol=1e-4, rtol=1e-4)
"""


def test_both_onnx_exporters_of_torch_in_a_users_own_script(python, tmp_path):
    python("-c", OWN_SCRIPT, tmp_path / "network.onnx")
