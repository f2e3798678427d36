"""Hooks of every run: checks, interruption, logs."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from ..host.local_files import atomic_write
from ..version import __version__
from ..weights.fitting import not_finite
from . import curves
from .fitting import bases_of, schedule_problems, unwrapped_model
from .seeds import SeedHook


class TrainingStoppedError(RuntimeError):
    """A training cannot continue; the message names the cause and the last good checkpoint."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped a training; the message says how to resume it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


def standard_hooks() -> list[Hook]:
    """The hooks that :func:`~shufflenet_det.training.runner.build_runner` registers."""
    return [FiniteHook(), SeedHook(), SummaryHook(), CurvesHook(), InterruptHook()]


class ChannelsLast(Hook):
    """Trains in channels-last memory format, which makes convolutions faster on a CPU.

    Results and checkpoints are the same up to rounding.
    """

    def before_train(self, runner: Runner) -> None:
        """Change the format of the weights; the feature maps follow it."""
        runner.model.to(memory_format=torch.channels_last)


class FiniteHook(Hook):
    """Stops at the first loss that is not finite, and never saves weights that are not finite."""

    priority = "HIGHEST"  # before anything is logged or saved

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check the sum of the losses."""
        losses = {k: v for k, v in (outputs or {}).items() if isinstance(v, torch.Tensor)}
        if "loss" not in losses or torch.isfinite(losses["loss"]).all():
            return
        bad = [k for k, v in losses.items() if k != "loss" and not torch.isfinite(v).all()]
        samples = data_batch.get("data_samples", ()) if isinstance(data_batch, dict) else ()
        paths = [str(s.img_path) for s in samples if hasattr(s, "img_path")]
        raise TrainingStoppedError(
            f"{' and '.join(bad or ['loss'])} not finite at iteration {runner.iter + 1} "
            f"(epoch {runner.epoch + 1}), images: {', '.join(paths) or 'unknown'}. "
            f"{_kept_file(runner)}. Check these images and their boxes. If they are correct, "
            "lower optim_wrapper.optimizer.lr or set optim_wrapper.clip_grad"
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Stop if weights are not finite, which can happen even when the loss is finite."""
        bad = not_finite(checkpoint["state_dict"])
        if bad:
            raise TrainingStoppedError(
                f"weights not finite after iteration {runner.iter}: {_summary(bad)}. They were not "
                f"saved. {_kept_file(runner)}. Lower optim_wrapper.optimizer.lr"
            )


