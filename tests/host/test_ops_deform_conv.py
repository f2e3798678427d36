"""Deformable convolution against plain loops, and in mmdet's layers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv import ops

from shufflenet_det.host.ops import OPS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# stride, padding, dilation, groups, deformable groups
GEOMETRIES = [(1, 0, 1, 1, 1), (2, 1, 1, 2, 1), (1, 2, 2, 1, 2), ((2, 1), (1, 2), (1, 2), 2, 2)]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def make_inputs(geometry, batch=2, size=(6, 7), kernel=(3, 2)):
    """Input, offset, mask, weight and bias in float64; no sample is at a cell centre."""
    generator = torch.Generator().manual_seed(0)
    stride, padding, dilation, groups, deform_groups = geometry
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            size, pair(padding), pair(dilation), kernel, pair(stride), strict=True
        )
    ]
    taps = deform_groups * kernel[0] * kernel[1]
    shapes = [(batch, 4, *size), (batch, 2 * taps, *out), (batch, taps, *out)]
    shapes += [(6, 4 // groups, *kernel), (6,)]
    x, offset, mask, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes
    )
    offset = torch.where((offset - offset.round()).abs() < 0.05, 0.3, offset)
    return [
        tensor.requires_grad_() for tensor in (x, offset, mask.sigmoid().detach(), weight, bias)
    ]


def bilinear(plane, y, x):
    """The value interpolated between cells; 0 outside the plane."""
    top, left, total = math.floor(y), math.floor(x), 0.0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column].item()
    return total


def loop_deform_conv(x, offset, mask, weight, geometry):
    stride, padding, dilation, groups, deform_groups = geometry
    (sy, sx), (py, px), (dy, dx) = map(pair, (stride, padding, dilation))
    kh, kw = weight.shape[2:]
    output = torch.zeros(len(x), len(weight), *offset.shape[2:], dtype=torch.float64)
    for image, out, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        first = out // (len(weight) // groups) * weight.shape[1]
        for k, i, j in torch.cartesian_prod(*map(torch.arange, weight.shape[1:])).tolist():
            tap = (first + k) * deform_groups // x.shape[1] * kh * kw + i * kw + j
            shift_y, shift_x = offset[image, 2 * tap : 2 * tap + 2, row, column].tolist()
            y = row * sy - py + i * dy + shift_y
            value = bilinear(x[image, first + k], y, column * sx - px + j * dx + shift_x)
            output[image, out, row, column] += (
                weight[out, k, i, j] * mask[image, tap, row, column] * value
            )
    return output


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_deform_conv(geometry, device):
    x, offset, mask, weight, _ = (t.detach() for t in make_inputs(geometry))
    expected = loop_deform_conv(x, offset, torch.ones_like(mask), weight, geometry)
    result = ops.deform_conv2d(x.to(device), offset.to(device), weight.to(device), *geometry)
    torch.testing.assert_close(result.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_modulated_deform_conv(geometry, device):
    x, offset, mask, weight, bias = (t.detach() for t in make_inputs(geometry))
    expected = loop_deform_conv(x, offset, mask, weight, geometry)
    args = [t.to(device) for t in (x, offset, mask, weight, bias)]
    with_bias = ops.modulated_deform_conv2d(*args, *geometry)
    torch.testing.assert_close(with_bias.cpu(), expected + bias[:, None, None])
    without = ops.modulated_deform_conv2d(*args[:-1], None, *geometry)
    torch.testing.assert_close(without.cpu(), expected)


@pytest.mark.parametrize("geometry", GEOMETRIES[1:3])
def test_deform_conv_gradient(geometry):
    x, offset, _, weight, _ = make_inputs(geometry, size=(4, 4))
    assert gradcheck(lambda *args: ops.deform_conv2d(*args, *geometry), (x, offset, weight))


@pytest.mark.parametrize("geometry", GEOMETRIES[1:3])
@pytest.mark.parametrize("with_bias", [True, False])
def test_modulated_deform_conv_gradient(geometry, with_bias):
    inputs = make_inputs(geometry, size=(4, 4))
    if not with_bias:
        inputs[-1] = None
    assert gradcheck(lambda *args: ops.modulated_deform_conv2d(*args, *geometry), inputs)


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_sample_at_nan_or_infinity_is_zero(value, modulated):
    """Equal to a sample far outside, including gradients."""
    x, offset, mask, weight, _ = make_inputs(GEOMETRIES[2])
    results = []
    for place in (value, 1e4):
        moved = offset.detach().clone()
        moved[0, ::3, 1::2] = place
        inputs = [x, moved.requires_grad_(), weight]
        if modulated:
            output = ops.modulated_deform_conv2d(x, moved, mask, weight, None, *GEOMETRIES[2])
        else:
            output = ops.deform_conv2d(*inputs, *GEOMETRIES[2])
        results.append((output, torch.autograd.grad(output.square().sum(), inputs)))
    assert results[0][0].any()
    torch.testing.assert_close(*results)


def test_offsets_larger_than_the_output():
    """v2 reads the first numbers of each image as a map of the output's size."""
    layer = ops.ModulatedDeformConv2d(4, 6, 3, padding=1).double()
    x = torch.rand(2, 4, 8, 10, dtype=torch.float64, requires_grad=True)
    larger = [
        torch.rand(2, taps, 16, 20, dtype=torch.float64, requires_grad=True) for taps in (18, 9)
    ]
    exact = [t.flatten(1)[:, : t.size(1) * 80].reshape(2, -1, 8, 10) for t in larger]
    results = []
    for offset, mask in (larger, exact):
        output = layer(x, offset, mask)
        grads = torch.autograd.grad(
            output.square().sum(), [x, *larger, *layer.parameters()], retain_graph=True
        )
        results.append((output, grads))
    torch.testing.assert_close(*results)
    with pytest.raises(RuntimeError, match="offset output dims"):
        ops.deform_conv2d(x, larger[0], layer.weight, 1, 1)
    with pytest.raises(RuntimeError, match="offset output dims"):
        layer(x, exact[0][..., 1:], exact[1])


