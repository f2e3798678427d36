"""CARAFE against plain loops."""

import pytest
import torch
from torch.autograd import gradcheck

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv import ops

KERNEL, GROUPS, SCALE = 3, 2, 2


@pytest.fixture
def inputs():
    """Features (2, 4, 3, 4), masks (2, 18, 6, 8)."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(2, 4, 3, 4), (2, GROUPS * KERNEL**2, 6, 8)]
    ]


def test_values(inputs):
    features, masks = inputs
    expected = torch.zeros(2, 4, 6, 8, dtype=torch.float64)
    for n, c, row, column in torch.cartesian_prod(*map(torch.arange, expected.shape)).tolist():
        for i in range(KERNEL):
            for j in range(KERNEL):
                y, x = row // SCALE + i - 1, column // SCALE + j - 1
                if 0 <= y < 3 and 0 <= x < 4:
                    tap = (c // 2 * KERNEL + i) * KERNEL + j
                    expected[n, c, row, column] += features[n, c, y, x] * masks[n, tap, row, column]
    torch.testing.assert_close(ops.carafe(*inputs, KERNEL, GROUPS, SCALE), expected)


def test_gradient(inputs):
    assert gradcheck(lambda *args: ops.carafe(*args, KERNEL, GROUPS, SCALE), inputs)


def test_half_precision_under_autocast():
    layer = ops.CARAFEPack(8, SCALE)
    x = torch.rand(1, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x.bfloat16())
    torch.testing.assert_close(output.float(), layer(x), rtol=0.05, atol=0.05)
