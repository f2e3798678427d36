"""The Runner of mmengine with shorter logs, exact resume and a clean stop.

These changes need no config entries, so the same configs also run with mmdet's own tools.
"""

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from . import hooks
from .seeds import SeededBatches, SeededDataset

_PACKAGE = __name__.partition(".")[0]
# Warnings of mmengine about its own calls and settings, which appear in every run.
_ABOUT_ITSELF = ('"FileClient" will be', '"HardDiskBackend" is')
_IN_EVERY_RUN = (
    "Setting (OMP|MKL)_NUM_THREADS",
    "The model you provided seems to be",  # broadcast_buffers of a distributed run
    "Detected call of `scheduler.step",  # after an interruption at the end of an epoch
)

_runs = itertools.count()  # in this process


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, with the hooks of this package.

    Args:
        cfg: A config from :func:`~shufflenet_det.training.load_run_config`. If it sets
            ``runner_type``, that Runner is used, with the hooks only.
    """
    if "visualizer" in cfg:
        # With the name of an earlier run, mmengine would write into the folder of that run.
        cfg.visualizer.name = f"visualizer_{next(_runs)}"
    with _known_warnings():
        runner = RUNNERS.build(cfg) if "runner_type" in cfg else _Runner.from_cfg(cfg)
    for hook in hooks.standard_hooks():
        runner.register_hook(hook)
    return runner


@contextlib.contextmanager
def prints_in_log() -> Iterator[None]:
    """Redirect the output of libraries such as pycocotools to the log file of the run."""
    with contextlib.redirect_stdout(_LogFile()), _known_warnings():
        yield


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _IN_EVERY_RUN:
            warnings.filterwarnings("ignore", message)
        yield


class _LogFile(io.TextIOBase):
    def write(self, text: str) -> int:
        if text.strip():
            logger = MMLogger.get_current_instance()
            record = logger.makeRecord(logger.name, logging.INFO, "", 0, text.strip(), (), None)
            for handler in logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(record)
        return len(text)


class _Runner(Runner):
    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As in mmengine, but the console shows only messages for users."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _reraise  # type: ignore[method-assign]  # e.g. disk full
            else:
                handler.addFilter(_is_for_users)
                handler.setFormatter(_Plain())
        return logger

    def build_dataloader(  # type: ignore[override]
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """As in mmengine, but a training sample depends only on the seed and its position."""
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if dataloader is self._train_dataloader and loader.batch_sampler is not None:
            _drop_single_image(loader, self.model)
            if not len(loader):
                raise ValueError(
                    f"train_dataloader.batch_size={loader.batch_sampler.batch_size} is larger than "
                    f"the {len(loader.dataset)} training images: lower it"
                )
            batches = SeededBatches(loader.batch_sampler, len(loader.dataset), self)
            # DataLoader has no way to replace these attributes, or to be built with wrapped ones.
            vars(loader).update(batch_sampler=batches, dataset=SeededDataset(loader.dataset))
        return loader

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; warns if the checkpoint's learning rate replaces the config's."""
        wanted = _learning_rates(self)
        super().resume(filename, *args, **kwargs)
        resumed = _learning_rates(self)
        if wanted != resumed:
            self.logger.warning(
                f"this run resumes with the learning rate of {filename}, {_rates(resumed)}; "
                f"the config's {_rates(wanted)} is not used. To use it, start a new training "
                "with load_from instead of --resume"
            )


def _drop_single_image(loader: DataLoader, model: torch.nn.Module) -> None:
    """Drop a last batch of one image: BatchNorm has no statistics for a single value."""
    model.train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    batches: Any = loader.batch_sampler
    sampler, size = batches.sampler, batches.batch_size
    images = len(sampler)
    endless = isinstance(sampler, InfiniteSampler)
    if not norms or batches.drop_last or endless or images % size != 1 % size:
        return
    logger = MMLogger.get_current_instance()
    if size == 1 or images == 1:
        logger.warning(
            f"{'train_dataloader.batch_size=1' if size == 1 else 'a training set of one image'}: "
            "BatchNorm learns from the statistics of one image, and fails on maps of one pixel"
        )
        return
    batches.drop_last = True
    logger.info(f"each epoch drops the last of {images} images: BatchNorm needs two per batch")


def _learning_rates(runner: Runner) -> list[float]:
    groups = runner.optim_wrapper.optimizer.param_groups
    return sorted({float(group.get("initial_lr", group["lr"])) for group in groups})


def _rates(rates: list[float]) -> str:
    return f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{name}{record.getMessage().strip()}"


def _is_for_users(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        return not record.getMessage().startswith(_ABOUT_ITSELF)
    path = record.pathname.replace("\\", "/")
    if record.module == "logger_hook":
        return not record.getMessage().startswith("Exp name")
    return f"/{_PACKAGE}/" in path


def _reraise(record: logging.LogRecord) -> NoReturn:
    raise  # called where the error is handled
