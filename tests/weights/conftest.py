"""Fixtures of this folder."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from published_networks import image

from shufflenet_det.weights import load_pretrained

IMAGE = image()


@pytest.fixture
def warnings(caplog):
    """The warnings so far, as ``warnings()``."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # an earlier test may have changed it
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)


@pytest.fixture
def save(tmp_path):
    """Save a state_dict, or the one of a tape; returns the path."""

    def to_file(state, name="weights.pth"):
        torch.save(getattr(state, "state", state), tmp_path / name)
        return str(tmp_path / name)

    return to_file


@pytest.fixture
def features():
    """The feature maps of a backbone with the weights of a file."""

    def of(backbone, path, x=IMAGE):
        backbone = backbone.to(x.dtype)
        load_pretrained(backbone, path)
        with torch.no_grad():
            return backbone.eval()(x)

    return of
