"""Each mismatch of versions gives one sentence with a command."""

import importlib.metadata
import importlib.util

import pytest

from shufflenet_det.host import environment


@pytest.fixture
def installed(monkeypatch):
    """Pretend that distributions have other versions, or with None that they are missing."""

    def pretend(versions=(), requires=()):
        find_spec, version = importlib.util.find_spec, importlib.metadata.version
        versions, required = dict(versions), dict(requires)

        def pretended_version(name):
            if name in versions and versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions.get(name) or version(name)

        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *a: None if versions.get(name, "") is None else find_spec(name, *a),
        )
        monkeypatch.setattr(importlib.metadata, "version", pretended_version)
        original = importlib.metadata.requires
        monkeypatch.setattr(
            importlib.metadata, "requires", lambda name: required.get(name, original(name))
        )

    return pretend


def test_the_test_environment_has_no_problem():
    assert environment.problem() is None


@pytest.mark.parametrize("name", ["mmdet", "torchvision", "pycocotools"])
def test_a_missing_package_is_named_with_the_command(installed, name):
    installed({name: None})
    sentence = environment.problem()
    assert f"{name} is not installed" in sentence
    assert "\n" not in sentence
    command = sentence.split("pip install")[1]
    assert name in command


def test_all_missing_packages_are_named(installed):
    installed({"mmdet": None, "pycocotools": None})
    assert environment.problem().endswith("pip install mmdet pycocotools")


@pytest.mark.parametrize("requirement", ["torch==2.7.1", "torch (==2.7.1)", "torch ==2.7.1"])
def test_a_torchvision_for_another_torch_is_a_warning(installed, requirement):
    installed(
        {"torch": "2.6.0", "torchvision": "0.22.1"},
        {"torchvision": ["numpy", requirement, "pillow"]},
    )
    for part in ("torchvision 0.22.1", "2.7.1", "torch 2.6.0", "pip install"):
        assert part in environment.doubt()
    assert environment.problem() is None  # a warning only
    assert ("warning", environment.doubt()) in environment.report()


@pytest.mark.parametrize(
    ("torch_version", "requires"),
    [
        ("2.7.1", ["torch==2.7.1"]),
        ("2.7.1+cpu", ["torch==2.7.1"]),
        ("2.7.1+cu128", ["numpy", "torch==2.7.1"]),
        ("2.7.1", ["numpy"]),
        ("2.7.1", ["torch"]),
        ("2.7.1", ["torch>=2.6"]),
        ("2.7.1", None),
        ("2.9.0.dev20260101+cu128", ["torch==2.9.0.dev20260101"]),
        ("2.9.0.dev20260102", ["torch==2.9.0.dev20260101"]),
        ("2.8.0rc1", ["torch==2.8.0rc1"]),
        ("2.8.0rc1", ["torch==2.8.0"]),
        ("2.7.0a0+7c8ec84dab.nv25.03", ["torch==2.7.0a0+7c8ec84dab.nv25.3"]),
        ("a vendor's", ["torch==2.7.0"]),
    ],
)
def test_a_torchvision_that_fits_or_states_no_torch(installed, torch_version, requires):
    installed({"torch": torch_version}, {"torchvision": requires})
    assert environment.doubt() is None


def test_a_torchvision_without_metadata(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert environment.doubt() is None


def test_a_fork_is_reported(installed):
    installed({"onedl-mmdetection": "3.4.0"})
    assert ("onedl-mmdetection", "3.4.0") in environment.report()


# mmdet asserts its versions on import, so these tests need a new interpreter.
UNFIT = """if True:
    import importlib.metadata, sys
    import {module}
    {module}.__version__ = "9.9.0"
    versions = {versions!r}
    def version(name, real=importlib.metadata.version):
        if versions.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)
    importlib.metadata.version = version
    from shufflenet_det.host import environment
    print(environment.problem())
    try:
        import mmdet
    except ImportError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("module", "versions", "command"),
    [
        ("mmcv", {"mmcv-lite": "9.9.0", "mmcv": None}, "pip install 'mmcv-lite"),
        # mmcv-lite and a compiled mmcv share a folder: installing one over the other breaks both.
        (
            "mmcv",
            {"mmcv-lite": None, "mmcv": "9.9.0"},
            "pip uninstall -y mmcv && pip install 'mmcv-lite",
        ),
        ("mmengine", {"mmengine": "9.9.0"}, "pip install 'mmengine"),
    ],
    ids=["mmcv-lite", "compiled mmcv", "mmengine"],
)
def test_a_wrong_version_is_one_sentence_with_a_command(python, module, versions, command):
    done = python("-c", UNFIT.format(module=module, versions=versions))
    assert done.stderr == ""
    told, raised = done.stdout.splitlines()
    assert told == raised
    assert "9.9.0" in told
    assert command in told


def test_the_report_has_every_version_and_a_verdict():
    rows = dict(environment.report())
    if rows["kernels of mmcv.ops"] == "torchvision":
        assert "nms_rotated" in rows["needs a compiled mmcv"]
    assert set(environment.PACKAGES) <= set(rows)
    assert rows["kernels of mmcv.ops"] in ("torchvision", "mmcv")
    assert "GPU" in rows
