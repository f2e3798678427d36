"""NanoDet's warp: what it does to pixels is what it does to boxes."""

import cv2
import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes

import shufflenet_det

STILL = {"zoom": (1, 1), "stretch": (1, 1), "flip": 0, "translate": 0}
BOX = [40.0, 30.0, 90.0, 100.0]


def sample(width=160, height=120):
    """Black with a white box."""
    image = np.zeros((height, width, 3), np.uint8)
    image[30:100, 40:90] = 255
    return {"img": image, "gt_bboxes": HorizontalBoxes([BOX]), "img_shape": (height, width)}


def extent(image):
    """The box of what is white, x1, y1, x2, y2."""
    rows, columns = np.nonzero(image[..., 0] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keep_ratio", [False, True])
def test_boxes_go_where_their_pixels_go(seed, keep_ratio):
    np.random.seed(seed)
    warp = shufflenet_det.RandomWarp((96, 128), keep_ratio=keep_ratio)
    result = warp(sample())
    assert result["img"].shape == (128, 96, 3)
    assert np.abs(result["gt_bboxes"].tensor[0].numpy() - extent(result["img"])).max() <= 2


@pytest.mark.parametrize("keep_ratio", [False, True])
def test_without_chance_it_is_the_resizing_of_tests(keep_ratio):
    warped = shufflenet_det.RandomWarp((96, 64), keep_ratio=keep_ratio, **STILL)(sample())
    resized = shufflenet_det.WarpResize(scale=(96, 64), keep_ratio=keep_ratio)(sample())
    np.testing.assert_array_equal(warped["img"], resized["img"])
    left, top = resized["pad_offset"]
    x, y = resized["scale_factor"]
    expected = np.array(BOX) * (x, y, x, y) + (left, top, left, top)
    np.testing.assert_allclose(warped["gt_bboxes"].tensor[0], expected, rtol=1e-5)
    assert (x == y) == keep_ratio


def test_a_box_outside_stays_without_an_area():
    # A right half that is moved out of the image: as NanoDet, which filters no boxes.
    warp = shufflenet_det.RandomWarp((160, 120), **{**STILL, "zoom": (10, 10)})
    data = sample()
    data["gt_bboxes"] = HorizontalBoxes([[0.0, 0.0, 5.0, 5.0]])
    boxes = warp(data)["gt_bboxes"]
    assert len(boxes) == 1
    assert boxes.areas.item() == 0


def test_numbers_are_drawn_from_the_stated_ranges():
    np.random.seed(0)
    warp = shufflenet_det.RandomWarp((320, 320))
    matrices = np.stack([warp.matrix(320, 320) for _ in range(2000)])
    x, y = matrices[:, 0, 0], matrices[:, 1, 1]
    assert 0.45 < (x < 0).mean() < 0.55
    for factor in (np.abs(x), y):
        assert 0.48 <= factor.min() < 0.52
        assert 1.58 < factor.max() <= 1.68
    centres = (matrices @ [160, 160, 1])[:, :2] / 320
    assert centres.min() >= 0.3
    assert centres.max() <= 0.7
    ratio = np.abs(x) / y
    assert 2 / 3 <= ratio.min()
    assert ratio.max() <= 3 / 2


def test_colours_change_and_geometry_does_not():
    np.random.seed(1)
    image = cv2.cvtColor(np.full((8, 8, 3), (90, 120, 200), np.uint8), cv2.COLOR_HSV2BGR)
    results = [shufflenet_det.RandomColor()({"img": image.copy()})["img"] for _ in range(200)]
    change = np.stack(results) / 255 - image / 255
    assert all(r.dtype == np.float32 for r in results)
    unchanged = (np.abs(change).max((1, 2, 3)) < 1e-6).mean()
    assert 0.05 < unchanged < 0.22  # one in eight
    assert np.ptp(change, axis=(1, 2)).max() < 1e-6  # each pixel alike
