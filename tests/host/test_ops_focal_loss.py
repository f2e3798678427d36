"""Focal loss against torchvision's."""

import pytest
import torch
import torchvision
from torch.autograd import gradcheck

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv import ops

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CLASSES = 4
LABELS = torch.tensor([0, 3, 1, CLASSES, 2, 0, CLASSES])  # CLASSES is the background
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)


@pytest.fixture
def logits():
    return torch.randn(7, CLASSES, generator=torch.Generator().manual_seed(0)).double() * 2


def row_weights(labels):
    return torch.cat([WEIGHT, WEIGHT.new_ones(1)])[labels][:, None]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gamma, alpha", [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_focal_loss(logits, gamma, alpha, weighted, device):
    one_hot = torch.eye(CLASSES + 1).double()[LABELS, :CLASSES]
    expected = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha, gamma)
    weight = None
    if weighted:
        expected, weight = expected * row_weights(LABELS), WEIGHT.to(device)
    args = logits.to(device), LABELS.to(device), gamma, alpha, weight
    torch.testing.assert_close(ops.sigmoid_focal_loss(*args, "none").cpu(), expected)
    torch.testing.assert_close(ops.sigmoid_focal_loss(*args, "sum").cpu(), expected.sum())
    torch.testing.assert_close(ops.sigmoid_focal_loss(*args, "mean").cpu(), expected.sum() / 7)


@pytest.mark.parametrize("gamma, alpha", [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_sigmoid_focal_loss_gradient(logits, gamma, alpha, weight):
    assert gradcheck(
        lambda x: ops.sigmoid_focal_loss(x, LABELS, gamma, alpha, weight, "none"),
        logits.requires_grad_(),
    )


def test_negative_labels_are_background(logits):
    ignored = torch.where(LABELS == CLASSES, -1, LABELS)
    loss, expected = (ops.sigmoid_focal_loss(logits, t, 2.0, 0.25) for t in (ignored, LABELS))
    assert torch.equal(loss, expected)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [50.0, -50.0]], requires_grad=True)
    value = ops.sigmoid_focal_loss(logits, torch.tensor([0, 0, 1]), 2.0, 0.25, None, "sum")
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(logits, dtype):
    tolerance = dict(rtol=0.05, atol=0.01)
    half = logits.to(dtype).requires_grad_()
    double = half.detach().double().requires_grad_()
    results = [ops.sigmoid_focal_loss(x, LABELS, 2.0, 0.25, None, "sum") for x in (half, double)]
    torch.testing.assert_close(results[0].double(), results[1], **tolerance)
    for result in results:
        result.backward()
    torch.testing.assert_close(half.grad.double(), double.grad, **tolerance)


def test_strided_logits(logits):
    loss = ops.SigmoidFocalLoss(2.0, 0.25)
    strided = logits.t().contiguous().t()
    assert torch.equal(loss(strided, LABELS), loss(logits, LABELS))


def test_label_beyond_the_background(logits):
    with pytest.raises(ValueError, match="label 5: must be at most 4"):
        ops.sigmoid_focal_loss(logits, torch.full((7,), 5), 2.0, 0.25)


def test_no_rows():
    logits = torch.zeros(0, CLASSES, requires_grad=True)
    ops.sigmoid_focal_loss(logits, torch.zeros(0).long(), 2.0, 0.25, None, "none").sum().backward()
    assert logits.grad.shape == (0, CLASSES)
