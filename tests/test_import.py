"""A new interpreter: the import, the registry, and missing packages."""

import os
import re
import runpy
import sys

import pytest

import shufflenet_det

# Hides distributions, as if they were not installed.
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


def test_the_import_is_silent_and_light(python):
    code = """if True:
        import sys
        import shufflenet_det
        heavy = {"torch", "numpy", "mmengine", "mmcv", "mmdet"} & set(sys.modules)
        print(heavy, "ShuffleNetV2" in dir(shufflenet_det), hasattr(shufflenet_det, "no_such"))"""
    done = python("-c", code)
    assert done.stderr == ""
    assert done.stdout == "set() True False\n"


def test_the_public_names_are_there():
    for name in {*shufflenet_det.__all__, *shufflenet_det._LAZY}:
        assert getattr(shufflenet_det, name) is not None


NAMES = ("ShuffleNetV1", "ShuffleNetV2", "MobileNetV1", "Xception", "NanoDetHead", "Stage4Head")


REGISTERED = ["shufflenet_det", "shufflenet_det.host.local_files"]


def print_registered(names):
    """Code that prints the packages of these classes, and the module that reads local files."""
    return f"""
        print(*{{MODELS.get(name).__module__.split(".")[0] for name in {names}}})
        from mmengine.fileio.backends.registry_utils import backends
        print(backends["local"].__module__)"""


def test_another_plugins_class_of_the_same_name_stays_and_a_reload_changes_nothing(python):
    """The registry of mmdet is imported before the package."""
    code = """if True:
        import importlib
        import sys
        from torch import nn
        from mmdet.registry import MODELS
        @MODELS.register_module()
        class MobileNetV1(nn.Module):
            pass
        @MODELS.register_module()
        class NanoDetPlus(nn.Module):
            pass
        import shufflenet_det
        ours = MODELS.build(dict(type="shufflenet_det.MobileNetV1"))
        print(MODELS.get("NanoDetPlus") is NanoDetPlus)
        print(MODELS.get("MobileNetV1") is MobileNetV1, type(ours) is MobileNetV1)
        finders = list(sys.meta_path)
        importlib.reload(shufflenet_det)
        importlib.reload(shufflenet_det.host.import_hooks)
        importlib.reload(shufflenet_det)
        print(sys.meta_path == finders, type(ours) is shufflenet_det.MobileNetV1)"""
    found = python("-c", code + print_registered(set(NAMES) - {"MobileNetV1"})).stdout.split()
    assert found == ["True", "True", "False", "True", "True", *REGISTERED]


def test_networks_and_detectors_are_built_without_registering_all_modules(python):
    code = """if True:
        import warnings
        import torch
        import shufflenet_det
        from mmengine.config import Config
        from mmengine.registry import MODELS, init_default_scope
        with warnings.catch_warnings():  # as a run has it
            import mmdet.models
        torch.meshgrid(torch.arange(2), torch.arange(2))  # as mmdet calls it
        print(type(MODELS.build(dict(type="mmdet.ShuffleNetV1"))).__name__)
        from mmdet.registry import MODELS as mmdets
        cfg = Config.fromfile("configs/ssdlite320_shufflenet_coco.py")
        cfg.model.backbone.init_cfg = None
        print(type(mmdets.build(cfg.model)).__name__)
        init_default_scope("mmdet")
        print(type(MODELS.build(dict(type="ShuffleNetV2"))).__name__)"""
    done = python("-c", code)
    assert "UserWarning" not in done.stderr
    assert done.stdout.split() == ["ShuffleNetV1", "SingleStageDetector", "ShuffleNetV2"]


def test_the_dotted_name_imports_the_package_by_itself(python):
    """The runner of mmengine is imported before the package."""
    code = """if True:
        import mmengine.runner
        from mmengine.registry import MODELS
        one = MODELS.build(dict(type="shufflenet_det.ShuffleNetV2", widen_factor=0.5))
        from mmdet.registry import MODELS
        two = MODELS.build(dict(type="ShuffleNetV2", widen_factor=0.5))
        print(type(one) is type(two), one.out_channels)"""
    found = python("-c", code + print_registered(NAMES)).stdout.splitlines()
    assert found == ["True (48, 96, 192)", *REGISTERED]


@pytest.fixture(scope="module", params=[("mmcv",), ("mmcv", "mmdet")], ids="-".join)
def without(request, python):
    """The package without some distributions: first the backbones, then mmdet."""
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
    for line in attempts:
        if "mmdet" in hidden:
            assert line == "ModuleNotFoundError No module named 'mmdet'"
        else:
            assert line.startswith("ImportError mmcv is not installed")
            assert "pip install 'mmcv-lite" in line


def test_python_m_prints_versions_and_kernels(monkeypatch, capsys):
    import mmdet
    import torch
    import torchvision

    monkeypatch.setattr(sys, "argv", ["shufflenet_det"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("shufflenet_det", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
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
