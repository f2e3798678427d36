"""Checkpoint files: opened in every published form, downloaded, and written atomically."""

import argparse
import sys
import types
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import (
    convert_file,
    load_pretrained,
    read_weights,
    redirect_load_from,
)
from shufflenet_det.weights.files import open_checkpoint, save_tensors


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return ShuffleNetV2(0.5).state_dict()


def assert_loads(path, state, **kwargs):
    backbone = ShuffleNetV2(0.5)
    load_pretrained(backbone, str(path), **kwargs)
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


CONTAINERS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"state": {0: {"m": 1}}}},
    "model": lambda s: {"model": s},
    "module": lambda s: {f"module.{k}": v for k, v in s.items()},
    "detector": lambda s: {
        "state_dict": {f"backbone.{k}": v for k, v in s.items()} | {"neck.w": torch.ones(2)}
    },
    "distributed detector": lambda s: {f"module.backbone.{k}": v for k, v in s.items()},
    "average": lambda s: {"model": {k: v * 0 for k, v in s.items()}, "ema": s},
    "mmengine's average": lambda s: {
        "state_dict": s,
        "ema_state_dict": {k: v * 0 for k, v in s.items()},
    },
    "best accuracy beside": lambda s: {"state_dict": s, "best_acc1": torch.tensor(69.4)},
    "torchvision's program": lambda s: {
        "model": {k: v * 0 for k, v in s.items()},
        "model_ema": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in s.items()}},
        "args": argparse.Namespace(lr=0.5, model="shufflenet_v2_x0_5"),
    },
    "other order": lambda s: dict(reversed(s.items())),
    "single-precision in double": lambda s: {k: v.double() for k, v in s.items()},
    "without batch counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("old_format", (False, True))
def test_weights_are_found(container, old_format, state, tmp_path):
    path = tmp_path / "weights.pth.tar"
    content = CONTAINERS[container](state)
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    assert_loads(path, state)


def test_a_zip_file_around_a_checkpoint(state, tmp_path):
    torch.save(state, tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.pth.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "weights.pth", "folder/weights.pth")
        archive.writestr("__MACOSX/._weights.pth", b"x")
    assert_loads(tmp_path / "weights.pth.zip", state)


def test_a_zip_file_around_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.pth", b"1")
        archive.writestr("b.pth", b"2")
    with pytest.raises(ValueError, match=r"a\.zip.*one checkpoint.*2 files"):
        open_checkpoint(str(tmp_path / "a.zip"))


def test_a_file_is_fetched_once(state, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    torch.save(state, tmp_path / "weights.pth")
    url = (tmp_path / "weights.pth").as_uri()
    assert_loads(url, state)
    (tmp_path / "weights.pth").unlink()
    assert_loads(url, state)


@pytest.mark.parametrize("name", ("no/such/file.pth", "mmcls://no_such_network"))
def test_a_missing_file_is_named(name):
    with pytest.raises(FileNotFoundError, match=name):
        open_checkpoint(name)


def test_a_manual_download_is_explained():
    with pytest.raises(FileNotFoundError, match=r"Group3/models/1\.0x\.pth\.tar from https://1drv"):
        open_checkpoint("megvii/v1_g3_1.0x")


def test_lightnings_classes_are_not_needed(state, tmp_path, monkeypatch):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    with monkeypatch.context() as context:
        for parent in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            context.setitem(sys.modules, parent, types.ModuleType(parent))
        context.setitem(sys.modules, name, module)
        content = {"callbacks": {module.ModelCheckpoint: {"best": 1}}, "state_dict": state}
        torch.save(content, tmp_path / "nanodet.ckpt")
    assert_loads(tmp_path / "nanodet.ckpt", state)


@pytest.mark.parametrize(
    "backbone",
    (
        lambda: ShuffleNetV2(0.5, "paper"),
        lambda: ShuffleNetV1(3, 0.5, "inverse"),
        lambda: ShuffleNetV1(3, 0.5),
        lambda: ShuffleNetV2(1.0, "paper", out_indices=(0,)),
    ),
)
def test_own_names_without_metadata_load(backbone, tmp_path):
    first, second = backbone(), backbone()
    torch.save(dict(first.state_dict()), tmp_path / "own.pth")
    load_pretrained(second, str(tmp_path / "own.pth"))
    state = first.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in second.state_dict().items())


