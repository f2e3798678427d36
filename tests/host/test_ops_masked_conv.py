"""Masked convolution."""

import pytest
import torch

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv import ops


@pytest.mark.parametrize("kernel, padding", [(3, 1), (1, 0), ((3, 5), (1, 2))])
def test_masked_convolution_is_the_convolution_times_the_mask(kernel, padding):
    torch.manual_seed(0)
    layer = ops.MaskedConv2d(4, 6, kernel, padding=padding).eval()
    x, mask = torch.rand(1, 4, 9, 11), torch.rand(1, 9, 11) > 0.5
    with torch.no_grad():
        torch.testing.assert_close(layer(x, mask), layer(x) * mask)
        assert not layer(x, mask & False).any()


def test_a_mask_beyond_the_output_is_refused():
    """Without padding the output is smaller than the mask."""
    layer = ops.MaskedConv2d(4, 6, 3)
    with pytest.raises(IndexError):
        layer(torch.rand(1, 4, 9, 11), torch.ones(1, 9, 11))
