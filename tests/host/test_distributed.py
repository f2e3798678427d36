"""The settings for a launch without GPUs; the launch itself is in test_tools.py."""

import sys

import pytest
import torch
from mmengine.config import Config

from shufflenet_det.host import distributed


@pytest.fixture
def started(monkeypatch):
    """The requested process groups, which are not created."""
    groups = []
    monkeypatch.setattr(torch.distributed, "init_process_group", groups.append)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(groups))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return groups


def prepared(**kwargs):
    cfg = Config(kwargs)
    distributed.prepare(cfg)
    return cfg


def test_gloo_is_started_once(started):
    prepared(launcher="pytorch")
    prepared(launcher="pytorch")
    assert started == ["gloo"]


def test_the_wrapper_names_no_device(started):
    wrapper = prepared(launcher="pytorch").model_wrapper_cfg
    assert wrapper.type == "MMDistributedDataParallel"
    assert wrapper.device_ids is None
    assert wrapper.find_unused_parameters is False


def test_find_unused_parameters_is_kept(started):
    cfg = prepared(launcher="pytorch", find_unused_parameters=True)
    assert cfg.model_wrapper_cfg.find_unused_parameters is True


def test_a_users_wrapper_is_kept(started):
    own = {"type": "MMFullyShardedDataParallel"}
    assert prepared(launcher="pytorch", model_wrapper_cfg=own).model_wrapper_cfg == own


@pytest.mark.parametrize("launcher", ["none", "slurm", "mpi"])
def test_other_launchers_are_unchanged(started, launcher):
    assert prepared(launcher=launcher)._cfg_dict == {"launcher": launcher}
    assert started == []


def test_a_launch_with_gpus_is_unchanged(started, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert prepared(launcher="pytorch")._cfg_dict == {"launcher": "pytorch"}
    assert started == []


@pytest.mark.parametrize("error", [False, True])
def test_the_group_is_destroyed_at_exit_except_after_an_error(started, monkeypatch, error):
    at_exit, destroyed = [], []
    monkeypatch.setattr(distributed.atexit, "register", at_exit.append)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: destroyed.append(True))
    if error:
        monkeypatch.setattr(sys, "last_value", ValueError(), raising=False)
    else:
        monkeypatch.delattr(sys, "last_value", raising=False)
    prepared(launcher="pytorch")
    prepared(launcher="pytorch")
    (leave,) = at_exit
    leave()
    assert destroyed == ([] if error else [True])
