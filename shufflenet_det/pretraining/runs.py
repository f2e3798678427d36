"""Pretraining and evaluation from a config: what the command ``pretrain`` calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size, init_dist, is_distributed
from torchvision import datasets

from ..backbones.base import NETWORKS
from ..data import make_demo_classes
from ..data.synthetic import CLASS_SIDE, SHAPES
from ..training import build_runner, load_run_config, train
from ..training.fitting import bare_model
from ..weights import needed_arguments, read_weights

DEMO_ROOT = "data/demo_classes"
DEMO_EPOCHS = 24
DEMO_BATCH = 32
DEMO_CROP = 64  # pixels of a side
DEMO_AREA = (0.6, 1.0)  # of the image, in a training crop: a shape cut in half is none


def load_pretrain_config(
    path: str,
    *,
    cfg_options: dict[str, Any] | None = None,
    data_root: str | None = None,
    batch_size: int | None = None,
    work_dir: str | None = None,
    launcher: str = "none",
    demo: bool = False,
    weights: str | None = None,
) -> Config:
    """Read a config of ``configs/pretrain`` and fit it to a run.

    Args:
        path: The config's file.
        cfg_options, work_dir, launcher: As :func:`.training.load_run_config` takes them.
        data_root: A folder as ImageNet's; None is the config's.
        batch_size: Images of a training step in all processes together; None: the config's images
            of a process in each.
        demo: Run for minutes on ten synthetic classes, generated on first use.
        weights: A checkpoint for :func:`evaluate`: the model becomes the one that it was trained
            in, with its classifier and its images.

    Raises:
        OSError, ValueError: Config, folders, batch or weights are missing or do not fit together.
    """
    options = dict(cfg_options or {})
    root = {"data_root": data_root} if data_root is not None else {}
    work_dir = work_dir or (f"work_dirs/{Path(path).stem}_demo" if demo else None)
    cfg = load_run_config(
        path, cfg_options={**options, **root}, work_dir=work_dir, launcher=launcher, splits=()
    )
    if not str(cfg.get("model", {}).get("type")).endswith("ImageClassifier"):
        raise ValueError(f"{path!r} trains no ImageClassifier: see configs/pretrain")
    if demo:
        _use_demo_classes(cfg)
        cfg.merge_from_dict(options)
    if batch_size is not None:
        if "train_dataloader.batch_size" in options:
            raise ValueError("--batch-size and train_dataloader.batch_size=… cannot be combined")
        cfg.train_dataloader.batch_size = _images_per_process(cfg, batch_size)
    if weights is not None:
        _use_weights(cfg, weights)
    splits = ("val",) if weights is not None else ("train", "val")
    _check_folders([cfg[f"{split}_dataloader"].dataset.root for split in splits], cfg)
    return cfg


def pretrain(
    cfg: Config, *, amp: bool = False, ema: bool = False, resume: str | None = None
) -> None:
    """Train a classifier; ``amp`` and ``resume`` are those of :func:`.training.train`.

    With ``ema``, an exponential moving average of weights and running statistics is what is
    validated and what a checkpoint gives to a detector.
    """
    if ema:
        average = {"type": "EMAHook", "ema_type": "ExpMomentumEMA", "update_buffers": True}
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), average]
    train(cfg, amp=amp, resume=resume)


def evaluate(cfg: Config) -> dict[str, float]:
    """The ``accuracy/top1`` and ``accuracy/top5`` of the config's weights on ``val``, in %.

    Raises:
        ValueError: Tensors of the backbone are missing or left over.
    """
    runner = build_runner(cfg)
    model = bare_model(runner)
    model.backbone.init_weights()
    checkpoint = cfg.model.backbone.init_cfg.checkpoint
    model.head.fc.load_state_dict(read_weights(checkpoint).classifier)
    return runner.test()


def _check_folders(roots: Sequence[str], cfg: Config) -> None:
    """Raise unless folders hold the classifier's number of classes, the same in each."""
    for root in roots:
        if not Path(root).is_dir():
            raise FileNotFoundError(
                f"The images are not there: looked for {root!r}. Give a folder in "
                "ImageNet's layout, ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, with "
                "`--data-root ROOT`; `--demo` runs the same config on small synthetic data."
            )
    first, *others = found = [datasets.ImageFolder(root) for root in roots]
    for other in others:
        if differing := set(first.classes) ^ set(other.classes):
            raise ValueError(
                f"{roots[0]!r} and {roots[1]!r} must have the same classes, and "
                f"{min(differing)!r} is in one alone"
            )
    if len(first.classes) != cfg.model.num_classes:
        raise ValueError(
            f"{roots[0]!r} has {len(first.classes)} classes, and the classifier "
            f"{cfg.model.num_classes}: set --cfg-options model.num_classes={len(first.classes)}"
        )
    step = cfg.train_dataloader.batch_size * get_world_size()
    if len(found) > 1 and len(first) < step:
        raise ValueError(
            f"{roots[0]!r} has {len(first)} images, and a step takes {step}: give --batch-size"
        )


def _images_per_process(cfg: Config, batch_size: int) -> int:
    if cfg.launcher != "none" and not is_distributed():
        init_dist(cfg.launcher, **cfg.env_cfg.get("dist_cfg", {}))
    processes = get_world_size()
    if batch_size < 1 or batch_size % processes:
        raise ValueError(
            f"--batch-size {batch_size}: must be a positive multiple of the {processes} processes"
        )
    return batch_size // processes


def _use_weights(cfg: Config, checkpoint: str) -> None:
    """Let the model be the one that a checkpoint was trained in."""
    weights = read_weights(checkpoint)
    if "weight" not in weights.classifier:
        raise ValueError(f"{checkpoint!r} has no classifier, so it has no accuracy")
    old = cfg.model
    cfg.model = {
        "type": old.type,
        "num_classes": weights.classifier["weight"].shape[0],
        "bias": "bias" in weights.classifier,
        "data_preprocessor": old.data_preprocessor,
        "backbone": {
            "type": f"shufflenet_det.{weights.network}",
            **needed_arguments(weights),
            "out_indices": (NETWORKS[weights.network].LAST_LEVEL,),
            "init_cfg": {"type": "Pretrained", "checkpoint": checkpoint},
        },
    }
    if weights.images is not None:
        cfg.model.data_preprocessor.update(weights.images.data_preprocessor())
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = {"type": "TestLoop"}


def _use_demo_classes(cfg: Config) -> None:
    """Point a config at the synthetic classes and shorten its schedule.

    The network and the recipe stay; the learning rate follows the smaller batch.
    """
    cfg.data_root = str(make_demo_classes(DEMO_ROOT))
    cfg.model.num_classes = len(SHAPES)
    for split, side in (("train", DEMO_CROP), ("val", CLASS_SIDE)):
        loader = cfg[f"{split}_dataloader"]
        loader.merge({"batch_size": DEMO_BATCH, "num_workers": 1})
        loader.dataset.root = f"{cfg.data_root}/{split}"
        for step in loader.dataset.pipeline:
            if "size" in step:
                step.size = DEMO_CROP if step.type.endswith("Crop") else side
            if "scale" in step:
                step.scale = DEMO_AREA
    cfg.train_cfg.merge({"max_epochs": DEMO_EPOCHS, "val_interval": DEMO_EPOCHS // 6})
    cfg.param_scheduler = [{**cfg.param_scheduler[0], "end": DEMO_EPOCHS}]
    cfg.default_hooks.logger.interval = 10