@pytest.mark.parametrize(
    ("layout", "width", "warned"), [("paper", 0.5, 1), ("paper", 1.0, 1), ("torchvision", 0.5, 0)]
)
def test_ambiguous_names_cause_a_warning(layout, width, warned, tmp_path, warnings):
    backbone = ShuffleNetV2(width, layout, out_indices=(1,))
    torch.save(dict(backbone.state_dict()), tmp_path / "own.pth")
    load_pretrained(backbone, str(tmp_path / "own.pth"))
    assert len(warnings()) == warned


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, []),
        ({"norm_cfg": {"type": "BN", "eps": 1e-3}}, ["eps=1e-05", "0.001"]),
        ({"act_cfg": {"type": "LeakyReLU"}}, ["ReLU", "act_cfg"]),
    ],
)
def test_other_layers_than_in_training_cause_a_warning(kwargs, words, state, tmp_path, warnings):
    torch.save(state | {"fc.weight": torch.rand(10, 1024)}, tmp_path / "weights.pth")
    load_pretrained(ShuffleNetV2(0.5, **kwargs), str(tmp_path / "weights.pth"))
    assert len(warnings()) == bool(words)
    assert all(word in warnings()[0] for word in words)


def config(load_from):
    return {"load_from": load_from, "model": {"backbone": {"type": "ShuffleNetV2"}}}


def test_load_from_of_a_backbone_becomes_its_init_cfg(state, tmp_path):
    path = str(tmp_path / "weights.pth")
    torch.save(state, path)
    cfg = config(path)
    assert redirect_load_from(cfg)
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    assert cfg == {
        "load_from": None,
        "model": {"backbone": {"type": "ShuffleNetV2", "init_cfg": init_cfg}},
    }


@pytest.mark.parametrize("content", ("own detector", "another network", None))
def test_any_other_load_from_stays(content, state, tmp_path):
    path = tmp_path / "weights.pth"
    own = {f"backbone.{key}": value for key, value in state.items()}
    own["bbox_head.weight"] = torch.ones(1)
    torch.save(own if content == "own detector" else {"conv1.weight": torch.ones(1)}, path)
    cfg = config(content and str(path))
    assert not redirect_load_from(cfg)
    assert cfg == config(content and str(path))


def test_files_are_written_atomically(state, tmp_path, monkeypatch):
    target = tmp_path / "target.pth"
    target.write_bytes(b"what was there")

    def fail(*args):
        (tmp_path / f"{args[1]}").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_tensors(state, target, {})
    assert target.read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["target.pth"]


def test_other_endings_are_refused(state, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.pth or \.safetensors"):
        save_tensors(state, tmp_path / "weights.onnx", {})


def test_safetensors(state, tmp_path):
    save_file(dict(state), tmp_path / "weights.safetensors")
    assert_loads(tmp_path / "weights.safetensors", state)


def test_a_converted_safetensors_file_states_its_network(tmp_path):
    source, target = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    backbone = ShuffleNetV1(3, 0.5, "inverse")
    torch.save(backbone.state_dict(), source)
    convert_file(str(source), target)
    assert read_weights(str(target)).computes["shuffle"] == "inverse"
    load_pretrained(backbone, str(target))


class Cyclic:
    """Its text would be endless."""

    def __reduce__(self):
        nested: list = []
        for _ in range(40):
            nested = [nested, nested]
        return getattr, (nested, "x")


HOSTILE = {
    "stride 0": lambda s: {"conv1.0.weight": torch.ones(1).expand(100_000, 100_000)},
    "no names": lambda s: {1: torch.ones(3), 2: torch.ones(3)},
    "odd names": lambda s: {1: torch.ones(3), "conv1.0.weight": torch.ones(24, 3, 3, 3)},
    "sparse": lambda s: s | {"conv1.0.weight": torch.ones(2, 2).to_sparse()},
    "meta": lambda s: s | {"conv1.0.weight": torch.ones(2, 2, device="meta")},
    "float8": lambda s: s | {"conv1.0.weight": torch.ones(2).to(torch.float8_e5m2)},
    "endless text": lambda s: {"state_dict": s, "meta": Cyclic()},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_a_sentence(case, state, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(HOSTILE[case](state), path)
    with pytest.raises(ValueError, match=r"weights\.pth") as raised:
        read_weights(str(path))
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "statement", [5, {"network": 5}, {"network": {"type": ["a"], "arguments": 3}}]
)
def test_unknown_metadata_is_ignored(statement, state, tmp_path):
    odd = type(state)(state)
    odd._metadata = {"": statement, 7: {}}
    torch.save(odd, tmp_path / "weights.pth")
    assert_loads(tmp_path / "weights.pth", state)


@pytest.mark.parametrize("wrapped", (False, True))
def test_a_decompression_bomb_is_refused(wrapped, tmp_path):
    inner, path = tmp_path / "inner.pth", tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(8_000_000)}, inner)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if wrapped:
            archive.write(inner, "inner.pth")
        else:
            with zipfile.ZipFile(inner) as whole:
                for name in whole.namelist():
                    archive.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match=r"weights\.pth.*would unpack to"):
        read_weights(str(path))
