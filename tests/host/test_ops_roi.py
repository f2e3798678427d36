"""RoIAlign and RoIPool against plain loops over samples and cells."""

import math

import pytest
import torch
from torch.autograd import gradcheck

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
import importlib

from mmcv import ops

from shufflenet_det.host.ops import OPS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
POOLS = [ops.RoIAlign(2), ops.RoIPool(2)]
# RoIs of both images: inside, over each border, thinner than a cell, very tall, outside.
ROIS = [
    [0, 1.3, 2.1, 9.7, 8.9],
    [1, -3.0, -2.5, 5.2, 6.1],
    [1, 6.6, 5.5, 14.2, 13.3],
    [0, 4.2, 3.1, 4.5, 9.9],
    [1, 2.0, 0.5, 3.9, 11.4],
    [0, 30.0, 31.0, 38.0, 40.0],
]


@pytest.fixture
def feature():
    """``(2, 3, 10, 12)`` with distinct values."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(720, generator=generator).double().view(2, 3, 10, 12) / 100 - 3


@pytest.fixture
def rois():
    return torch.tensor(ROIS, dtype=torch.float64)


def bilinear(plane, y, x):
    """The value interpolated between cells; constant one cell beyond the border, then 0."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * plane[top, left] + dx * plane[top, right]
    lower = (1 - dx) * plane[bottom, left] + dx * plane[bottom, right]
    return float((1 - dy) * upper + dy * lower)


def samples(start, size, bins, index, ratio):
    """Coordinates of the samples of one bin on one axis."""
    count = ratio or math.ceil(size / bins)
    return [start + (index + (k + 0.5) / count) * size / bins for k in range(count)]


def loop_roi_align(feature, roi, bins, scale, ratio, aligned):
    """One RoI's bins, ``(C, height, width)``."""
    image, *corners = roi.tolist()
    x1, y1, x2, y2 = (c * scale - aligned * 0.5 for c in corners)
    width, height = (s if aligned else max(s, 1) for s in (x2 - x1, y2 - y1))
    output = torch.zeros(feature.size(1), *bins, dtype=torch.float64)
    for channel, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        values = [
            bilinear(feature[int(image), channel], y, x)
            for y in samples(y1, height, bins[0], row, ratio)
            for x in samples(x1, width, bins[1], column, ratio)
        ]
        output[channel, row, column] = sum(values) / len(values)
    return output


def loop_roi_pool(feature, roi, bins, scale):
    """One RoI's bins: the maximum over all cells that a bin touches."""
    image, x1, y1, x2, y2 = roi.tolist()
    y1, x1, height, width = (v * scale for v in (y1, x1, y2 + 1 - y1, x2 + 1 - x1))
    output = torch.zeros(feature.size(1), *bins, dtype=torch.float64)
    if height <= 0 or width <= 0:
        return output
    for row in range(bins[0]):
        top = math.floor(y1 + row * height / bins[0])
        bottom = math.ceil(y1 + (row + 1) * height / bins[0])
        for column in range(bins[1]):
            left = math.floor(x1 + column * width / bins[1])
            right = math.ceil(x1 + (column + 1) * width / bins[1])
            cells = feature[int(image), :, max(top, 0) : max(bottom, 0)]
            cells = cells[:, :, max(left, 0) : max(right, 0)]
            if cells.numel():
                output[:, row, column] = cells.amax((1, 2))
    return output


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio, scale", [(0, 1.0), (0, 0.5), (2, 1.0), (3, 0.25)])
def test_roi_align(feature, rois, ratio, scale, aligned, device):
    expected = [loop_roi_align(feature, r, (2, 3), scale, ratio, aligned) for r in rois]
    result = ops.roi_align(
        feature.to(device), rois.to(device), (2, 3), scale, ratio, "avg", aligned
    )
    torch.testing.assert_close(result.cpu(), torch.stack(expected))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_gradient(feature, rois, ratio, aligned):
    feature = feature[:, :2, :7, :8].clone().requires_grad_()
    assert gradcheck(lambda x: ops.roi_align(x, rois, (2, 3), 0.7, ratio, "avg", aligned), feature)


