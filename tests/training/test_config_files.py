"""Find configs by name, from any folder."""

import pytest

from shufflenet_det.config_files import config_names, find_config


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", config_names())
def test_every_config_has_a_name(name, root):
    wanted = root / "configs" / f"{name}.py"
    assert find_config(name).samefile(wanted)
    assert find_config(f"configs/{name}.py").samefile(wanted)


def test_the_folder_is_optional(root):
    wanted = root / "configs/paper_v1/shufflenet_1x_300.py"
    assert find_config("shufflenet_1x_300").samefile(wanted)


def test_a_file_of_the_user_comes_first(tmp_path):
    own = tmp_path / "faster_rcnn_shufflenet_coco"
    own.write_text("a = 1")
    assert find_config("faster_rcnn_shufflenet_coco").samefile(own)


def test_a_wrong_name_gets_suggestions():
    with pytest.raises(
        FileNotFoundError, match=r"retinanet_shufflnet_coco.*retinanet_shufflenet_coco"
    ):
        find_config("retinanet_shufflnet_coco")


def test_a_very_wrong_name_refers_to_the_list():
    with pytest.raises(FileNotFoundError, match=r"`shufflenet-det configs` lists them"):
        find_config("qqqqqq")


def test_base_files_are_not_listed():
    assert not [name for name in config_names() if "_base_" in name]
