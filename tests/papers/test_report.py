"""The config of a report, and the image size at which it is counted."""

import pytest

from shufflenet_det.papers import report


@pytest.fixture
def write(root, tmp_path):
    """Write a config that inherits from SSDLite's; returns its path."""

    def config_with(text):
        path = tmp_path / "config.py"
        path.write_text(f"_base_ = '{root}/configs/ssdlite320_shufflenet_coco.py'\n{text}\n")
        return str(path)

    return config_with


RESIZES = {
    "dict(type='Resize', scale=(96, 64), keep_ratio=False)": "64x96",
    "dict(type='Resize', scale=(64, 96), keep_ratio=False)": "96x64",
    "dict(type='Resize', scale=(64, 96), keep_ratio=True)": "64x96",
    "dict(type='Resize', scale=(96, 64), keep_ratio=True)": "64x96",
    "dict(type='Resize', scale=80)": "80x80",
}


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_image_size_is_that_of_the_test_pipeline(resize, wrapped, write):
    dataset = f"dict(_delete_=True, type='CocoDataset', pipeline=[dict(type='Load'), {resize}])"
    if wrapped:
        inner = dataset.replace("_delete_=True, ", "")
        dataset = f"dict(_delete_=True, type='RepeatDataset', times=1, dataset={inner})"
    path = write(f"test_dataloader = dict(dataset={dataset})")
    title, rows = report.detector(path, None)
    assert title == f"{path} at {RESIZES[resize]}"
    height, width = map(int, RESIZES[resize].split("x"))
    assert rows == report.detector(path, (height, width))[1]


def test_a_config_of_mmdet_is_found():
    name = "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py"
    title, rows = report.detector(name, None)
    assert title == f"{name} at 320x320"
    assert [row["part"] for row in rows] == ["backbone", "neck", "bbox_head", "total"]


def test_a_config_without_a_size_or_a_model_is_named(write):
    with pytest.raises(ValueError, match=r"config\.py.*--shape"):
        report.detector(write("test_dataloader = dict(dataset=dict(pipeline=[]))"), None)
    with pytest.raises(ValueError, match=r"config\.py.*no model"):
        report.detector(write("model = dict(_delete_=True)"), None)


def test_the_title_states_the_proposals(root):
    path = f"{root}/configs/paper_v2/shufflenetv2_0.5x.py"
    title, rows = report.detector(path, (64, 96))
    assert title == f"{path}, 1000 proposals, at 64x96"
    assert [row["part"] for row in rows] == ["backbone", "rpn_head", "roi_head", "total"]
