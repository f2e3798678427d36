"""Real faults during a training: the remaining files, and the message for the user."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from mmdet.registry import TRANSFORMS
from mmengine.hooks import Hook
from tiny_ssdlite import SSDLITE, TINY

from shufflenet_det.cli._mistakes import sentence
from shufflenet_det.host.checkpoints import load_from_local
from shufflenet_det.training import hooks, train

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]  # a private disk, without root
RUN_ON_DISK = """
disk="$0" size="$1"; shift
mount -t tmpfs -o size="$size" tmpfs "$disk" && "$@"
status=$?
cp "$disk"/* .  # the disk is gone with the namespace
exit $status
"""


def can_mount():
    return shutil.which("unshare") and not subprocess.call([*NAMESPACE, "true"], stderr=-3)


@pytest.mark.skipif(not can_mount(), reason="mounts a small disk, in a namespace of Linux")
def test_a_full_disk_keeps_the_last_checkpoint(trained, demo_data, tmp_path, root):
    disk, left = tmp_path / "disk", tmp_path / "left"
    disk.mkdir(), left.mkdir()
    size = (trained / "epoch_1.pth").stat().st_size * 3 // 2  # space for one checkpoint
    options = {**TINY, "data_root": demo_data, "default_hooks.checkpoint.save_best": None}
    command = [sys.executable, root / "tools/train.py", SSDLITE, "--work-dir", disk]
    command += ["--cfg-options", *(f"{k}={v}".replace(" ", "") for k, v in options.items())]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", RUN_ON_DISK, disk, str(size), *command],
        cwd=left,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "No space left on device: " in done.stderr and "epoch_2.pth" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in left.glob("*.pth")] == ["epoch_1.pth"]
    assert (left / "last_checkpoint").read_text() == "epoch_1.pth"
    assert load_from_local(left / "epoch_1.pth")["meta"]["iter"] == 3


class RemoveFolder(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        shutil.rmtree(runner.work_dir)


def test_a_work_folder_that_vanishes_is_named(tiny, tmp_path, monkeypatch):
    usual = hooks.standard_hooks
    monkeypatch.setattr(hooks, "standard_hooks", lambda: [*usual(), RemoveFolder()])
    with pytest.raises(OSError) as raised:
        train(tiny(tmp_path / "run"))
    assert str(tmp_path / "run") in sentence(raised.value)


class KillWorker:
    def __call__(self, results):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_loader_process_is_reported(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(TRANSFORMS._module_dict, "KillWorker", KillWorker)
    cfg = tiny(tmp_path, {"train_dataloader.num_workers": 1})
    cfg.train_dataloader.dataset.dataset.pipeline.append({"type": "KillWorker"})
    with pytest.raises(RuntimeError) as raised:
        train(cfg)
    message = sentence(raised.value)
    assert "a data-loading process" in message and "train_dataloader.num_workers" in message
