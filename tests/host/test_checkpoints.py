"""The safe loader opens mmengine's checkpoints, and refuses files that would run code."""

import argparse
import functools
import http.server
import os
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import CheckpointLoader
from torch import nn

from shufflenet_det.host.checkpoints import load_from_local

WAYS = {"load_from_local": load_from_local, "mmengine": CheckpointLoader.load_checkpoint}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_run):
    work_dir = tmp_path_factory.mktemp("tiny")
    tiny_run(work_dir, epochs=1)
    return work_dir / "epoch_1.pth"


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_a_run_opens(trained, way):
    content = WAYS[way](str(trained))
    assert content["meta"]["iter"] == 2
    losses = content["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(losses, HistoryBuffer)
    assert len(losses.data[0]) == 2
    assert losses.statistics("max") == losses.data[0].max()


@pytest.mark.parametrize("order", ["torch, mmengine", "mmengine, torch"])
def test_torch_load_alone_opens_it_too(trained, python, order):
    code = f"import shufflenet_det, {order}; print(torch.load({str(trained)!r})['meta']['iter'])"
    assert python("-c", code).stdout == "2\n"


def test_a_run_is_resumed(trained, tiny_run):
    runner = tiny_run(trained.parent, epochs=2, resume=True)
    assert (runner.epoch, runner.iter) == (2, 4)
    steps = runner.optim_wrapper.optimizer.state_dict()["state"][0]["step"]
    assert steps == 4  # two of them from the checkpoint
    assert load_from_local(str(trained.parent / "epoch_2.pth"))["meta"]["epoch"] == 2


def test_resume_does_not_execute_the_config_in_a_checkpoint(trained, tmp_path, tiny_run):
    content = torch.load(trained)
    marker = tmp_path / "ran"
    content["meta"]["config"] = f"open({str(marker)!r}, 'w')"  # mmengine's Runner would execute it
    torch.save(content, tmp_path / "evil.pth")
    runner = tiny_run(tmp_path, epochs=2, resume=True, load_from=str(tmp_path / "evil.pth"))
    assert runner.epoch == 2
    assert not marker.exists()


def test_an_inferencer_does_not_execute_the_config_in_a_checkpoint(tmp_path):
    from mmdet.apis import DetInferencer

    marker = tmp_path / "ran"
    text = f"open({str(marker)!r}, 'w')\nmodel = dict(type='os.system', command='true')"
    torch.save({"meta": {"cfg": text}, "state_dict": {}}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth.*give the config"):
        DetInferencer(weights=str(tmp_path / "evil.pth"), device="cpu")
    assert not marker.exists()


# Arguments of schedules that have no default.
SCHEDULES = {
    "CosineAnnealing": {"T_max": 4, "eta_min": 0},
    "CosineRestart": {"periods": [8], "eta_min": 0},
    "Exponential": {"gamma": 0.9},
    "MultiStep": {"milestones": [1, 3]},
    "OneCycle": {"total_steps": 8},
    "ReduceOnPlateau": {"monitor": "loss", "by_epoch": True},
    "Step": {"step_size": 2},
}


def schedules():
    """All registered schedules, for learning rates and momenta."""
    suffixes = ("ParamScheduler", "Momentum", "LR")
    for name in sorted(PARAM_SCHEDULERS.module_dict):
        suffix = next(suffix for suffix in suffixes if name.endswith(suffix))
        options = SCHEDULES.get(name.removesuffix(suffix), {})
        if suffix == "ParamScheduler":
            options = options | {"param_name": "lr"}
        if name.startswith("OneCycle"):
            options = options | {"OneCycleLR": {"eta_max": 0.1}}.get(name, {"eta_max": 0.1})
        yield name, {"type": name, "by_epoch": False, "end": 8, **options}


@pytest.mark.parametrize(("name", "schedule"), list(schedules()))
def test_a_run_is_resumed_with_every_schedule(tiny_run, tmp_path, name, schedule):
    optimizer = {"type": "SGD", "lr": 0.01, "momentum": 0.9}
    options = {"optim_wrapper": {"optimizer": optimizer}, "param_scheduler": schedule}
    first = tiny_run(tmp_path, 1, **options)
    second = tiny_run(tmp_path, 2, resume=True, **options)
    assert second.iter == 4
    key = "momentum" if name.endswith("Momentum") else "lr"
    if not schedule["by_epoch"]:
        assert second.param_schedulers[0].last_step > first.param_schedulers[0].last_step
    assert np.isfinite(second.optim_wrapper.param_groups[0][key])


OPTIMIZERS_OF_TORCH = [
    name
    for name, kind in sorted(vars(torch.optim).items())
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    if name not in ("Optimizer", "SparseAdam", "Muon")  # abstract, sparse, matrices only
]


@pytest.mark.parametrize("name", OPTIMIZERS_OF_TORCH)
def test_a_checkpoint_of_each_optimizer_opens(tmp_path, name):
    layer = nn.Linear(2, 2)
    optimizer = getattr(torch.optim, name)(layer.parameters(), lr=0.01)

    def loss():
        optimizer.zero_grad()
        value = layer(torch.ones(1, 2)).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    torch.save(optimizer.state_dict(), tmp_path / "a.pth")
    optimizer.load_state_dict(load_from_local(str(tmp_path / "a.pth")))


def test_a_run_is_resumed_with_stateful_hooks_and_metainfo_with_dicts(tmp_path, tiny_run):
    class Data(list):
        metainfo = ConfigDict(classes=("a",), groups={"a": [0, {"b": 1}]}, colours=np.zeros((0, 3)))

    loader = {"batch_size": 1, "dataset": Data([{"inputs": torch.ones(2)}] * 2)}
    loader |= {"sampler": {"type": "DefaultSampler"}, "collate_fn": {"type": "default_collate"}}
    for epochs in (1, 2):
        runner = tiny_run(
            tmp_path,
            epochs,
            resume=epochs == 2,
            train_dataloader=loader,
            custom_hooks=[{"type": "EMAHook"}, {"type": "SyncBuffersHook"}],
        )
    assert runner.iter == 4
    meta = load_from_local(str(tmp_path / "epoch_2.pth"))["meta"]["dataset_meta"]
    assert pickle.dumps(meta) == pickle.dumps(Data.metainfo)  # otherwise mmengine warns on resume


NUMPY = [np.float64(0.5), np.float32(0.5), np.int64(3), np.int32(3), np.bool_(True), np.str_("a")]
TYPES = "?,i1,i2,i4,i8,u1,u2,u4,u8,f2,f4,f8,c8,>f4,U3"
ARRAYS = [
    *(np.arange(6).reshape(2, 3).astype(kind) for kind in TYPES.split(",")),
    *(np.zeros((0, 4)), np.array(3.0), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
]


@pytest.mark.parametrize("value", NUMPY + ARRAYS, ids=repr)
def test_numpy_numbers_open(tmp_path, value):
    torch.save({"value": value}, tmp_path / "a.pth")
    loaded = load_from_local(str(tmp_path / "a.pth"))["value"]
    assert loaded.dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert loaded.shape == value.shape
    assert np.array_equal(loaded, value)
    torch.save(loaded, tmp_path / "b.pth")  # pickled as a plain array
    again = torch.load(tmp_path / "b.pth", weights_only=False)
    assert type(again) is type(value)
    assert np.array_equal(again, value)


@pytest.mark.parametrize("value", [NUMPY[0], ARRAYS[0]], ids=["scalar", "array"])
def test_numbers_open_under_the_names_of_numpy_1_and_2(tmp_path, value):
    path = tmp_path / "a.pth"
    torch.save({"value": value}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    names = [b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"]
    assert any(name in content for name in names)
    for name in names:
        path.write_bytes(content.replace(names[0], name).replace(names[1], name))
        assert np.array_equal(load_from_local(str(path))["value"], value)


class Call:
    """Pickles as a call of a function, optionally followed by a state for its result."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


NESTED: list = []
for _ in range(40):
    NESTED = [NESTED, NESTED]
RECONSTRUCT = np.empty(0).__reduce__()[0]
BYTES = np.dtype("u1")


def array(state):
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=state)


MARKER = "marker-of-code-that-ran"
EVIL = {
    "os.system": Call(os.system, f"touch {MARKER}"),
    "eval": Call(eval, f"open({MARKER!r}, 'w')"),
    "exec": Call(exec, f"open({MARKER!r}, 'w')"),
    "open": Call(open, MARKER, "w"),
    "getattr of an allowed class": Call(getattr, np.ndarray, "tofile"),
    "getattr of another name": Call(getattr, HistoryBuffer, "__init__"),
    "getattr of a tensor": Call(getattr, torch.ones(1), "data_ptr"),
    "partial": Call(functools.partial, os.system, f"touch {MARKER}"),
    "a class of a program": argparse.ArgumentParser,
    "a list that holds itself often": Call(getattr, NESTED, "x"),
    # With numpy's own functions, this one causes a segmentation fault.
    "objects": array((1, (1000,), Call(np.dtype, "O"), False, [1])),
    "short data": array((1, (9,), BYTES, False, b"12345678")),
    "no tuple": array((1, 9, BYTES, False, b"123456789")),
    "memory without data": Call(np.ndarray, (10**9,)),
    "records": np.zeros(2, "i4,f4"),
    "array of objects": np.array([None]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("evil", EVIL)
def test_a_file_that_would_run_code_is_refused_and_named(tmp_path, monkeypatch, evil, way):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "message_hub": EVIL[evil]}, "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth") as raised:
        WAYS[way]("evil.pth")
    assert "weights_only" not in str(raised.value)  # torch advises to disable the check
    assert len(str(raised.value).splitlines()) == 1
    assert os.listdir() == ["evil.pth"]


def test_without_the_refusal_the_code_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(EVIL["os.system"], "evil.pth")
    torch.load("evil.pth", weights_only=False)
    assert Path(MARKER).exists()


def test_an_array_cannot_be_filled_twice(tmp_path):
    """A second state would free memory that views of the first one still use."""
    path = tmp_path / "a.pth"
    torch.save(np.arange(3), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    end = content.index(b"b.", content.index(b"_reconstruct"))  # BUILD, STOP
    start = content.rindex(b"(K\x01K\x03", 0, end)
    state = content[start:end]
    path.write_bytes(content[:end] + b"b" + state + content[end:])
    with pytest.raises(ValueError, match="filled twice"):
        load_from_local(str(path))


@pytest.mark.parametrize("compress", [False, True])
def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path, compress):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "a.pth")
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w", kind) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    if compress:
        with pytest.raises(ValueError, match=r"b\.pth.*unpack to 4000\d+"):
            load_from_local(str(tmp_path / "b.pth"))
    else:
        assert load_from_local(str(tmp_path / "b.pth"))["a"].numel() == 10**6


def corrupt(content):
    return {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "one byte short": content[:-1],
        "text": b"<html>404: not here</html>",
        "image": b"\xff\xd8\xff\xe0" + bytes(range(256)),
        "zeros": bytes(1000),
        "another pickle": pickle.dumps(Path, protocol=2),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", corrupt(b""))
def test_a_damaged_checkpoint_is_named(tmp_path, trained, kind, way):
    path = tmp_path / "broken.pth"
    path.write_bytes(corrupt(trained.read_bytes())[kind])
    with pytest.raises(ValueError, match=r"broken\.pth"):
        WAYS[way](str(path))


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_file_is_named(way):
    with pytest.raises(FileNotFoundError, match=r"no/such\.pth"):
        WAYS[way]("no/such.pth")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"a": 1}, tmp_path / "a.pth")
    assert load_from_local("~/a.pth") == {"a": 1}


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A local server for ``tmp_path``, and an empty cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_downloaded_checkpoint_opens(tmp_path, url):
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pth")
    loaded = CheckpointLoader.load_checkpoint(f"{url}/good.pth", map_location="cpu")
    assert loaded["a"].tolist() == [1, 1]


@pytest.mark.parametrize("evil", EVIL)
def test_a_downloaded_checkpoint_runs_no_code(tmp_path, monkeypatch, url, evil):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": EVIL[evil]}, "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth") as raised:
        CheckpointLoader.load_checkpoint(f"{url}/evil.pth", map_location="cpu")
    assert "weights_only" not in str(raised.value)
    assert not Path(MARKER).exists()
