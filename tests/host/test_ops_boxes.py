"""NMS against plain loops."""

import math

import numpy as np
import pytest
import torch

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv import ops

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def make_boxes(count, seed=0, size=40):
    """Boxes in integer pixels, some equal and some without area, with distinct scores."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, size, (count, 2))
    boxes = np.concatenate([start, start + rng.integers(0, size, (count, 2))], axis=1)
    boxes[count // 2 : count // 2 + count // 5] = boxes[: count // 5]
    return boxes.astype(np.float32), rng.permutation(count).astype(np.float32) / count + 0.01


def iou(a, b, offset=0):
    """Intersection over union of two boxes; NaN if neither has an area."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area_a, area_b = ((x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b))
    union = area_a + area_b - width * height
    return float(width * height / union) if union else math.nan


def loop_nms(boxes, scores, threshold, offset=0):
    keep = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if not any(iou(boxes[i], boxes[j], offset) > threshold for j in keep):
            keep.append(i)
    return keep


def loop_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """mmcv's procedure on a list: the best box moves to the front, and the last fills the gap."""
    scores, live, picked = scores.astype(float), list(range(len(boxes))), []
    while live:
        best = max(range(len(live)), key=lambda k: scores[live[k]])
        live[0], live[best] = live[best], live[0]
        top = live.pop(0)
        picked.append(top)
        k = 0
        while k < len(live):
            overlap = iou(boxes[top], boxes[live[k]], offset)
            if method == "gaussian":
                scores[live[k]] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[live[k]] *= 1 - overlap if method == "linear" else 0
            if scores[live[k]] < min_score:
                live[k] = live[-1]
                live.pop()
            else:
                k += 1
    return picked, scores[picked]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7])
def test_nms(threshold, offset, device):
    boxes, scores = make_boxes(80)
    expected = loop_nms(boxes, scores, threshold, offset)
    dets, keep = ops.nms(
        torch.tensor(boxes, device=device),
        torch.tensor(scores, device=device),
        iou_threshold=threshold,
        offset=offset,
    )
    assert keep.tolist() == expected
    np.testing.assert_array_equal(dets.cpu(), np.c_[boxes, scores][expected])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_nms_keeps_a_box_whose_iou_is_the_threshold(threshold):
    boxes = torch.tensor([[0, 0, 10, 1], [0, 0, 10 * threshold, 1]])
    keep = ops.nms(boxes, torch.tensor([0.9, 0.8]), threshold)[1]
    assert keep.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_nms_in_other_precisions(dtype):
    boxes, scores = make_boxes(60)
    scores = np.floor(scores * 64) / 64  # exact in each precision
    keep = ops.nms(torch.tensor(boxes).to(dtype), torch.tensor(scores).to(dtype), 0.5)[1]
    assert keep.tolist() == loop_nms(boxes, scores, 0.5)


def test_nms_of_a_strided_view():
    boxes, scores = make_boxes(60)
    dets = torch.tensor(np.c_[boxes, scores])
    assert ops.nms(dets[:, :4], dets[:, 4], 0.5)[1].tolist() == loop_nms(boxes, scores, 0.5)


def test_nms_of_arrays_with_score_threshold_and_limit():
    boxes, scores = make_boxes(60)
    confident = np.flatnonzero(scores > 0.5)
    kept = confident[loop_nms(boxes[confident], scores[confident], 0.5)]
    dets, keep = ops.nms(boxes, scores, 0.5, score_threshold=0.5, max_num=7)
    np.testing.assert_array_equal(keep, kept[:7])
    np.testing.assert_array_equal(dets, np.c_[boxes, scores][kept[:7]])


@pytest.mark.parametrize("split_thr", [10000, 10])
def test_batched_nms_keeps_classes_apart(split_thr):
    boxes, scores = make_boxes(90)
    labels = np.arange(90) % 3
    kept = [
        np.flatnonzero(labels == c)[i]
        for c in range(3)
        for i in loop_nms(boxes[labels == c], scores[labels == c], 0.5)
    ]
    _, keep = ops.batched_nms(
        torch.tensor(boxes),
        torch.tensor(scores),
        torch.tensor(labels),
        dict(type="nms", iou_threshold=0.5, split_thr=split_thr),
    )
    assert keep.tolist() == sorted(kept, key=lambda i: -scores[i])


@pytest.mark.parametrize("method", ["nms", "soft_nms"])
def test_batched_nms_under_autocast(method):
    boxes, scores = map(torch.tensor, make_boxes(40))
    args = boxes, scores, torch.zeros(40), dict(type=method, iou_threshold=0.5)
    expected = ops.batched_nms(*args)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dets, keep = ops.batched_nms(*args)
    assert torch.equal(keep, expected[1])
    assert torch.equal(dets, expected[0])


@pytest.mark.parametrize("operation", [ops.nms, ops.soft_nms])
@pytest.mark.parametrize("offset", [0, 1])
def test_suppression_of_no_boxes(operation, offset):
    dets, keep = operation(torch.zeros(0, 4), torch.zeros(0), 0.5, offset=offset)
    assert dets.shape == (0, 5)
    assert keep.shape == (0,)
    assert keep.dtype == torch.long


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("min_score", [1e-3, 0.3])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms(method, offset, min_score):
    boxes, scores = make_boxes(60, seed=1)
    boxes[:, 2:] += 1  # no box without area
    picked, lowered = loop_soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    dets, keep = ops.soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    assert keep.tolist() == picked
    np.testing.assert_array_equal(dets[:, :4], boxes[picked])
    np.testing.assert_allclose(dets[:, 4], lowered, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_soft_nms_order_among_equal_scores(seed):
    boxes, scores = make_boxes(60, seed)
    scores = np.ceil(scores * 4) / 4
    picked, _ = loop_soft_nms(boxes, scores, 0.3, 0.5, 0.2, "naive", 0)
    assert ops.soft_nms(boxes, scores, 0.3, min_score=0.2, method="naive")[1].tolist() == picked


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("twin", [1, 2])
def test_soft_nms_keeps_a_box_whose_score_became_nan(twin):
    """An IoU of 0 / 0: NaN is not below min_score, and is picked only in first position."""
    boxes = np.array([[0, 0, 0, 0], [5, 5, 9, 9], [20, 20, 29, 29]], dtype=np.float32)
    boxes[twin] = boxes[0]
    dets, keep = ops.soft_nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), method="gaussian")
    assert keep.tolist() == [0, 1, 2]
    assert np.flatnonzero(np.isnan(dets[:, 4])).tolist() == [twin]


def test_soft_nms_does_not_change_its_input():
    boxes, scores = make_boxes(20)
    before = boxes.copy(), scores.copy()
    ops.soft_nms(boxes, scores, method="gaussian")
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_nms_match(kind, threshold):
    boxes, scores = make_boxes(80)
    left, groups = np.argsort(-scores).tolist(), []
    while left:
        matched = [i for i in left[1:] if iou(boxes[left[0]], boxes[i]) >= threshold]
        groups.append([left[0], *matched])
        left = [i for i in left[1:] if i not in matched]
    result = ops.nms_match(kind(np.c_[boxes, scores]), threshold)
    assert [group.tolist() for group in result] == groups


def test_nms_match_includes_a_box_whose_iou_is_the_threshold():
    dets = torch.tensor([[0, 0, 10, 1, 0.9], [0, 0, 5, 1, 0.8]])
    assert [group.tolist() for group in ops.nms_match(dets, 0.5)] == [[0, 1]]


def test_nms_match_of_no_boxes():
    assert ops.nms_match(torch.zeros(0, 5), 0.5) == []
