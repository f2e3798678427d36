"""The drawn classes of ``--demo``."""

import json
from itertools import combinations

import cv2
import numpy as np
import pytest

from shufflenet_det.pretraining import demo, make_demo_classes, require_image_folders


def content(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "classes"
    return make_demo_classes(root, train_images=3, val_images=2)


def test_it_is_a_folder_of_ten_classes(made):
    require_image_folders([str(made / "train"), str(made / "val")], 10)
    counts = {p.parent: 0 for p in made.rglob("*.jpg")}
    for path in made.rglob("*.jpg"):
        assert cv2.imread(str(path)).shape == (demo.SIDE, demo.SIDE, 3)
        counts[path.parent] += 1
    assert sorted(counts.values()) == [2] * 10 + [3] * 10


def test_no_image_is_there_twice(made):
    pictures = [p.read_bytes() for p in made.rglob("*.jpg")]
    assert len(set(pictures)) == len(pictures) == 50


def test_equal_arguments_give_equal_files(made, tmp_path):
    again = make_demo_classes(tmp_path / "again", train_images=3, val_images=2)
    assert content(again) == content(made)
    other = make_demo_classes(tmp_path / "other", train_images=3, val_images=2, seed=1)
    assert content(other) != content(made)


def test_what_is_there_is_used_again(made):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    make_demo_classes(made, train_images=3, val_images=2)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*")} == before


@pytest.mark.parametrize("marker", [None, "{", json.dumps({"version": "0"})])
def test_anything_else_there_is_left_alone(tmp_path, marker):
    (tmp_path / "mine.txt").write_text("mine")
    if marker is not None:
        (tmp_path / demo._MARKER).write_text(marker)
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="left as it is"):
        make_demo_classes(tmp_path, train_images=1, val_images=1)
    assert content(tmp_path) == before


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "draw_shape", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_demo_classes(tmp_path / "classes", train_images=1, val_images=1)
    assert list(tmp_path.iterdir()) == []


def masks():
    """Each shape's silhouette, upright."""
    filled = {}
    for name, outline in demo.SHAPES.items():
        assert 0.9 < np.linalg.norm(outline, axis=1).max() < 1.25
        filled[name] = np.zeros((64, 64), np.uint8)
        cv2.fillPoly(filled[name], [np.rint(outline * 30 + 32).astype(np.int32)], 1)
    return filled


def test_no_two_shapes_cover_the_same():
    for (_, a), (_, b) in combinations(masks().items(), 2):
        assert (a & b).sum() / (a | b).sum() < 0.9