def test_roi_pool_in_parts(feature, rois, monkeypatch):
    expected = ops.roi_pool(feature, rois, (3, 2), 0.5)
    module = importlib.import_module("shufflenet_det.host.ops.roi_pooling")
    monkeypatch.setattr(module, "_VALUES_AT_ONCE", 40)
    assert torch.equal(ops.roi_pool(feature, rois, (3, 2), 0.5), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pool", [*POOLS, ops.RoIAlign(2, sampling_ratio=2), ops.DeformRoIPool(2)])
@pytest.mark.parametrize("image", [-1, 2, 1e6, math.nan])
def test_a_roi_of_an_image_outside_the_batch(feature, pool, image, device):
    rois = torch.tensor([[0, 0, 0, 4, 4], [image, 0, 0, 4, 4]], device=device).double()
    with pytest.raises(IndexError, match="images 0 to 1"):
        pool(feature.to(device), rois)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("pool", [*POOLS, ops.RoIAlign(2, sampling_ratio=2), ops.DeformRoIPool(2)])
def test_a_roi_with_nan_or_infinity(feature, rois, pool, value, dtype):
    """The RoI gives 0 and no gradient, and does not affect others."""
    feature = feature.to(dtype).requires_grad_()
    broken = rois[:1].repeat(4, 1)
    broken[range(4), range(1, 5)] = value
    output = pool(feature, torch.cat([rois, broken]).to(dtype))
    alone = pool(feature, rois.to(dtype))
    assert not output[len(rois) :].any()
    torch.testing.assert_close(output[: len(rois)], alone)
    grads = [torch.autograd.grad(o.sum(), feature)[0] for o in (output, alone)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("size", [1e6, 1e9, 1e15])
def test_a_huge_roi_is_clipped(feature, size):
    """With one sample per cell, a RoI is clipped 256 or more cells beyond the map."""
    pool = ops.RoIAlign(1)
    cut = pool(feature, torch.tensor([[0, -256.0, -256, 268, 268]]).double())
    huge = pool(feature, torch.tensor([[0, -size, -size, size, size]]).double())
    torch.testing.assert_close(huge, cut)
    assert huge.any()


def test_a_map_without_cells():
    with pytest.raises(ValueError, match="is empty"):
        ops.RoIAlign(2)(torch.rand(1, 3, 0, 8), torch.tensor([[0, 0.0, 0, 4, 4]]))


def loop_deform_roi_pool(feature, roi, offset, bins, scale, ratio, gamma):
    """One RoI's bins; offsets are fractions of the RoI's size, divided by gamma."""
    image, *corners = roi.tolist()
    x1, y1, x2, y2 = (c * scale - 0.5 for c in corners)
    output = torch.zeros(feature.size(1), *bins, dtype=torch.float64)
    for channel, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        right, down = (gamma * part for part in offset[:, row, column].tolist())
        right, down = right * (x2 - x1), down * (y2 - y1)
        values = [
            bilinear(feature[int(image), channel], y + down, x + right)
            for y in samples(y1, y2 - y1, bins[0], row, ratio)
            for x in samples(x1, x2 - x1, bins[1], column, ratio)
        ]
        output[channel, row, column] = sum(values) / len(values)
    return output


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ratio, scale", [(0, 1.0), (0, 0.5), (2, 0.25)])
def test_deform_roi_pool(feature, rois, ratio, scale, device, monkeypatch):
    module = importlib.import_module("shufflenet_det.host.ops.deform_roi_pooling")
    monkeypatch.setattr(module, "_SAMPLES_AT_ONCE", 100)
    offset = torch.randn(len(rois), 2, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    pool = ops.DeformRoIPool((2, 3), scale, ratio, gamma=0.3)
    expected = [
        loop_deform_roi_pool(feature, roi, shift, (2, 3), scale, ratio, 0.3)
        for roi, shift in zip(rois, offset, strict=True)
    ]
    result = pool(feature.to(device), rois.to(device), offset.to(device))
    torch.testing.assert_close(result.cpu(), torch.stack(expected))


def test_deform_roi_pool_without_offsets_is_roi_align(feature, rois):
    expected = ops.roi_align(feature, rois, 2, 0.7, 0, "avg", True)
    torch.testing.assert_close(ops.DeformRoIPool(2, 0.7)(feature, rois), expected)


@pytest.mark.parametrize("ratio", [0, 2])
def test_deform_roi_pool_gradient(feature, rois, ratio):
    feature = feature[:, :1].clone().requires_grad_()
    offset = torch.full((5, 2, 2, 3), 0.123, dtype=torch.float64, requires_grad=True)
    pool = ops.DeformRoIPool((2, 3), 0.7, ratio)
    assert gradcheck(lambda x, shift: pool(x, rois[:5], shift), (feature, offset))


def test_roi_align_of_a_roi_without_size(feature):
    feature.requires_grad_()
    output = ops.roi_align(feature, torch.tensor([[0, 5.0, 5, 5, 5]]).double(), 2, 1.0, 0)
    output.sum().backward()
    assert not output.any()
    assert not feature.grad.any()


@pytest.mark.parametrize("pool", POOLS)
def test_no_rois(feature, pool):
    feature.requires_grad_()
    output = pool(feature, torch.zeros(0, 5).double())
    output.sum().backward()
    assert output.shape == (0, 3, 2, 2)
    assert not feature.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pool", POOLS)
def test_half_precision(feature, rois, pool, dtype):
    """Equal to float32 rounded, for an input rounded in the same way."""
    feature, rois = feature.to(dtype).requires_grad_(), rois.to(dtype)
    copy = feature.detach().float().requires_grad_()
    output, expected = pool(feature, rois), pool(copy, rois.float())
    torch.testing.assert_close(output, expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(feature.grad.float(), copy.grad, rtol=0.05, atol=0.05)


def test_roi_align_under_autocast(feature, rois):
    feature, rois = feature.bfloat16(), rois.bfloat16()
    expected = ops.roi_align(feature, rois, 2, 1.0, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.roi_align(feature, rois, 2, 1.0, 0), expected)


@pytest.mark.parametrize("pool", POOLS)
def test_memory_format_does_not_matter(feature, rois, pool):
    plain = feature.clone().requires_grad_()
    strided = feature.clone(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(len(rois), 2, 2, 3).double().permute(0, 3, 1, 2)
    outputs = pool(plain, rois), pool(strided, rois)
    outputs[0].backward(grad.contiguous())
    outputs[1].backward(grad)
    assert torch.equal(*outputs)
    torch.testing.assert_close(strided.grad, plain.grad)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_roi_pool(feature, rois, scale, device):
    expected = [loop_roi_pool(feature, roi, (3, 2), scale) for roi in rois]
    result = ops.RoIPool((3, 2), scale)(feature.to(device), rois.to(device))
    torch.testing.assert_close(result.cpu(), torch.stack(expected))


def test_roi_pool_gradient(feature, rois):
    feature = feature[:, :1].clone().requires_grad_()
    assert gradcheck(lambda x: ops.roi_pool(x, rois, (3, 2), 0.5), feature)


@pytest.mark.parametrize("x2", [3.0, 4.0, 4.3])
def test_roi_pool_of_a_roi_without_area(feature, x2):
    """As wide as ``x2 + 1 - x1``."""
    feature.requires_grad_()
    output = ops.roi_pool(feature, torch.tensor([[0, 5.3, 5, x2, 9]]).double(), 2)
    output.sum().backward()
    assert not output.any()
    assert not feature.grad.any()


@pytest.mark.parametrize("name", ["roi_align_backward", "roi_pool_backward"])
def test_gradients_are_added(feature, rois, name):
    grad_output, grad_input = torch.ones(6, 3, 2, 2).double(), torch.zeros_like(feature)
    sizes = {"aligned_height": 2, "aligned_width": 2, "sampling_ratio": 0, "pool_mode": 1}
    argmax = [torch.zeros_like(grad_output).int()] * (2 if name == "roi_align_backward" else 1)
    args = grad_output, rois, *argmax, grad_input
    OPS[name](*args, spatial_scale=1.0, aligned=True, **sizes)
    once = grad_input.clone()
    OPS[name](*args, spatial_scale=1.0, aligned=True, **sizes)
    assert once.any()
    torch.testing.assert_close(grad_input, 2 * once)


def test_roi_align_by_maximum_is_refused(feature, rois):
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*compiled mmcv"):
        ops.roi_align(feature, rois, 2, 1.0, 0, "max")
