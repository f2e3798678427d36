"""Classes that are read from annotations."""

import json

import pytest
from mmengine.config import ConfigDict

from shufflenet_det.data.classes import fit_classes


def config(root, classes=None):
    dataset = {"data_root": str(root), "ann_file": "train.json", "metainfo": {"classes": classes}}
    wrapped = {"type": "RepeatDataset", "dataset": dataset}
    return ConfigDict(
        model={"bbox_head": {"num_classes": 80}, "mask": [{"num_classes": 80}]},
        train_dataloader={"dataset": wrapped},
        val_dataloader={"dataset": {**dataset, "ann_file": "val.json"}},
    )


def write(path, names):
    path.write_text(json.dumps({"categories": [{"id": 3 * i, "name": n} for i, n in names]}))


@pytest.mark.parametrize("file", ["train.json", "val.json"])
def test_classes_come_from_the_first_file_that_is_there(tmp_path, file):
    write(tmp_path / file, enumerate(["cat", "dog"]))
    cfg = config(tmp_path)
    assert fit_classes(cfg) == ("cat", "dog")
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == ("cat", "dog")
    assert cfg.val_dataloader.dataset.metainfo.classes == ("cat", "dog")
    assert cfg.model.bbox_head.num_classes == cfg.model.mask[0].num_classes == 2


def test_stated_classes_and_absent_files_leave_the_config(tmp_path):
    assert fit_classes(config(tmp_path)) is None
    write(tmp_path / "train.json", enumerate(["cat"]))
    cfg = config(tmp_path, classes=("x", "y"))
    assert fit_classes(cfg) is None
    assert cfg.model.bbox_head.num_classes == 80


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[]", "'categories'"), ('{"categories": []}', "empty"), ("{", "not a JSON")],
)
def test_a_file_without_classes_is_named(tmp_path, text, sentence):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(ValueError, match=rf"train\.json.*{sentence}"):
        fit_classes(config(tmp_path))
