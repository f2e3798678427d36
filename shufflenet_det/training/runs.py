"""Training and testing from a loaded config."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint

from ..carried_config import warning_of_differences
from ..data.check import check_run_data
from ..host import amp as host_amp
from ..host.checkpoints import load_from_local
from ..weights import redirect_load_from
from ..weights.fitting import require_fitting
from .fitting import require_channels, unwrapped_model
from .hooks import stops_at_signals
from .runner import build_runner, prints_in_log

# Visualizer backends of mmengine, by the package that each needs.
BACKENDS = {"tensorboard": "TensorboardVisBackend", "wandb": "WandbVisBackend"}


def train(
    cfg: Config,
    *,
    amp: bool = False,
    channels_last: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    backends: Sequence[str] = (),
    check: str = "quick",
) -> None:
    """Train a detector.

    Args:
        cfg: A config from :func:`load_run_config`.
        amp: Train in automatic mixed precision: float16 on a GPU, bfloat16 on the CPU.
        channels_last: Train with the hook :class:`~.hooks.ChannelsLast`.
        auto_scale_lr: Scale the learning rate from the config's base batch size to the actual one.
        resume: A checkpoint to resume from, or 'auto' for the newest one in the work folder.
        backends: Additional loggers of scalars: 'tensorboard', 'wandb'.
        check: The check of annotations and images before the first step: 'quick', 'full' (decodes
            every image) or 'off'.

    Raises:
        ValueError: The config has no base batch size for ``auto_scale_lr``; the data cannot be used
            for training; the neck expects other channels than the backbone outputs; BatchNorm gets
            a batch of one image.
        ImportError: A backend is not installed.
        RuntimeError: Another training runs in the work folder; a loss is not finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the message says how to resume.
    """
    if amp:
        host_amp.enable(cfg.optim_wrapper)
    if channels_last:
        cfg.custom_hooks = [*cfg.get("custom_hooks", ()), {"type": "shufflenet_det.ChannelsLast"}]
    if auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise ValueError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the config, but "
                f"{cfg.filename} has none"
            )
        cfg.auto_scale_lr.enable = True
    for backend in backends:
        if importlib.util.find_spec(backend) is None:
            raise ImportError(f"--{backend} needs {backend}: pip install {backend}")
        cfg.visualizer.setdefault("vis_backends", []).append({"type": BACKENDS[backend]})
    if check != "off" and _is_first():
        check_run_data(cfg, full=check == "full")
    with _locked(cfg.work_dir):
        _prepare_start(cfg, resume)
        runner = build_runner(cfg)
        require_channels(unwrapped_model(runner), cfg.model)
        if resume is not None and not cfg.resume:
            runner.logger.info(f"no checkpoint in {cfg.work_dir}: training starts from scratch")
        try:
            with prints_in_log(), stops_at_signals(runner):
                runner.train()
        except ValueError as error:
            if "Expected more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                "BatchNorm cannot train on a batch of one image: set train_dataloader.batch_size "
                "to 2 or more"
            ) from error


def test(
    cfg: Config, checkpoint: str, *, out: str | None = None, show_dir: str | None = None
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test split.

    Args:
        cfg: A config from :func:`load_run_config`.
        checkpoint: Path or URL of the checkpoint.
        out: Write the predictions to this ``.pkl`` file.
        show_dir: Write images with annotations and predictions side by side to this folder.

    Returns:
        The metrics by name, such as ``coco/bbox_mAP`` (0 to 1).

    Raises:
        ValueError: ``out`` does not end in .pkl or .pickle; the checkpoint does not fit the model,
            or has weights that are not finite.
        OSError: The checkpoint does not exist, or ``out`` cannot be written.
    """
    if out is not None:
        if not out.endswith((".pkl", ".pickle")):
            raise ValueError(f"--out {out!r}: must end in .pkl or .pickle")
        with open(out, "ab"):  # fails before the evaluation, not after it
            pass
        if not os.path.getsize(out):
            os.remove(out)
    cfg.load_from = checkpoint
    if show_dir is not None:
        # Absolute, because mmdet puts a relative path under the work folder and the time stamp.
        cfg.default_hooks.setdefault("visualization", {"type": "DetVisualizationHook"})
        cfg.default_hooks.visualization.merge(
            {"draw": True, "test_out_dir": os.path.abspath(show_dir)}
        )
    runner = build_runner(cfg)
    require_channels(unwrapped_model(runner), cfg.model)
    runner.register_hook(_FittingHook(checkpoint), priority="HIGHEST")
    runner.register_hook(_OptimizeHook(), priority="LOWEST")  # after averaged weights are set
    if out is not None:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
    with prints_in_log():
        return runner.test()


class _FittingHook(Hook):
    """Checks that a checkpoint fits; mmengine would load only the matching part."""

    def __init__(self, name: str) -> None:
        self.name = name

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        classes = getattr(runner.test_dataloader.dataset, "metainfo", {}).get("classes", ())
        require_fitting(unwrapped_model(runner), checkpoint, self.name, classes)
        meta = checkpoint.get("meta") or {}
        if warning := warning_of_differences(runner.cfg.model, meta, self.name):
            runner.logger.warning(warning)


class _OptimizeHook(Hook):
    """Tests a faster copy of the model."""

    def before_test_epoch(self, runner: Runner) -> None:
        if not is_model_wrapper(runner.model):
            from ..deploy.optimization import optimize  # deploy is a layer above this one

            runner.model = optimize(runner.model)


def _prepare_start(cfg: Config, resume: str | None) -> None:
    """Set the initial weights, and the seed of a resumed run."""
    if resume is None:
        if not cfg.get("resume"):
            redirect_load_from(cfg)
        return
    checkpoint = find_latest_checkpoint(cfg.work_dir) if resume == "auto" else resume
    cfg.resume = checkpoint is not None
    cfg.load_from = checkpoint
    randomness = cfg.get("randomness") or {}
    if checkpoint is not None and randomness.get("seed") is None:
        # The sampler shuffles by the seed, so it is needed before the sampler is built.
        meta = load_from_local(checkpoint, "cpu").get("meta", {})
        cfg.randomness = {**randomness, "seed": meta.get("seed")}


def _is_first() -> bool:
    """Whether this is the first process of a run; works before the processes are connected."""
    return not any(int(os.environ.get(name) or 0) for name in ("RANK", "SLURM_PROCID"))


@contextlib.contextmanager
def _locked(work_dir: str) -> Iterator[None]:
    """Lock a work folder against a second training."""
    if not _is_first():
        yield  # the first process holds the lock for all processes
        return
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(work_dir, ".lock"), timeout=0):
            yield
    except Timeout:
        raise RuntimeError(
            f"another training runs in {work_dir!r}: wait for it, or choose another --work-dir"
        ) from None
