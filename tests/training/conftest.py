"""A detector that trains in seconds."""

import pytest
from tiny_ssdlite import SSDLITE, TINY

from shufflenet_det.training import load_run_config, train


@pytest.fixture(scope="session")
def tiny(demo_data):
    """``tiny(work_dir, {key: value})``: the config of a run of two epochs of three steps."""

    def load(work_dir, options=(), splits=("train", "val")):
        options = {"data_root": str(demo_data), **TINY, **dict(options)}
        return load_run_config(SSDLITE, cfg_options=options, work_dir=str(work_dir), splits=splits)

    return load


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """The work folder of an uninterrupted training."""
    work_dir = tmp_path_factory.mktemp("trained")
    train(tiny(work_dir))
    return work_dir
