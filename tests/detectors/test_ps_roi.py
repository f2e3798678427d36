"""Position-sensitive RoIAlign and pooling against plain loops over samples and cells."""

import math

import pytest
import torch
from mmengine.config import ConfigDict
from torch.autograd import gradcheck
from torchvision.ops import ps_roi_align, ps_roi_pool

import shufflenet_det  # noqa: F401  # before anything of mmdet

# isort: split
from shufflenet_det.detectors.ps_roi import PSRoIAlign, PSRoIExtractor, PSRoIPool

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
BINS = 3
# Of both images of 12x10 cells: inside, over each border, up to it, thin, without size, outside.
ROIS = [
    [0, 1.3, 2.1, 9.7, 8.9],
    [1, -3.0, -2.5, 5.2, 6.1],
    [1, 6.6, 5.5, 14.2, 13.3],
    [0, 0.0, 0.0, 12.0, 10.0],
    [0, 4.2, 3.1, 4.5, 9.9],
    [1, 2.0, 0.5, 3.9, 11.4],
    [0, 5.0, 5.0, 5.0, 5.0],
    [0, 30.0, 31.0, 38.0, 40.0],
]


@pytest.fixture
def feature():
    """``(2, 2 * 3 * 3, 10, 12)`` with distinct values of both signs."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randperm(2 * 18 * 120, generator=generator).double()
    return values.view(2, 18, 10, 12) / 1000 - 2


@pytest.fixture
def rois():
    return torch.tensor(ROIS, dtype=torch.float64)


def scaled(rois, factor):
    return torch.cat((rois[:, :1], rois[:, 1:] * factor), dim=1)


def clamped(plane, y, x):
    """Value between cells; constant up to a cell beyond the border, 0 from there on."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    return zeros_outside(plane, min(max(y, 0), height - 1), min(max(x, 0), width - 1))


def zeros_outside(plane, y, x):
    """Value between cells, of which those outside the map are 0."""
    height, width = plane.shape
    total = 0.0
    for row in {math.floor(y), math.ceil(y)}:
        for column in {math.floor(x), math.ceil(x)}:
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * float(plane[row, column])
    return total


def over_bins(feature, rois, bin_value):
    """Every bin of every RoI from the channel that is its own."""
    out = torch.zeros(len(rois), feature.size(1) // BINS**2, BINS, BINS, dtype=feature.dtype)
    for n, channel, row, column in torch.cartesian_prod(*map(torch.arange, out.shape)).tolist():
        image, *corners = rois[n].tolist()
        plane = feature[int(image), (channel * BINS + row) * BINS + column]
        out[n, channel, row, column] = bin_value(plane, corners, row, column)
    return out


def loop_align(feature, rois, scale, ratio, mode, aligned):
    interpolate = clamped if mode == "avg" else zeros_outside
    steps = [(k + 0.5) / ratio for k in range(ratio)]

    def bin_value(plane, corners, row, column):
        x1, y1, x2, y2 = (c * scale - aligned * 0.5 for c in corners)
        height, width = (y2 - y1) / BINS, (x2 - x1) / BINS
        samples = [
            interpolate(plane, y1 + (row + dy) * height, x1 + (column + dx) * width)
            for dy in steps
            for dx in steps
        ]
        return max(samples) if mode == "max" else sum(samples) / len(samples)

    return over_bins(feature, rois, bin_value)


def loop_pool(feature, rois, scale):
    """The mean of the cells that a bin touches, RoIs rounded to pixels, their ends included."""

    def cells(start, size, index, length):
        first = math.floor(index * size / BINS + start)
        last = math.ceil((index + 1) * size / BINS + start)
        return slice(min(max(first, 0), length), min(max(last, 0), length))

    def bin_value(plane, corners, row, column):
        x1, y1, x2, y2 = (math.floor(c + 0.5) for c in corners)
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        rows = cells(y1, max(y2 - y1, 0.1), row, plane.size(0))
        columns = cells(x1, max(x2 - x1, 0.1), column, plane.size(1))
        part = plane[rows, columns]
        return part.mean() if part.numel() else 0.0

    return over_bins(feature, rois, bin_value)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio, scale", [(2, 1.0), (1, 0.5), (3, 0.3)])
def test_align(feature, rois, ratio, scale, aligned, mode, device):
    expected = loop_align(feature, rois, scale, ratio, mode, aligned)
    result = PSRoIAlign(BINS, scale, ratio, mode, aligned)(feature.to(device), rois.to(device))
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3])
def test_pool(feature, rois, scale, device):
    result = PSRoIPool(BINS, scale)(feature.to(device), rois.to(device))
    torch.testing.assert_close(result.cpu(), loop_pool(feature, rois, scale), rtol=0, atol=1e-12)


def test_the_default_alignment_is_torchvisions(feature, rois):
    expected = ps_roi_align(feature, rois, BINS, 0.5, 2)
    torch.testing.assert_close(PSRoIAlign(BINS, 0.5)(feature, rois), expected)


