"""Multi-scale deformable attention, through the function that mmcv calls on a GPU."""

from unittest.mock import Mock

import pytest
import torch
from torch.autograd import gradcheck

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
)

from shufflenet_det.host.ops import OPS

SHAPES = [(3, 4), (2, 2)]


@pytest.fixture
def inputs():
    """Two images, two heads of 3 channels, 4 queries with 2 points per level."""
    generator = torch.Generator().manual_seed(0)
    cells = sum(height * width for height, width in SHAPES)
    value, locations, weights = (
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(2, cells, 2, 3), (2, 4, 2, 2, 2, 2), (2, 4, 2, 2, 2)]
    )
    shapes = torch.tensor(SHAPES)
    return value, shapes, torch.tensor([0, 12]), locations * 1.4 - 0.2, weights, 64


def bilinear(plane, y, x):
    """The value interpolated between cell centres; zero outside."""
    top, left = int(y // 1), int(x // 1)
    return sum(
        (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
        for row in (top, top + 1)
        for column in (left, left + 1)
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]
    )


def test_values(inputs):
    value, shapes, starts, locations, weights, _ = inputs
    expected = torch.zeros(2, 4, 2, 3, dtype=torch.float64)
    indices = torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist()
    for image, query, head, level, point in indices:
        height, width = shapes[level].tolist()
        of_level = value[image, starts[level] : starts[level] + height * width, head]
        x, y = locations[image, query, head, level, point].tolist()
        at = bilinear(of_level.view(height, width, 3), y * height - 0.5, x * width - 0.5)
        expected[image, query, head] += weights[image, query, head, level, point] * at
    output = MultiScaleDeformableAttnFunction.apply(*inputs)
    torch.testing.assert_close(output, expected.flatten(2))


def test_gradient(inputs):
    value, shapes, starts, locations, weights, step = inputs

    def function(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, shapes, starts, locations, weights, step
        )

    assert gradcheck(function, (value, locations, weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast(inputs, dtype):
    value, shapes, starts, locations, weights, step = inputs
    half = value.detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = MultiScaleDeformableAttnFunction.apply(
            half, shapes, starts, locations.float(), weights.float(), step
        )
    output.float().sum().backward()
    assert output.dtype == half.grad.dtype == dtype
    expected = MultiScaleDeformableAttnFunction.apply(*inputs)
    torch.testing.assert_close(output.double(), expected, rtol=0.05, atol=0.05)


def test_the_module_gives_the_same_on_both_paths(monkeypatch):
    """mmcv's layer on its CPU path, and on its GPU path with tensors on the CPU."""
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(16, 2, num_levels=2, num_points=2, dropout=0)
    arguments = {
        "query": torch.rand(5, 1, 16),
        "value": torch.rand(16, 1, 16),
        "reference_points": torch.rand(1, 5, 2, 2),
        "spatial_shapes": torch.tensor(SHAPES),
        "level_start_index": torch.tensor([0, 12]),
    }
    results = []
    spy = Mock(wraps=OPS["ms_deform_attn_forward"])
    monkeypatch.setattr("mmcv._ext.ms_deform_attn_forward", spy)
    for like_a_gpu in (False, True):
        if like_a_gpu:
            monkeypatch.setattr("mmcv.ops.multi_scale_deform_attn.IS_CUDA_AVAILABLE", True)
            monkeypatch.setattr(torch.Tensor, "is_cuda", True)
        output = layer(**arguments)
        results.append((output, torch.autograd.grad(output.sum(), list(layer.parameters()))))
    spy.assert_called_once()
    torch.testing.assert_close(*results)