def test_mmdet_dyhead_trains():
    from mmdet.models.necks import DyHead

    neck = DyHead(16, 16, num_blocks=1)
    levels = [torch.rand(1, 16, size, size, requires_grad=True) for size in (16, 8, 4)]
    sum(level.square().mean() for level in neck(levels)).backward()
    assert all(level.grad.isfinite().all() and level.grad.any() for level in levels)


def test_zero_offsets_give_a_convolution():
    layer = ops.DeformConv2dPack(4, 6, 3, stride=2, padding=1)
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, stride=2, padding=1))


@pytest.mark.parametrize("modulated", [True, False])
def test_offset_gradient_just_outside_the_input(modulated):
    """Samples at -1, in row 0 for the first tap, have no gradient, as in mmcv."""
    offset = torch.zeros(1, 2, 4, 4, requires_grad=True)
    x, mask, weight = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4), torch.ones(1, 1, 1, 1)
    if modulated:
        output = ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)
    else:
        output = ops.deform_conv2d(x, offset, weight, 1, 1)
    output.sum().backward()
    assert not offset.grad[0, :, 0].any()
    assert not offset.grad[0, :, :, 0].any()
    assert offset.grad[0, 0, 2].tolist() == [0, -1, -1, 0]  # values fall to 0 below row 2


@pytest.mark.parametrize("im2col_step", [1, 2, 4, 32])
def test_im2col_step_does_not_change_the_result(im2col_step):
    geometry = GEOMETRIES[3]
    x, offset, _, weight, _ = make_inputs(geometry, batch=4)
    expected = ops.deform_conv2d(x, offset, weight, *geometry)
    output = ops.deform_conv2d(x, offset, weight, *geometry, False, im2col_step)
    torch.testing.assert_close(output, expected)


def test_only_the_weight_gradient():
    geometry = GEOMETRIES[2]
    x, offset, _, weight, _ = make_inputs(geometry)
    grads = []
    for inputs in ((x, offset), (x.detach(), offset.detach())):
        output = ops.deform_conv2d(*inputs, weight, *geometry)
        grads += torch.autograd.grad(output.square().sum(), weight)
    torch.testing.assert_close(*grads)


def test_two_backward_passes_of_one_graph():
    geometry = GEOMETRIES[1]
    x, offset, _, weight, _ = make_inputs(geometry)
    output = ops.deform_conv2d(x, offset, weight, *geometry)
    first = torch.autograd.grad(output, weight, torch.ones_like(output), retain_graph=True)[0]
    second = torch.autograd.grad(output, weight, 3 * torch.ones_like(output))[0]
    torch.testing.assert_close(second, 3 * first)


def test_gradients_are_added_to_input_weight_and_bias_and_written_to_offset_and_mask():
    geometry = (1, 1, 1, 1, 1)
    x, offset, mask, weight, bias = (t.detach() for t in make_inputs(geometry))
    ones, columns, grad = torch.empty(0), torch.empty(0), torch.ones(2, 6, 6, 8).double()
    results = []
    for start in (0, 1):
        added = [torch.full_like(t, start) for t in (x, weight, bias)]
        written = [torch.full_like(t, start) for t in (offset, mask)]
        OPS["modulated_deform_conv_backward"](
            x, weight, bias, ones, offset, mask, columns, *added, *written, grad,
            kernel_h=3, kernel_w=2, stride_h=1, stride_w=1, pad_h=1, pad_w=1, dilation_h=1,
            dilation_w=1, group=1, deformable_group=1, with_bias=True,
        )  # fmt: skip
        results.append(([t - start for t in added], written))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    geometry = GEOMETRIES[1]
    inputs = [t.detach().to(dtype).requires_grad_() for t in make_inputs(geometry)]
    doubles = [t.detach().double().requires_grad_() for t in inputs]
    outputs = [ops.modulated_deform_conv2d(*args, *geometry) for args in (inputs, doubles)]
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=0.02, atol=0.05)
    for output in outputs:
        output.sum().backward()
    for tensor, double in zip(inputs, doubles, strict=True):
        assert tensor.grad.dtype == dtype
        torch.testing.assert_close(tensor.grad.double(), double.grad, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("layer", [ops.DeformConv2dPack, ops.ModulatedDeformConv2dPack])
def test_under_autocast(layer):
    """Offsets are in half precision, input and weight in float32."""
    layer = layer(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 6, 6)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x)
    output.sum().backward()
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)
    assert layer.weight.grad.dtype == torch.float32


def test_strided_inputs():
    geometry = GEOMETRIES[1]
    x, offset, mask, weight, bias = (t.detach() for t in make_inputs(geometry))
    expected = ops.modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    strided = [t.contiguous(memory_format=torch.channels_last) for t in (x, offset, mask, weight)]
    result = ops.modulated_deform_conv2d(*strided, bias, *geometry)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("layer", ["DCN", "DCNv2"])
def test_mmdet_resnet_trains_with_it(layer):
    from mmdet.models.backbones import ResNet

    torch.manual_seed(0)
    model = ResNet(
        depth=50,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        dcn=dict(type=layer, deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (output,) = model(torch.randn(2, 3, 64, 64))
    assert output.shape == (2, 64, 8, 8)
    output.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    assert all(m.conv_offset.weight.any() for m in model.modules() if hasattr(m, "conv_offset"))
