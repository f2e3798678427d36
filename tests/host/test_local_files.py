"""Atomic writes: a file has either its new or its old content."""

import os
from pathlib import Path

import pytest
import torch
from mmengine import fileio
from mmengine.fileio import LocalBackend
from mmengine.runner import save_checkpoint


def half_then_full_disk(self, obj, filepath):
    Path(filepath).write_bytes(obj[: len(obj) // 2])
    raise OSError("No space left on device")


def no_rename(*args):
    raise OSError("cannot rename")


@pytest.fixture(params=["while writing", "at the renaming"])
def failing(request, monkeypatch):
    if request.param == "while writing":
        monkeypatch.setattr(LocalBackend, "put", half_then_full_disk)
    else:
        monkeypatch.setattr(os, "replace", no_rename)


@pytest.mark.parametrize("kind", [str, Path])
def test_get_returns_what_put_wrote(tmp_path, kind):
    path = kind(tmp_path / "new folder" / "a.bin")
    for content in (b"first", b"second, longer", b""):
        fileio.put(content, path)
        assert fileio.get(path) == content
    assert os.listdir(tmp_path / "new folder") == ["a.bin"]


def test_a_failure_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, failing):
    (tmp_path / "a.bin").write_bytes(b"old and whole")
    with pytest.raises(OSError):
        fileio.put(b"new", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == b"old and whole"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_failure_leaves_no_new_file(tmp_path, failing):
    with pytest.raises(OSError):
        fileio.put(b"new", str(tmp_path / "a.bin"))
    assert os.listdir(tmp_path) == []


def test_mmengines_checkpoints_are_written_atomically(tmp_path, failing):
    path = str(tmp_path / "epoch_1.pth")
    torch.save({"a": 1}, path)
    with pytest.raises(OSError):
        save_checkpoint({"a": 2}, path)
    assert torch.load(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["epoch_1.pth"]


def test_a_checkpoint_replaces_another(tmp_path):
    path = str(tmp_path / "epoch_1.pth")
    for number in (1, 2):
        save_checkpoint({"a": number}, path)
        assert torch.load(path) == {"a": number}


def test_a_link_is_followed_and_kept(tmp_path):
    real, link = tmp_path / "folder" / "real.bin", tmp_path / "link.bin"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    fileio.put(b"new", str(link))
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    real.unlink()
    fileio.put(b"newer", str(link))  # a dangling link
    assert real.read_bytes() == b"newer"


def test_an_existing_file_keeps_its_permissions_and_a_new_one_gets_the_default(tmp_path):
    old, new, usual = tmp_path / "old.bin", tmp_path / "new.bin", tmp_path / "usual.bin"
    old.touch()
    old.chmod(0o640)
    usual.touch()
    for path in (old, new):
        fileio.put(b"a", str(path))
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode == usual.stat().st_mode


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_written_directly(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fileio.put(b"through", str(pipe))
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_file_name_of_maximum_length(tmp_path):
    path = tmp_path / ("a" * 250 + ".pth")
    fileio.put(b"a", str(path))
    assert path.read_bytes() == b"a"
