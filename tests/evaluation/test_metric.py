"""Compare mAP from faster-coco-eval with pycocotools, and the report's figures with both."""

import contextlib
import io
import json
import pickle
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shufflenet_det.cli import main
from shufflenet_det.evaluation import report
from shufflenet_det.evaluation.scores import SUMMARY
from shufflenet_det.host import coco_api

CLASSES = ("cat", "dog", "owl", "never annotated")


def data(seed=0, images=12, ties=False):
    """Annotations with crowds and an empty class, and predictions near and far from them."""
    rng = np.random.default_rng(seed)
    annotations, predictions = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 9)):
            size = np.exp(rng.uniform(1.5, 5, 2))
            box = [*rng.uniform(0, 100, 2), *size]
            category, crowd = int(rng.integers(1, 4)), int(rng.random() < 0.15)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": category,
                    "bbox": box, "area": float(size.prod()), "iscrowd": crowd, "segmentation": [],
                }
            )  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = np.array(box) * rng.uniform(0.85, 1.15, 4)
                kind = category if rng.random() < 0.8 else int(rng.integers(1, 5))
                score = round(float(rng.random()), 1 if ties else 6)
                predictions.append(
                    {"image_id": image, "category_id": kind, "bbox": near.tolist(), "score": score}
                )
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 300, "height": 300}
            for i in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
    }
    return content, predictions


def reference(content, predictions):
    """pycocotools' evaluation."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(content))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(predictions))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def write(folder, content):
    path = folder / "val.json"
    path.write_text(json.dumps(content))
    for image in content["images"]:
        cv2.imwrite(str(folder / image["file_name"]), np.full((300, 300, 3), 90, np.uint8))
    return path


def mmdets_results(content, predictions):
    """The predictions as mmdet's test loop gives them."""
    results = []
    for image in content["images"]:
        own = [p for p in predictions if p["image_id"] == image["id"]]
        xywh = torch.tensor([p["bbox"] for p in own], dtype=torch.float64).reshape(-1, 4)
        found = {
            "bboxes": torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1),
            "scores": torch.tensor([p["score"] for p in own], dtype=torch.float64),
            "labels": torch.tensor([p["category_id"] - 1 for p in own], dtype=torch.long),
        }
        results.append({"img_id": image["id"], "ori_shape": (300, 300), "pred_instances": found})
    return results


def by_mmdet(path, content, predictions, kind):
    """The metric as a test run calls it, with all values."""
    names = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l", "AR@100", "AR_s@1000")
    options = {"classwise": True, "metric_items": names} if kind == "bbox" else {}
    metric = CocoMetric(ann_file=str(path), metric=kind, **options)
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, mmdets_results(content, predictions))
    return metric.evaluate(len(content["images"]))


@pytest.fixture
def pycocotools_alone(monkeypatch):
    """mmdet's metric without faster-coco-eval."""
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    coco_api._evaluation.cache_clear()
    yield
    coco_api._evaluation.cache_clear()


@pytest.fixture(params=["usual", "ties", "no detection", "nothing annotated"])
def case(request):
    content, predictions = data(ties=request.param == "ties")
    if request.param == "no detection":
        predictions = predictions[:1]  # of a single image
    if request.param == "nothing annotated":
        content["annotations"] = []
    return content, predictions


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[::-1]], ids=["in order", "reversed"])
def test_the_fast_evaluation_has_pycocotools_twelve_metrics(case, classes):
    content, predictions = case
    theirs = reference(content, predictions)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        ours = coco_api.coco_eval(truth, truth.loadRes(predictions), "bbox")
        ours.params.catIds = [CLASSES.index(name) + 1 for name in classes]
        ours.evaluate()
        ours.accumulate()
        ours.summarize()
    assert "faster" in type(ours).__mro__[1].__name__
    assert list(ours.stats[:12]) == pytest.approx(list(theirs.stats), abs=1e-9)
    for place, name in enumerate(classes):
        wanted = theirs.eval["precision"][:, :, CLASSES.index(name)]
        assert ours.eval["precision"][:, :, place] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["bbox", "proposal"])
