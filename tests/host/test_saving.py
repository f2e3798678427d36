"""A run is resumed after it is killed at any write, and only removes its own old checkpoints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import find_latest_checkpoint

from shufflenet_det.host.local_files import PARTIAL

SCORES = (0.1, 0.2, 0.3)


class Killed(BaseException):
    pass


def checkpoints(folder):
    return sorted(path.name for path in Path(folder).glob("*.pth"))


def killed_at(monkeypatch, number, when):
    """Kill the process before or after the ``number``-th file is renamed."""
    rename, count = os.replace, 0

    def replace(source, target):
        nonlocal count
        count += 1
        if count == number and when == "before":
            raise Killed
        rename(source, target)
        if count == number:
            raise Killed

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_write_is_resumed(tmp_path, monkeypatch, tiny_run, when):
    hook = {"max_keep_ckpts": 1}
    for number in range(1, 100):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            killed_at(patch, number, when)
            try:
                tiny_run(folder, 3, SCORES, hook)
            except Killed:
                pass
            else:
                break
        resumed = find_latest_checkpoint(str(folder))
        done = torch.load(resumed)["meta"]["epoch"] if resumed else 0
        assert done or number <= 1 + (when == "before")
        runner = tiny_run(folder, 3, SCORES, hook, resume=True)
        assert runner.epoch == 3
        assert checkpoints(folder) == ["best_score_epoch_3.pth", "epoch_2.pth", "epoch_3.pth"]
        info = torch.load(folder / "epoch_3.pth")["message_hub"]["runtime_info"]
        assert info["best_score"] == 0.3
    assert number > 12  # three epochs with two checkpoints, the best one and last_checkpoint


def test_an_interrupted_validation_is_repeated(tmp_path, monkeypatch, tiny_run):
    def fail(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mmengine.runner.ValLoop.run", fail)
        with pytest.raises(Killed):
            tiny_run(tmp_path, 1, SCORES)
    assert checkpoints(tmp_path) == ["epoch_1.pth"]
    tiny_run(tmp_path, 1, SCORES, resume=True)
    assert checkpoints(tmp_path) == ["best_score_epoch_1.pth", "epoch_1.pth"]


def test_the_next_run_removes_the_temporary_file_of_a_killed_run(tmp_path, tiny_run):
    code = """if True:
        import os, sys
        from shufflenet_det.host.local_files import atomic_write
        with atomic_write(sys.argv[1]) as partial:
            partial.write_bytes(b"half of it")
            os.kill(os.getpid(), 9)"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "epoch_1.pth"], check=False)
    (part,) = tmp_path.glob(PARTIAL)
    assert part.read_bytes() == b"half of it"
    tiny_run(tmp_path, 1)
    assert list(tmp_path.glob(PARTIAL)) == []


@pytest.fixture
def run_a(tmp_path, tiny_run):
    tiny_run(tmp_path / "a", 1, SCORES)
    return tmp_path / "a"


def test_the_best_checkpoint_of_the_earlier_run_is_kept(run_a, tmp_path, tiny_run):
    before = checkpoints(run_a)
    start = str(run_a / "epoch_1.pth")
    tiny_run(tmp_path / "b", 2, (0.05, 0.02), load_from=start, resume=True)
    assert checkpoints(run_a) == before
    # The new run keeps its own best, although the other run's is better.
    assert checkpoints(tmp_path / "b") == ["best_score_epoch_1.pth", "epoch_2.pth"]


@pytest.mark.parametrize("name", ["folder", "a/vis_data", "precious.pth"])
def test_paths_named_in_a_checkpoint_are_not_removed(run_a, tmp_path, tiny_run, name):
    precious = tmp_path / name
    (precious.parent if name.endswith(".pth") else precious).mkdir(parents=True, exist_ok=True)
    (precious if name.endswith(".pth") else precious / "epoch_7.pth").write_bytes(b"precious")
    content = torch.load(run_a / "epoch_1.pth")
    info = content["message_hub"]["runtime_info"]
    info.update(best_ckpt=str(precious), best_score=-1.0)
    info.update(keep_ckpt_ids=[f"/../../{name}", 7, 8, 9])
    torch.save(content, run_a / "epoch_1.pth")
    tiny_run(run_a, 3, SCORES, {"max_keep_ckpts": 1}, resume=True)
    assert precious.exists()
    assert not precious.is_dir() or list(precious.iterdir())


def test_a_moved_folder_is_resumed_with_its_best_checkpoint(run_a, tmp_path, tiny_run):
    moved = tmp_path / "moved"
    shutil.move(run_a, moved)
    runner = tiny_run(moved, 2, SCORES, resume=True)
    assert runner.epoch == 2
    assert checkpoints(moved) == ["best_score_epoch_2.pth", "epoch_1.pth", "epoch_2.pth"]


@pytest.mark.parametrize(
    ("last", "damaged", "expected"),
    [
        ("epoch_1.pth", (), "epoch_1.pth"),
        ("elsewhere/epoch_1.pth", (), "epoch_1.pth"),
        ("", (), "epoch_2.pth"),
        (None, (), "epoch_2.pth"),
        (None, ("epoch_2.pth",), "epoch_1.pth"),
        ("epoch_2.pth", ("epoch_2.pth",), "epoch_1.pth"),
        ("epoch_3.pth", (), "epoch_2.pth"),
    ],
)
def test_the_newest_undamaged_checkpoint_is_found(tmp_path, last, damaged, expected):
    for name in ("epoch_1.pth", "epoch_2.pth", "best_x_epoch_1.pth"):
        torch.save({}, tmp_path / name)
    os.utime(tmp_path / "epoch_1.pth", (1, 1))
    for name in damaged:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    if last is not None:
        (tmp_path / "last_checkpoint").write_text(last)
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / expected)


def test_a_folder_with_damaged_checkpoints_only(tmp_path):
    assert find_latest_checkpoint(str(tmp_path)) is None
    (tmp_path / "epoch_1.pth").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"all checkpoints in .* damaged"):
        find_latest_checkpoint(str(tmp_path))


def optimizer_of_another(content):
    content["optimizer"]["param_groups"][0]["params"] = [0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("meta"), "no 'meta'"),
        (lambda content: content["meta"].pop("iter"), "no 'iter'"),
        (optimizer_of_another, "parameter group"),
    ],
)
def test_a_file_that_cannot_be_resumed_is_named(run_a, tmp_path, tiny_run, change, reason):
    content = torch.load(run_a / "epoch_1.pth")
    change(content)
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth' cannot be resumed .*{reason}"):
        tiny_run(tmp_path / "b", 2, load_from=str(tmp_path / "other.pth"), resume=True)