def _summary(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _kept_file(runner: Runner) -> str:
    newest = find_latest_checkpoint(runner.work_dir)
    return f"The last good checkpoint is {newest}" if newest else "No checkpoint was written"


class InterruptHook(Hook):
    """Saves a checkpoint after Ctrl-C or SIGTERM, when the current step has finished."""

    priority = "LOWEST"  # after the schedulers and the logs

    def __init__(self) -> None:
        self.number: int | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save a checkpoint and stop, if a signal came."""
        if self.number is None:
            return
        name = f"iter_{runner.iter + 1}.pth"
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        if is_main_process():
            with atomic_write(Path(runner.work_dir, "last_checkpoint")) as partial:
                partial.write_text(str(Path(runner.work_dir, name)))
        self._stop(f"saved {Path(runner.work_dir, name)}")

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop, if a signal came. The validated weights have been saved before."""
        if self.number is not None:
            self._stop(_kept_file(runner).replace("The last good", "the newest"))

    def _stop(self, kept: str) -> None:
        number, self.number = self.number, None
        raise Interrupted(
            f"interrupted; {kept}; to continue, add --resume to the same command", number or 0
        )


@contextlib.contextmanager
def stops_at_signals(runner: Runner) -> Iterator[None]:
    """Stop a training after the current step on Ctrl-C or SIGTERM; at once on a second signal."""
    hook = next(hook for hook in runner.hooks if isinstance(hook, InterruptHook))

    def note(number: int, frame: FrameType | None) -> None:
        if hook.number is not None:
            kept = _kept_file(runner)
            raise Interrupted(f"interrupted. {kept}; add --resume to continue", number)
        hook.number = number
        runner.logger.warning("stopping after this step; press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class CurvesHook(Hook):
    """Plots losses and metrics into ``curves.png`` in the work folder."""

    priority = "LOWEST"
    next_plot = 0.0  # time.monotonic()

    def after_train_epoch(self, runner: Runner) -> None:
        """Plot, unless plots would take more than 0.5 % of the training time."""
        started = time.monotonic()
        if is_main_process() and started >= self.next_plot:
            curves.draw(runner.work_dir)
            now = time.monotonic()
            self.next_plot = now + (now - started) / 0.005

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Plot, as after a training epoch."""
        self.after_train_epoch(runner)

    def after_train(self, runner: Runner) -> None:
        """Plot the whole training."""
        if is_main_process() and (path := curves.draw(runner.work_dir)):
            runner.logger.info(f"curves     {path}")


class SummaryHook(Hook):
    """Logs a short summary at the start and at the end of a training."""

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        """Log versions, model, data and schedule."""
        say, loop = runner.logger.info, runner.train_loop
        model = unwrapped_model(runner)
        device = next(model.parameters()).device
        packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "mmdet"))
        say(f"versions   shufflenet_det {__version__}, {packages}, on {_device(device)}")
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        weights = _initial_weights(runner)
        say(f"model      {type(model).__name__}, {millions:.1f} M parameters; {weights}")
        loader = loop.dataloader
        classes = getattr(loader.dataset, "metainfo", {}).get("classes", ())
        size = loader.batch_sampler.batch_size * get_world_size()
        validated = len(runner.val_dataloader.dataset) if runner.val_loop else 0
        say(
            f"data       {len(loader.dataset):,} training images of {len(classes)} classes, "
            f"batch size {size}; {validated:,} validation images"
        )
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        steps = (
            f"{loop.max_epochs} epochs of {len(loader):,}" if by_epoch else f"{loop.max_iters:,}"
        )
        say(f"schedule   {steps} steps; logs and checkpoints in {runner.work_dir}")
        if runner.iter:
            left = "" if runner.iter < loop.max_iters else ": the training is already complete"
            say(f"resumes    after step {runner.iter:,} of {loop.max_iters:,}{left}")
        for message in schedule_problems(runner.cfg, loop.max_iters):
            runner.logger.warning(message)

    def after_train(self, runner: Runner) -> None:
        """Log the best checkpoint, the newest one, and the command to test."""
        if not is_main_process():
            return
        say = runner.logger.info
        best = runner.message_hub.get_info("best_ckpt", None)
        score = runner.message_hub.get_info("best_score", None)
        newest = find_latest_checkpoint(runner.work_dir)
        if best and score is not None:
            say(f"best       {_score_name(runner)} {score:.4f}: {best}")
        if newest:
            say(f"newest     {newest}")
        checkpoint = best or newest
        if checkpoint and runner.cfg.get("test_dataloader"):
            config = Path(runner.work_dir, Path(runner.cfg.filename or "config.py").name)
            say(f"next       shufflenet-det test {config} {checkpoint}")


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _initial_weights(runner: Runner) -> str:
    """Describe the initial weights."""
    if runner.iter:
        return "all weights resumed"
    if runner._load_from:
        return f"weights of {runner._load_from}"
    cfg = runner.cfg
    if weights := _named_weights(cfg):
        whole = cfg.model.get("init_cfg")
        return f"weights of {weights}" if whole else f"{_backbone_name(cfg)} from {weights}"
    text = f"{_backbone_name(cfg)} from random weights"
    for base in bases_of(Path(cfg.filename)) if cfg.filename else ():
        if dropped := _named_weights(Config.fromfile(base)):
            return f"{text}; its base {base.name} starts from {dropped}"
    return text


def _backbone_name(cfg: Config) -> str:
    return str((cfg.model.get("backbone") or {}).get("type")).rpartition(".")[2]


def _named_weights(cfg: Config) -> str | None:
    """The pretrained weights of a config's detector or backbone: a file, URL or known name."""
    model = cfg.get("model") or {}
    for part in (model, model.get("backbone") or {}):
        inits: Any = part.get("init_cfg") or []
        for init in [inits] if isinstance(inits, dict) else inits:
            if init.get("checkpoint"):
                return str(init["checkpoint"])
    return None


def _score_name(runner: Runner) -> str:
    for hook in runner.hooks:
        if indicators := getattr(hook, "key_indicators", None):
            return str(indicators[0])
    return "score"
