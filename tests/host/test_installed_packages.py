"""mmengine finds installed packages without ``pkg_resources``."""

import sys
from importlib import metadata, util
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import package_utils

from shufflenet_det.host import installed_packages


@pytest.mark.parametrize(
    "name",
    ["mmdet", "MMDet", "opencv-python", "pycocotools", "Pillow", "pillow", "shufflenet-det"],
)
def test_a_distribution_is_found_by_its_name_or_its_module(name):
    folder = Path(installed_packages.get_installed_path(name))
    modules = {"opencv-python": "cv2", "pillow": "PIL", "mmdet": "mmdet"}
    modules["shufflenet-det"] = "shufflenet_det"
    module = modules.get(name.lower(), name)
    assert installed_packages.is_installed(name)
    assert folder == Path(util.find_spec(module).origin).parent


@pytest.mark.parametrize("name", ["no-such-package", "no.such.pkg"])
def test_a_missing_package_is_named(name):
    assert not installed_packages.is_installed(name)
    with pytest.raises(ModuleNotFoundError, match=name):
        installed_packages.get_installed_path(name)


def test_a_folder_without_a_package_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "a_folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not installed_packages.is_installed("a_folder")


@pytest.mark.parametrize("present", [False, True], ids=["without", "with"])
def test_mmengine_is_unchanged_with_pkg_resources(present, monkeypatch):
    find_spec = util.find_spec

    def found(name, *args):
        return metadata if name == "pkg_resources" and present else find_spec(name, *args)

    def theirs(package):
        return False

    monkeypatch.setattr(package_utils, "is_installed", theirs)
    holder = sys.modules["mmengine.config.config"]
    monkeypatch.setattr(holder, "is_installed", theirs, raising=False)
    monkeypatch.setattr(util, "find_spec", found)
    if not present and find_spec("pkg_resources") is not None:
        monkeypatch.setattr(util, "find_spec", lambda name, *a: None)
    installed_packages.install(package_utils)
    expected = theirs if present else installed_packages.is_installed
    assert package_utils.is_installed is expected
    assert holder.is_installed is expected


def test_a_config_inherits_from_the_installed_mmdet(tmp_path):
    name = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
    (tmp_path / "own.py").write_text(f"_base_ = {name!r}\n")
    assert Config.fromfile(str(tmp_path / "own.py")).model.type == "RetinaNet"