def test_mmdets_metric_is_the_same_without_faster_coco_eval(tmp_path, case, kind, request):
    content, predictions = case
    path = write(tmp_path, content)
    ours = by_mmdet(path, content, predictions, kind)
    request.getfixturevalue("pycocotools_alone")
    assert by_mmdet(path, content, predictions, kind) == pytest.approx(ours, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_report_has_pycocotools_metrics(tmp_path, seed):
    content, predictions = data(seed, ties=seed % 2)
    result = report(write(tmp_path, content), predictions, tmp_path, tmp_path / "out")
    theirs = reference(content, predictions)
    ours = [-1 if result["metrics"][n] is None else result["metrics"][n] / 100 for n in SUMMARY]
    assert ours == pytest.approx(list(theirs.stats), abs=1e-9)
    for number, row in enumerate(result["per_class"]):
        known = theirs.eval["precision"][:, :, number, 0, -1]
        expected = known[known > -1].mean() if (known > -1).any() else None
        assert row["AP"] == (pytest.approx(expected, abs=1e-9) if expected else expected)


def test_every_box_is_counted_once(tmp_path):
    """Compare with pycocotools' matches at IoU 0.5."""
    content, predictions = data(1)
    result = report(write(tmp_path, content), predictions, tmp_path, tmp_path / "out")
    best = result["best"]
    right = false = 0
    for match in reference(content, predictions).evalImgs:
        if match is not None and match["aRng"] == [0, 1e10]:
            scores = np.array(match["dtScores"]) >= best["threshold"]
            counted = scores & ~match["dtIgnore"][0].astype(bool)
            right += (counted & (match["dtMatches"][0] > 0)).sum()
            false += (counted & (match["dtMatches"][0] == 0)).sum()
    total = sum(not a["iscrowd"] for a in content["annotations"])
    assert result["boxes"] == total
    assert best["precision"] == pytest.approx(right / (right + false))
    assert best["recall"] == pytest.approx(right / total)
    matrix = np.array(result["confusion"])
    assert matrix[:-1].sum() == total
    assert matrix[:, :-1].sum() == right + false
    worst = result["worst_images"]
    assert sum(row["right"] for row in worst) <= right
    assert sum(row["false_alarms"] for row in worst) <= false
    mistakes = [row["misses"] + row["false_alarms"] for row in worst]
    assert mistakes == sorted(mistakes, reverse=True) and mistakes[-1] > 0


def test_a_page_is_self_contained(tmp_path):
    content, predictions = data()
    content["categories"][0]["name"] = "<b>cat</b>"
    report(write(tmp_path, content), predictions, tmp_path, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http" not in page and "<script" not in page and "&lt;b&gt;cat&lt;/b&gt;" in page
    assert page.count("<img") == page.count('src="data:image/') >= 6
    for name in ("average_precision", "precision_recall", "f1", "confusion", "calibration"):
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).std() > 1


def test_perfect_no_and_hopeless_predictions(tmp_path):
    content, _ = data()
    content["annotations"] = [a for a in content["annotations"] if not a["iscrowd"]]
    path = write(tmp_path, content)
    perfect = [{**a, "score": 1.0} for a in content["annotations"]]
    result = report(path, perfect, tmp_path, tmp_path / "a")
    assert result["metrics"]["mAP"] == pytest.approx(100)
    assert result["best"]["F1"] == 1 and result["worst_images"] == []
    assert result["calibration"]["error"] == 0
    result = report(path, [], tmp_path, tmp_path / "b")
    assert result["metrics"]["mAP"] == 0 and result["best"]["threshold"] is None
    far = [{**p, "bbox": [290, 290, 5, 5]} for p in perfect]
    assert report(path, far, tmp_path, tmp_path / "c")["metrics"]["mAP"] == 0
    content["annotations"] = []
    assert (
        report(write(tmp_path, content), perfect, tmp_path, tmp_path / "d")["metrics"]["mAP"]
        is None
    )


def test_predictions_of_mmdets_test_program(tmp_path):
    content, predictions = data()
    file = tmp_path / "results.pkl"
    file.write_bytes(pickle.dumps(mmdets_results(content, predictions)))
    path = write(tmp_path, content)
    from_file = report(path, file, tmp_path, tmp_path / "a")
    direct = report(path, predictions, tmp_path, tmp_path / "b")
    assert from_file["metrics"] == pytest.approx(direct["metrics"])

    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    file.write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(ValueError, match=r"results\.pkl' contains no predictions .*\.print"):
        report(path, file, tmp_path, tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 99}, "image id 99 is not in the annotations"),
        ({"category_id": 7}, "category id 7 is not in the annotations"),
        ({"score": float("nan")}, "entry 0 has no finite box and score"),
        ({"bbox": [1, 2, 3]}, "entry 0 has no finite box and score"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path, change, says):
    content, predictions = data()
    predictions[0] |= change
    with pytest.raises(ValueError, match=says):
        report(write(tmp_path, content), predictions, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_commands(tmp_path, capsys):
    content, predictions = data()
    path = str(write(tmp_path, content))
    for run, some in (("a", predictions), ("b", predictions[::2])):
        (tmp_path / f"{run}.json").write_text(json.dumps(some))
        arguments = [path, str(tmp_path / f"{run}.json"), "--out", str(tmp_path / run / "report")]
        assert main(["evaluate", *arguments]) == 0
    said = capsys.readouterr().out
    for part in ("mAP ", "lowest AP: ", "best threshold", "report.html"):
        assert part in said
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b" / "report")]) == 0
    lines = capsys.readouterr().out.splitlines()
    one, other, difference = [
        float(word) for line in lines if line.split()[:1] == ["mAP"] for word in line.split()[1:4]
    ]
    assert difference == pytest.approx(other - one, abs=0.11)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path)]) == 2
    assert "no report in" in capsys.readouterr().err
