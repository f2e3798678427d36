"""The papers' COCO tables against a second transcription, and results of other projects."""

import csv
import re

import pytest
from torchvision.models import get_model_weights

from shufflenet_det.papers.published import COCO_ROWS, find_rows

# V1, Table 7: mAP at 300 and 600 pixels.
V1 = {"shufflenet_2x": (18.7, 25.0), "shufflenet_1x": (14.5, 19.8), "mobilenet": (14.9, 19.3)}
# V2, Table 7, by column: (mmAP, images/s) of Xception, V1, MobileNetV2, V2, V2*.
V2 = {
    40: [(21.9, 178), (20.9, 152), (20.7, 146), (22.5, 188), (23.7, 183)],
    140: [(29.0, 131), (27.0, 85), (24.4, 111), (29.0, 146), (29.6, 138)],
    300: [(31.3, 101), (29.9, 76), (30.0, 94), (31.8, 109), (32.2, 105)],
    500: [(32.9, 83), (32.9, 60), (30.6, 72), (33.3, 87), (34.2, 83)],
}


def test_the_papers_tables_are_as_printed():
    rows = COCO_ROWS.values()
    for name, figures in V1.items():
        assert tuple(COCO_ROWS[f"v1/{name}_{size}"].mAP for size in (300, 600)) == figures
    for column, figures in V2.items():
        found = [r for r in rows if r.paper == "v2" and r.backbone_multiply_adds == column]
        assert [(row.mAP, row.images_per_second) for row in found] == figures
    assert len(rows) == 26


def test_rows_keep_the_order_of_the_tables_and_typos_get_a_suggestion():
    assert [row.key for row in find_rows(["v2/xception_40m", "v1/mobilenet_300"])] == [
        "v1/mobilenet_300",
        "v2/xception_40m",
    ]
    assert len(find_rows(["all", "v1/mobilenet_300"])) == 26
    with pytest.raises(ValueError, match="did you mean v2/shufflenetv2_1x"):
        find_rows(["v2/shufflenet2_1x"])


@pytest.fixture
def others(root):
    with open(root / "docs/published/published.csv", newline="", encoding="utf-8") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def test_results_of_others_are_complete_and_plausible(others):
    for key, row in others.items():
        assert re.fullmatch(r"[a-z0-9]+/[a-z0-9_.]+", key)
        assert row["detector"] and row["backbone"] and row["source"] and row["images"]
        assert re.fullmatch(r"\d+(x\d+)?", row["pixels"])
        assert 10 < float(row["mAP"]) < 60
        assert (row["flops_m"] == "") == (row["flops_per_multiply_add"] == "")
        if row["flops_m"]:
            assert 100 < float(row["flops_m"]) / int(row["flops_per_multiply_add"]) < 40_000


def test_results_of_torchvision_equal_its_metadata(others):
    found = {key: row for key, row in others.items() if key.startswith("torchvision/")}
    assert len(found) == 4
    for key, row in found.items():
        meta = get_model_weights(key.partition("/")[2]).DEFAULT.meta
        assert float(row["mAP"]) == meta["_metrics"]["COCO-val2017"]["box_map"]
        assert float(row["parameters_m"]) == round(meta["num_params"] / 1e6, 2)
