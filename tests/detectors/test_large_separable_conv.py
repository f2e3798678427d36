"""Large separable convolution: what it computes, what it costs, how it starts and how it steps."""

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.optim import build_optim_wrapper
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


@pytest.mark.parametrize(
    "mid, height, width, billions", [(64, 50, 75, 6.9), (64, 25, 38, 1.7), (256, 50, 75, 27.5)]
)
def test_cost_at_800x1200_behind_464_channels(mid, height, width, billions):
    weights = [m.weight for m in LargeSeparableConv(464, mid).modules() if isinstance(m, nn.Conv2d)]
    assert round(sum(w.numel() for w in weights) * height * width / 1e9, 1) == billions


def test_the_small_setting_has_1_83_million_parameters():
    assert round(sum(p.numel() for p in LargeSeparableConv(464).parameters()) / 1e6, 2) == 1.83


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


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.roi_head = nn.Module()
        self.roi_head.thin_conv = LargeSeparableConv(3, 2, 4, 3)
        self.other = nn.Linear(4, 1)

    def forward(self, x):
        return self.other(self.roi_head.thin_conv(x).mean((2, 3))).square().sum()


DECAY = 0.05


def sgd_steps(model, optimizer, *, authors):
    """Three steps; the authors': the loss has the decay in it, and then gradients times 3."""
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(x)
        if authors:
            loss = loss + DECAY * sum(p.square().sum() for p in model.parameters()) / 2
        loss.backward()
        for parameter in model.roi_head.thin_conv.parameters() if authors else ():
            parameter.grad *= 3
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("decay_mult, equal", [(1, True), (1 / 3, False)])
def test_the_documented_multiplier_is_a_gradient_three_times_as_large(momentum, decay_mult, equal):
    settings = {"lr": 0.1, "momentum": momentum}
    keys = {"roi_head.thin_conv": {"lr_mult": 3, "decay_mult": decay_mult}}
    torch.manual_seed(0)
    ours, theirs = Model().double(), Model().double()
    theirs.load_state_dict(ours.state_dict())
    optimizer = {"type": "SGD", "weight_decay": DECAY, **settings}
    wrapper = build_optim_wrapper(
        ours, {"optimizer": optimizer, "paramwise_cfg": {"custom_keys": keys}}
    )
    stepped = sgd_steps(ours, wrapper.optimizer, authors=False)
    plain = torch.optim.SGD(theirs.parameters(), **settings)
    expected = sgd_steps(theirs, plain, authors=True)
    assert torch.allclose(stepped, expected, rtol=1e-10) is equal