def test_pooling_is_torchvisions_where_rois_are_whole_cells_inside(feature):
    starts = torch.tensor([[0, 0, 0], [1, 4, 2], [0, 3, 5], [1, 1, 1]]).double()
    ends = torch.tensor([[7, 8], [11, 8], [4, 9], [9, 9]]).double()
    expected = ps_roi_pool(feature, torch.cat((starts, ends), dim=1), BINS, 1.0)
    result = PSRoIPool(BINS, 1.0)(feature, torch.cat((starts, ends - 1), dim=1))
    torch.testing.assert_close(result, expected)


LAYERS = [PSRoIAlign(BINS, 1.0, 2, m, a) for m in ("avg", "max") for a in (True, False)]
LAYERS.append(PSRoIPool(BINS, 1.0))


def name_of(layer):
    return "-".join(str(getattr(layer, n, "pool")) for n in ("pool_mode", "aligned"))


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_gradient(feature, rois, layer):
    feature = feature[:, :9, :5, :6].clone().requires_grad_()
    assert gradcheck(lambda x: layer(x, scaled(rois, 0.5)), feature)


def test_pooling_is_precise_in_float32_on_a_large_map():
    feature = 100 + torch.rand(1, 9, 200, 300, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0, 280.0, 180, 298, 198], [0, 0, 0, 5, 5]])
    layer = PSRoIPool(BINS, 1.0)
    expected = layer(feature.double(), rois.double()).float()
    torch.testing.assert_close(layer(feature, rois), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_memory_format_does_not_matter(feature, rois, layer):
    plain = feature.clone().requires_grad_()
    strided = feature.clone(memory_format=torch.channels_last).requires_grad_()
    outputs = [layer(x, rois) for x in (plain, strided)]
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(*outputs)
    torch.testing.assert_close(strided.grad, plain.grad)


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_no_rois(feature, layer):
    feature.requires_grad_()
    result = layer(feature, feature.new_zeros(0, 5))
    result.sum().backward()
    assert result.shape == (0, 2, BINS, BINS)
    assert not feature.grad.any()


def test_illegal_arguments_are_named():
    with pytest.raises(ValueError, match=r"sampling_ratio=0: must be 1 or more"):
        PSRoIAlign(7, 1.0, sampling_ratio=0)
    with pytest.raises(ValueError, match=r"pool_mode='mean': must be one of \('avg', 'max'\)"):
        PSRoIAlign(7, 1.0, pool_mode="mean")


ROI_LAYERS = [
    {"type": "PSRoIAlign", "output_size": BINS},
    {"type": "PSRoIAlign", "output_size": BINS, "pool_mode": "max", "aligned": False},
    {"type": "PSRoIPool", "output_size": BINS},
]


def extractor(roi_layer=ROI_LAYERS[0], featmap_strides=(4,), out_channels=2):
    return PSRoIExtractor(ConfigDict(roi_layer), out_channels, list(featmap_strides))


@pytest.mark.parametrize("roi_layer", ROI_LAYERS)
def test_the_extractor_scales_by_the_stride(feature, rois, roi_layer):
    rois = scaled(rois, 4)
    result = extractor(roi_layer)((feature,), rois)
    arguments = {k: v for k, v in roi_layer.items() if k != "type"}
    layer = {"PSRoIAlign": PSRoIAlign, "PSRoIPool": PSRoIPool}[roi_layer["type"]]
    assert torch.equal(result, layer(spatial_scale=1 / 4, **arguments)(feature, rois))
    assert extractor(roi_layer).num_inputs == 1


def test_the_extractor_scales_rois_about_their_centres(feature):
    twice = torch.tensor([[0, 8.0, 4, 40, 28]]).double()
    once = torch.tensor([[0, 16.0, 10, 32, 22]]).double()
    extract = extractor()
    torch.testing.assert_close(extract((feature,), once, 2.0), extract((feature,), twice))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("roi_layer", ROI_LAYERS)
def test_half_precision_maps_keep_exact_rois(roi_layer, dtype, autocast):
    """At 1000 pixels bfloat16 knows every fourth: rounded RoIs would be off by half a cell."""
    ramp = torch.arange(256.0).expand(1, 18, 8, 256)  # exact in both dtypes
    rois = torch.tensor([[0, 1001.0, 3, 1013, 27]])
    extract = extractor(roi_layer)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        result = extract((ramp.to(dtype),), rois)
    assert result.dtype == dtype
    assert torch.equal(result, extract((ramp,), rois).to(dtype))


def test_the_extractors_mistakes_are_named(feature, rois):
    with pytest.raises(ValueError, match=r"featmap_strides=\[16, 32\]: must be the stride of one"):
        extractor(featmap_strides=(16, 32))
    with pytest.raises(ValueError, match=r"'RoIAlign': must be one of \('PSRoIAlign', 'PSRoIPoo"):
        extractor({"type": "RoIAlign", "output_size": 7})
    with pytest.raises(ValueError, match=r"^2 maps were given: must be one"):
        extractor()((feature, feature), rois)
    with pytest.raises(ValueError, match=r"map has 18 channels: must be 27, for 3 .* of 3x3"):
        extractor(out_channels=3)((feature,), rois)
