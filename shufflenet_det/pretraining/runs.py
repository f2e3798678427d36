"""Pretraining and evaluation from a config, for the command ``pretrain``."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size, init_dist, is_distributed
from torchvision import datasets

from ..backbones.base import NETWORKS
from ..data import make_demo_classes
from ..data.synthetic import CLASS_SIDE, SHAPES
from ..training import build_runner, load_run_config, train
from ..training.fitting import unwrapped_model
from ..weights import needed_arguments, read_weights
from ..weights.recognition import Weights

DEMO_EPOCHS = 24
DEMO_CROP = 64  # side in pixels
DEMO_AREA = (0.6, 1.0)  # of the image in a training crop; smaller crops would cut the shapes


def load_pretrain_config(
    path: str,
    *,
    cfg_options: dict[str, Any] | None = None,
    data_root: str | None = None,
    batch_size: int | None = None,
    work_dir: str | None = None,
    launcher: str = "none",
    demo: bool = False,
) -> Config:
    """Load a config of ``configs/pretrain`` and prepare it for a run.

    Args:
        path: A config file, or the name of a shipped config.
        cfg_options, work_dir, launcher: See :func:`.training.load_run_config`.
        data_root: A folder in ImageNet's layout; None: the config's.
        batch_size: Images of a training step over all processes; None: each process takes the
            config's batch size.
        demo: Train for minutes on ten synthetic classes, which are generated on first use.

    Raises:
        OSError: The config does not exist.
        ValueError: The config or an option does not fit.
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
    return cfg


def pretrain(
    cfg: Config, *, amp: bool = False, ema: bool = False, resume: str | None = None
) -> None:
    """Train a classifier.

    Args:
        cfg: A config from :func:`load_pretrain_config`.
        amp, resume: See :func:`.training.train`.
        ema: Keep an exponential moving average of weights and running statistics. Validation uses
            the average, and a checkpoint gives it to a detector.

    Raises:
        FileNotFoundError: A folder of images does not exist.
        ValueError: The classes of the folders do not fit the config.
    """
    _check_folders(cfg, "train", "val")
    if ema:
        average = {"type": "EMAHook", "ema_type": "ExpMomentumEMA", "update_buffers": True}
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), average]
    train(cfg, amp=amp, resume=resume)


def evaluate(cfg: Config, checkpoint: str) -> dict[str, float]:
    """Evaluate a checkpoint on the validation images: ``accuracy/top1`` and ``accuracy/top5`` in %.

    Args:
        cfg: A config from :func:`load_pretrain_config`. Network, classifier and preprocessing are
            replaced by those of the checkpoint.
        checkpoint: A published ShuffleNet classifier, or a checkpoint of :func:`pretrain`.

    Raises:
        FileNotFoundError: The checkpoint or the folder of images does not exist.
        ValueError: The checkpoint has no classifier, or tensors of the backbone are missing or left
            over; the classes of the folder do not fit the checkpoint.
    """
    weights = read_weights(checkpoint)
    if "weight" not in weights.classifier:
        raise ValueError(f"{checkpoint!r} has no classifier, so it has no accuracy")
    cfg.model = model_of(weights, cfg.model)
    _check_folders(cfg, "val")
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = {"type": "TestLoop"}
    runner = build_runner(cfg)
    model = unwrapped_model(runner)
    model.backbone.init_weights()
    model.head.fc.load_state_dict(weights.classifier)
    return runner.test()


def model_of(weights: Weights, model: Config) -> dict[str, Any]:
    """The config of the classifier in a checkpoint.

    ``model`` is the config of another classifier; its preprocessing is used if the checkpoint does
    not record one.
    """
    images = weights.images.data_preprocessor() if weights.images else {}
    return {
        "type": model.type,
        "num_classes": weights.classifier["weight"].shape[0],
        "bias": "bias" in weights.classifier,
        "data_preprocessor": {**model.data_preprocessor, **images},
        "backbone": {
            "type": f"shufflenet_det.{weights.network}",
            **needed_arguments(weights),
            "out_indices": (NETWORKS[weights.network].LAST_LEVEL,),
            "init_cfg": {"type": "Pretrained", "checkpoint": weights.name},
        },
    }


def _check_folders(cfg: Config, *splits: str) -> None:
    """Check that the image folders exist and have the classifier's number of classes, the same."""
    roots = [cfg[f"{split}_dataloader"].dataset.root for split in splits]
    for root in roots:
        if not Path(root).is_dir():
            raise FileNotFoundError(
                f"folder of images {root!r} not found. Give a folder in ImageNet's layout, "
                "ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, with `--data-root ROOT`; "
                "`--demo` runs the same config on small synthetic data"
            )
    first, *others = [datasets.ImageFolder(root) for root in roots]
    for other in others:
        if differing := set(first.classes) ^ set(other.classes):
            raise ValueError(
                f"{first.root!r} and {other.root!r} must have the same classes, but only one of "
                f"them has {min(differing)!r}"
            )
    if len(first.classes) != cfg.model.num_classes:
        raise ValueError(
            f"{first.root!r} has {len(first.classes)} classes, but the classifier has "
            f"{cfg.model.num_classes}: set --cfg-options model.num_classes={len(first.classes)}"
        )
    step = cfg.train_dataloader.batch_size * get_world_size()
    if "train" in splits and len(first) < step:
        raise ValueError(
            f"{first.root!r} has {len(first)} images, but a step takes {step}: lower --batch-size"
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


def _use_demo_classes(cfg: Config) -> None:
    """Point a config at the synthetic classes, and shorten the training.

    Network and recipe do not change; the learning rate follows the smaller batch.
    """
    cfg.data_root = str(make_demo_classes("data/demo_classes"))
    cfg.model.num_classes = len(SHAPES)
    for split, side in (("train", DEMO_CROP), ("val", CLASS_SIDE)):
        loader = cfg[f"{split}_dataloader"]
        loader.merge({"batch_size": 32, "num_workers": 1})
        loader.dataset.root = f"{cfg.data_root}/{split}"
        for step in loader.dataset.pipeline:
            if "size" in step:
                step.size = DEMO_CROP if step.type.endswith("Crop") else side
            if "scale" in step:
                step.scale = DEMO_AREA
    cfg.train_cfg.merge({"max_epochs": DEMO_EPOCHS, "val_interval": DEMO_EPOCHS // 6})
    cfg.param_scheduler = [{**cfg.param_scheduler[0], "end": DEMO_EPOCHS}]
    cfg.default_hooks.logger.interval = 10
