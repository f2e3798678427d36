"""The finders, and the module ``mmcv._ext``; test_ops_*.py test the ops themselves."""

import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest

import shufflenet_det  # noqa: F401  # installs the finder
from shufflenet_det.host import import_hooks, ops


@pytest.fixture
def ext():
    return importlib.import_module("mmcv._ext")


def run(code, *args):
    """The words of a new interpreter's standard output."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.split()


def test_mmcv_ops_and_mmdet_models_import():
    assert importlib.import_module("mmcv.ops").nms
    assert importlib.import_module("mmdet.models").FasterRCNN


def test_install_adds_two_finders_once(monkeypatch):
    others = [finder for finder in sys.meta_path if not import_hooks._is_ours(finder)]
    monkeypatch.setattr(sys, "meta_path", others.copy())
    monkeypatch.setattr(import_hooks, "_WORKAROUNDS", {})
    import_hooks.install()
    import_hooks.install()
    assert sys.meta_path[1:-1] == others
    assert isinstance(sys.meta_path[0], import_hooks._Front)
    assert isinstance(sys.meta_path[-1], import_hooks._Ext)


@pytest.mark.parametrize("name", ["mmcv", "mmcv._ext2", "mmcv._ext.nms", "_ext", "mmcv.ops"])
def test_the_finder_ignores_other_modules(name):
    assert import_hooks._Ext().find_spec(name, None) is None


def test_a_compiled_mmcv_is_unchanged(tmp_path):
    (tmp_path / "_ext.py").write_text("marker = 'compiled'")
    code = """if True:
        import sys
        import mmcv
        mmcv.__path__.append(sys.argv[1])
        from shufflenet_det.host import import_hooks
        import mmcv._ext
        print(import_hooks.serving(), mmcv._ext.marker)"""
    assert run(code, tmp_path) == ["mmcv", "compiled"]


def test_a_failing_workaround_only_warns(monkeypatch, tmp_path):
    (tmp_path / "host_of_tomorrow.py").write_text("value = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(import_hooks._WORKAROUNDS, "host_of_tomorrow", lambda module: module.gone)
    with pytest.warns(UserWarning, match=r"host_of_tomorrow.*gone"):
        assert importlib.import_module("host_of_tomorrow").value == 1


def test_serving():
    assert import_hooks.serving() == "torchvision"


def test_mmengine_and_mmcv_work_without_pkgutil_find_loader(monkeypatch):
    from mmcv.utils.ext_loader import check_ops_exist
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    monkeypatch.delattr(pkgutil, "find_loader", raising=False)
    assert mmcv_full_available()
    assert check_ops_exist()


def test_spec(ext):
    assert ext.__spec__.name == ext.__name__ == "mmcv._ext"
    assert ext.__loader__ is ext.__spec__.loader
    assert importlib.reload(ext).nms is ops.OPS["nms"]


@pytest.mark.parametrize("name", ops.OPS)
def test_op_exists(ext, name):
    assert getattr(ext, name) is ops.OPS[name]


@pytest.mark.parametrize("name", ["nms_rotated", "psamask_forward", "voxelize"])
def test_missing_op_raises(ext, name):
    with pytest.raises(NotImplementedError, match=f"'{name}'.*compiled mmcv.*mim install mmcv"):
        getattr(ext, name)(1, anything=2)


def test_mmcv_uses_all_our_ops_and_the_others_are_listed():
    files = (Path(mmcv.__file__).parent / "ops").glob("*.py")
    text = "".join(path.read_text() for path in files)
    assert all(f"'{name}'" in text for name in ops.OPS)
    missing = import_hooks.missing_ops()
    assert {"nms_rotated", "psamask", "voxelize"} <= set(missing)
    assert not any(name.startswith(tuple(missing)) for name in ops.OPS)


@pytest.mark.parametrize(
    "name", ["__path__", "__file__", "__wrapped__", "__bases__", "__getstate__x", "_repr_html_"]
)
def test_private_names_are_missing(ext, name):
    assert not hasattr(ext, name)


def test_probing_the_module(ext):
    assert inspect.unwrap(ext) is ext
    assert inspect.getdoc(ext)
    with pytest.raises(TypeError):
        copy.copy(ext)
    with pytest.raises(TypeError):
        pickle.dumps(ext)


def test_mmcvs_report_of_the_kernels():
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version

    assert "torchvision" in get_compiler_version()
    assert get_compiling_cuda_version()


def test_the_text_of_a_config_is_formatted_once(monkeypatch):
    from mmengine.config import Config, config
    from yapf.yapflib.yapf_api import FormatCode

    cfg = Config({"model": {"type": "A", "values": list(range(40))}, "name": "once"})
    text = cfg.pretty_text
    with monkeypatch.context() as patch:
        patch.setattr("yapf.yapflib.yapf_api.FormatTree", None)  # formatting would now fail
        assert cfg.pretty_text == text
    cfg.name = "twice"
    assert cfg.pretty_text == text.replace("once", "twice")
    monkeypatch.setattr(config, "FormatCode", FormatCode)  # the original
    assert cfg.pretty_text == text.replace("once", "twice")
