"""What several tests of this folder use."""

import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def warnings(caplog):
    """The warnings so far, as ``warnings()``."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # whatever an earlier test has set
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
