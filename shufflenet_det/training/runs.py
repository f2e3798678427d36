"""Training and testing from a config that was fitted to a run."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..host import amp as host_amp
from ..weights import redirect_load_from


def train(
    cfg: Config, *, amp: bool = False, auto_scale_lr: bool = False, resume: str | None = None
) -> None:
    """Train a detector.

    Args:
        cfg: A config from :func:`load_run_config`.
        amp: Train in automatic mixed precision: float16 on a GPU, bfloat16 on the CPU.
        auto_scale_lr: Scale the learning rate from the config's base batch size to the actual.
        resume: A checkpoint to go on from, or 'auto' for the newest in the work folder.

    Raises:
        ValueError: ``auto_scale_lr`` is asked for and the config states no base batch size.
    """
    if amp:
        host_amp.enable(cfg.optim_wrapper)
    if auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise ValueError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) "
                f"in the config, and {cfg.filename} has none"
            )
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == "auto" else resume
    if not cfg.get("resume"):
        redirect_load_from(cfg)
    _runner(cfg).train()


def test(
    cfg: Config, checkpoint: str, *, out: str | None = None, show_dir: str | None = None
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test split.

    Args:
        cfg: A config from :func:`load_run_config`.
        checkpoint: Path or URL of the checkpoint.
        out: A ``.pkl`` file for the predictions.
        show_dir: A folder for pictures with annotations and predictions side by side.

    Returns:
        The metrics, by names such as ``coco/bbox_mAP``, which goes from 0 to 1.

    Raises:
        ValueError: ``out`` does not end in .pkl or .pickle.
    """
    if out is not None and not out.endswith((".pkl", ".pickle")):
        raise ValueError(f"--out {out!r}: must end in .pkl or .pickle")
    cfg.load_from = checkpoint
    if show_dir is not None:
        # An absolute path: mmdet joins a relative one to the work folder and the time.
        cfg.default_hooks.setdefault("visualization", {"type": "DetVisualizationHook"})
        cfg.default_hooks.visualization.merge(
            {"draw": True, "test_out_dir": os.path.abspath(show_dir)}
        )
    runner = _runner(cfg)
    if out is not None:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
    return runner.test()


def draw(
    cfg: Config,
    checkpoint: str,
    inputs: str,
    out_dir: str,
    *,
    score_threshold: float = 0.3,
    device: str | None = None,
) -> None:
    """Detect on pictures and draw the boxes.

    Args:
        cfg: A config from :func:`load_run_config`.
        checkpoint: Path or URL of the checkpoint.
        inputs: A picture or a folder of pictures.
        out_dir: Pictures go to its ``vis``, predictions as JSON to its ``preds``.
        score_threshold: Boxes with lower scores are not drawn, 0 to 1.
        device: Such as 'cpu' or 'cuda:0'; None takes what there is.

    Raises:
        FileNotFoundError: The picture or the folder is not there.
    """
    if not Path(inputs).exists():
        raise FileNotFoundError(f"picture or folder {inputs!r} not found")
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(cfg, checkpoint, device=device)
    inferencer(inputs, out_dir=out_dir, pred_score_thr=score_threshold, no_save_pred=False)


def _runner(cfg: Config) -> Runner:
    if "runner_type" in cfg:
        from mmengine.registry import RUNNERS

        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)
