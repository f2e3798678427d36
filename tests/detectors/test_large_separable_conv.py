"""Large separable convolution: its function, its cost and its initialisation."""

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

import shufflenet_det  # noqa: F401  # before anything of mmdet

# isort: split
from shufflenet_det.detectors.large_separable_conv import LargeSeparableConv


def correlate(x, conv, axis):
    """One convolution with a kernel along one axis, zeros around the map."""
    weight = conv.weight.detach().numpy()
    kernel = weight.reshape(*weight.shape[:2], -1)  # (out, in, k)
    half, length = kernel.shape[2] // 2, x.shape[axis]
    padding = [(0, 0)] * 3
    padding[axis] = (half, half)
    padded = np.pad(x, padding)
    out = np.zeros((len(kernel), *x.shape[1:])) + conv.bias.detach().numpy()[:, None, None]
    for i in range(kernel.shape[2]):
        out += np.einsum("oc,chw->ohw", kernel[:, :, i], padded.take(range(i, i + length), axis))
    return out


@pytest.mark.parametrize("kernel_size", [1, 3, 15])
def test_it_is_the_relu_of_two_summed_paths(kernel_size):
    torch.manual_seed(0)
    layer = LargeSeparableConv(3, 2, 4, kernel_size).double()
    x = torch.randn(2, 3, 9, 11).double()
    for image, out in zip(x.numpy(), layer(x).detach().numpy(), strict=True):
        col = correlate(correlate(image, layer.col[0], axis=1), layer.col[1], axis=2)
        row = correlate(correlate(image, layer.row[0], axis=2), layer.row[1], axis=1)
        np.testing.assert_allclose(out, np.maximum(col + row, 0), atol=1e-12)
        assert (out == 0).any()


@pytest.mark.parametrize("channels, mid", [(464, 64), (464, 256), (96, 64), (33, 7)])
def test_multiply_adds_are_the_closed_form(channels, mid):
    layer = LargeSeparableConv(channels, mid)
    counted = get_model_complexity_info(layer, (channels, 2, 3), show_table=False, show_arch=False)
    per_cell = 2 * 15 * mid * (channels + 490)
    assert counted["flops"] == per_cell * 2 * 3
    assert counted["params"] == per_cell + 2 * (mid + 490)


def test_initial_weights_are_the_authors_gaussian():
    layer = LargeSeparableConv(64)
    layer.init_weights()
    convs = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == 4
    for conv in convs:
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert not conv.bias.any()


@pytest.mark.parametrize("kernel_size", [14, 0, -3])
def test_a_kernel_without_a_centre_is_refused(kernel_size):
    with pytest.raises(ValueError, match=rf"kernel_size={kernel_size}: must be a positive odd"):
        LargeSeparableConv(3, kernel_size=kernel_size)
