"""What a fresh interpreter meets: the import, the registry, and what may be missing."""

import json
import os
import re

import pytest

# Takes away distributions as if they were not installed.
HIDE = """if True:
    import sys
    from importlib.machinery import PathFinder
    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name.split(".")[0] not in {hidden!r}:
                return PathFinder.find_spec(name, path, target)
    sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


@pytest.fixture(scope="module")
def imported(python):
    """The import and what it left behind."""
    code = """if True:
        import json, sys
        import shufflenet_det
        heavy = [m for m in ("mmdet.models", "mmcv.ops", "mmcv._ext") if m in sys.modules]
        finders = len(sys.meta_path)
        from shufflenet_det import host
        again = host.apply() and len(sys.meta_path) == finders
        from mmdet.registry import MODELS
        names = ("ShuffleNetV1", "ShuffleNetV2", "MobileNetV1", "Xception")
        registered = {n: MODELS.get(n).__module__ for n in names}
        print(json.dumps([registered, heavy, again]))"""
    return python("-c", code)


def test_the_import_is_silent(imported):
    assert imported.stderr == ""
    assert imported.stdout.count("\n") == 1  # our own line


def test_the_names_are_registered(imported):
    registered, _, _ = json.loads(imported.stdout)
    assert registered == {
        "ShuffleNetV1": "shufflenet_det.backbones.shufflenet_v1",
        "ShuffleNetV2": "shufflenet_det.backbones.shufflenet_v2",
        "MobileNetV1": "shufflenet_det.backbones.mobilenet_v1",
        "Xception": "shufflenet_det.backbones.xception",
    }


def test_nothing_heavy_is_imported(imported):
    assert json.loads(imported.stdout)[1] == []


def test_mending_the_host_again_changes_nothing(imported):
    assert json.loads(imported.stdout)[2] is True


def test_the_dotted_name_imports_the_package_by_itself(python):
    code = """if True:
        from mmengine.registry import MODELS
        one = MODELS.build(dict(type="shufflenet_det.ShuffleNetV2", widen_factor=0.5))
        from mmdet.registry import MODELS
        two = MODELS.build(dict(type="ShuffleNetV2", widen_factor=0.5))
        print(type(one) is type(two), one.out_channels)"""
    assert python("-c", code).stdout == "True (48, 96, 192)\n"


def test_mmengines_registry_finds_both_names(python):
    code = """if True:
        import shufflenet_det
        from mmengine.registry import MODELS, init_default_scope
        print(type(MODELS.build(dict(type="mmdet.ShuffleNetV1"))).__name__)
        init_default_scope("mmdet")
        print(type(MODELS.build(dict(type="ShuffleNetV2"))).__name__)"""
    assert python("-c", code).stdout.split() == ["ShuffleNetV1", "ShuffleNetV2"]


@pytest.fixture(scope="module", params=[("mmcv",), ("mmdet",), ("mmcv", "mmdet")], ids="-".join)
def without(request, python):
    """The package where distributions are missing: first the backbones, then mmdet."""
    code = (
        HIDE.format(hidden=request.param)
        + """
    import torch
    import shufflenet_det
    from mmengine.logging import MMLogger
    from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
    MMLogger.get_current_instance().setLevel("ERROR")
    for network in (ShuffleNetV1, ShuffleNetV2):
        net = network(widen_factor=0.5)
        net.init_weights()
        print([tuple(m.shape) for m in net.train()(torch.zeros(2, 3, 64, 64))])
    loaded = [n for n in ("mmcv", "mmdet") if n in sys.modules]
    print(loaded)
    for attempt in ("import mmdet", "from mmdet.registry import MODELS"):
        try:
            exec(attempt)
        except ImportError as error:
            print(type(error).__name__, error)"""
    )
    return request.param, python("-c", code)


def test_backbones_work_without_mmcv_and_mmdet(without):
    _, done = without
    assert done.stderr == ""
    v1, v2, loaded = done.stdout.splitlines()[:3]
    assert v1 == "[(2, 120, 8, 8), (2, 240, 4, 4), (2, 480, 2, 2)]"
    assert v2 == "[(2, 48, 8, 8), (2, 96, 4, 4), (2, 192, 2, 2)]"
    assert loaded == "[]"


def test_mmdet_then_says_what_is_missing_and_how_it_is_mended(without):
    hidden, done = without
    attempts = done.stdout.splitlines()[3:]
    assert len(attempts) == 2
    missing = "mmdet" if "mmdet" in hidden else "mmcv"
    for line in attempts:
        assert line.startswith("ImportError")
        assert f"{missing} is not installed" in line
        assert re.search(rf"pip install .*{missing}", line)


def test_python_m_prints_versions_and_kernels(python):
    import mmdet
    import torch
    import torchvision

    lines = python("-m", "shufflenet_det").stdout.splitlines()
    for name, version in (
        ("torch", torch.__version__),
        ("torchvision", torchvision.__version__),
        ("mmdet", mmdet.__version__),
        ("mmcv.ops", r"(torchvision|mmcv)"),
        ("GPU", r"\w+"),
        ("mmdet", "works"),
    ):
        version = version.split("+")[0]
        assert any(re.search(rf"\b{name}\b.*{version}", line) for line in lines), name


def test_python_m_works_where_mmdet_does_not(python):
    code = HIDE.format(hidden=("mmcv",)) + (
        '\n    import runpy; runpy.run_module("shufflenet_det", run_name="__main__")'
    )
    text = " ".join(python("-c", code, env=os.environ | {"COLUMNS": "250"}).stdout.split())
    assert "does not work: mmcv is not installed" in text
    assert "pip install" in text
