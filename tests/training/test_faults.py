"""Faults of the machine while a detector trains: what stays, and what the user reads."""

import os
import resource
import shutil
import signal
import zipfile

import pytest
from mmdet.registry import TRANSFORMS
from mmengine.hooks import Hook
from torch.utils.data import get_worker_info

from shufflenet_det.cli._mistakes import sentence
from shufflenet_det.training import hooks, train

STEPS = 3  # of an epoch of the tiny training


class Fault(Hook):
    """Calls a function before a step of the second epoch, when one checkpoint is written."""

    def __init__(self, function):
        self.function = function

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == STEPS + 1:
            self.function()


@pytest.fixture
def fault(monkeypatch):
    usual = hooks.of_every_run

    def at_second_epoch(function):
        monkeypatch.setattr(hooks, "of_every_run", lambda: [*usual(), Fault(function)])

    return at_second_epoch


def what_is_said(cfg):
    """The sentence of the error that ends a training."""
    with pytest.raises(Exception) as ended:
        train(cfg)
    return sentence(ended.value) or pytest.fail(f"a traceback, of {ended.value!r}")


def require_whole(work_dir, checkpoint="epoch_1.pth"):
    """One whole checkpoint stays and is the one to resume; no part of another lies about."""
    assert hooks.find_latest_checkpoint(str(work_dir)) == str(work_dir / checkpoint)
    assert zipfile.ZipFile(work_dir / checkpoint).testzip() is None
    assert not [path for path in work_dir.rglob("*") if path.suffix == ".part"]
    assert not (work_dir / "epoch_2.pth").exists()


@pytest.mark.parametrize("kept", [1, 3])
def test_no_space_for_a_checkpoint_leaves_the_one_before(tiny, fault, tmp_path, monkeypatch, kept):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    fault(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard)))
    try:
        said = what_is_said(tiny(tmp_path, {"default_hooks.checkpoint.max_keep_ckpts": kept}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in said and "epoch_2.pth" in said and "\n" not in said
    require_whole(tmp_path)
    monkeypatch.undo()
    train(tiny(tmp_path), resume="auto")
    assert (tmp_path / "epoch_2.pth").is_file()


def test_a_work_folder_that_vanishes_is_named(tiny, fault, tmp_path):
    work_dir = tmp_path / "run"
    fault(lambda: shutil.rmtree(work_dir))
    assert str(work_dir) in what_is_said(tiny(work_dir))


@TRANSFORMS.register_module()
class KillsItsWorker:
    """Kills the process that reads an image, once a file says so."""

    def __init__(self, when):
        self.when = when

    def __call__(self, sample):
        if os.path.exists(self.when) and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample


def test_a_killed_loader_process_is_reported_and_the_checkpoint_stays(tiny, tmp_path):
    work_dir = tmp_path / "run"
    cfg = tiny(work_dir, {"train_dataloader.num_workers": 1})
    # The worker of the second epoch: the first one's checkpoint is written by then.
    kills = {"type": "KillsItsWorker", "when": str(work_dir / "epoch_1.pth")}
    cfg.train_dataloader.dataset.dataset.pipeline.insert(1, kills)
    said = what_is_said(cfg)
    for part in ("a data-loading process ", "num_workers", "--resume"):
        assert part in said
    require_whole(work_dir)
