"""An mmdet detector in PyTorch, built from a config and a checkpoint: image in, boxes out.

It gives the results of :func:`mmdet.apis.init_detector` and
:func:`~mmdet.apis.inference_detector`, but builds no data set and rejects a checkpoint that does
not fit.
"""

import contextlib
import copy
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..carried_config import carried_config, require_registered, warning_of_differences
from ..host import environment
from ..weights import fit_data_preprocessor
from ..weights.files import open_checkpoint
from ..weights.fitting import require_fitting
from .sources import Array

_LOGGER = logging.getLogger("shufflenet_det")


class TorchModel:
    """A PyTorch detector.

    Args:
        config: A config or its path; the file is executed. None: the config in the checkpoint.
        checkpoint: Path or URL.
        device: Such as 'cpu' or 'cuda:0'. None: a GPU if available, otherwise the CPU.
        trust: Execute the config in the checkpoint as Python code.

    Attributes:
        classes: Names of the classes.

    Raises:
        RuntimeError: mmdet does not work in this environment.
        FileNotFoundError: The checkpoint does not exist.
        ValueError: The checkpoint does not fit the config, or its own config is missing or not
            plain data.
    """

    def __init__(
        self,
        config: Config | str | Path | None,
        checkpoint: str | Path,
        *,
        device: str | None = None,
        trust: bool = False,
    ) -> None:
        problem = environment.problem()
        if problem is not None:
            raise RuntimeError(problem)
        name = str(checkpoint)
        state, meta = _read(name)
        # mmengine needs the scope to find mmdet's modules.
        init_default_scope("mmdet")
        if config is None:
            cfg = _carried(meta, name, trust)
        else:
            cfg = config if isinstance(config, Config) else Config.fromfile(config)
            if "mean" not in (cfg.model.get("data_preprocessor") or {}):
                fit_data_preprocessor(cfg.model)  # from the backbone's published weights
            if warning := warning_of_differences(cfg.model, meta, name):
                _LOGGER.warning("%s", warning)
        self.classes: Sequence[str] = _classes(cfg, meta)
        self.model: Any = _build(cfg.model, device or get_device())
        _load(self.model, state, name, cfg, meta)
        self.cfg = cfg
        self._prepare = _pipeline(cfg)

    @functools.cached_property
    def _optimized(self) -> Any:
        from ..deploy.optimization import optimize

        return optimize(self.model)

    @torch.inference_mode()
    def __call__(self, image: Array, score_threshold: float = 0) -> sv.Detections:
        """Detect on one image.

        Args:
            image: (H, W, 3), uint8, BGR.
            score_threshold: Boxes with lower scores are not computed if possible, which saves time.
                They cannot suppress a box with a higher score.

        Returns:
            The boxes that pass this threshold and the config's ``test_cfg``, in pixels.
        """
        data = self._prepare({"img": image, "img_id": 0})
        data = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
        with _threshold(self._optimized, score_threshold):
            return sv.Detections.from_mmdetection(self._optimized.test_step(data)[0])


@contextlib.contextmanager
def _threshold(model: Any, least: float) -> Iterator[None]:
    """Raise ``score_thr`` of a detector's last head temporarily, if it is lower."""
    head = getattr(model, "roi_head", None) or getattr(model, "bbox_head", None)
    cfg = getattr(head, "test_cfg", None) or {}
    before = cfg.get("score_thr")
    if before is None or before >= least or cfg.get("score_voting"):  # which uses lower scores
        yield
        return
    # mmdet drops scores equal to the threshold.
    cfg["score_thr"] = float(np.nextafter(np.float32(least), np.float32(-1)))
    try:
        yield
    finally:
        cfg["score_thr"] = before


def _read(name: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """The tensors and the ``meta`` of a checkpoint."""
    if name.endswith(".safetensors"):
        return open_checkpoint(name).tensors, {}
    content = CheckpointLoader.load_checkpoint(name, map_location="cpu", logger="silent")
    if not isinstance(content, Mapping):
        raise ValueError(f"{name!r} contains no state_dict")
    meta = content.get("meta")
    return content.get("state_dict", content), meta if isinstance(meta, Mapping) else {}


def _carried(meta: Mapping[str, Any], name: str, trust: bool) -> Config:
    if trust and isinstance(meta.get("cfg"), str):
        return Config.fromstring(meta["cfg"], ".py")
    config = carried_config(meta, name)
    if config is None or "model" not in config:
        raise ValueError(f"{name!r} contains no config: pass a config as well")
    cfg = Config(config)
    require_registered([cfg.model, _test_pipeline(cfg)], name)
    return cfg


def _classes(cfg: Config, meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes of the checkpoint, of the config, or of its data set type, in this order."""
    stated = {str(k).lower(): v for k, v in (meta.get("dataset_meta") or {}).items()}
    dataset = cfg.get("test_dataloader", {}).get("dataset", {})
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    names = stated.get("classes") or meta.get("CLASSES")
    names = names or (dataset.get("metainfo") or {}).get("classes")
    if not names and "type" in dataset:
        from mmdet.registry import DATASETS

        names = getattr(DATASETS.get(dataset["type"]), "METAINFO", {}).get("classes")
    return (names,) if isinstance(names, str) else tuple(map(str, names or ()))


def _build(config: Any, device: str) -> nn.Module:
    from mmdet.registry import MODELS

    config = copy.deepcopy(config)
    config.backbone.init_cfg = None  # the checkpoint has its weights
    config.train_cfg = None  # no assigners, samplers or auxiliary heads
    return revert_sync_batchnorm(MODELS.build(config)).to(device).eval()


def _load(
    model: nn.Module, state: Mapping[str, Tensor], name: str, cfg: Config, meta: Mapping[str, Any]
) -> None:
    """Load every tensor of a detector, or raise."""
    require_fitting(model, {"state_dict": state, "meta": meta}, name, _classes(cfg, {}))
    _, left_over = model.load_state_dict(state, strict=False)
    if left_over:
        raise ValueError(
            f"{name!r} does not fit {cfg.filename or 'the config'}: {len(left_over)} unexpected "
            f"tensors ({', '.join(left_over[:2])}{', …' if len(left_over) > 2 else ''})"
        )


def _pipeline(cfg: Config) -> Any:
    """The config's test pipeline, for an image in memory."""
    from mmcv.transforms import Compose

    steps = copy.deepcopy(_test_pipeline(cfg))
    own = [step for step in steps if not str(step["type"]).rpartition(".")[2].startswith("Load")]
    return Compose([{"type": "mmdet.LoadImageFromNDArray"}, *own])


def _test_pipeline(cfg: Config) -> Any:
    from mmdet.utils import get_test_pipeline_cfg

    if "test_dataloader" not in cfg:
        raise ValueError(f"{cfg.filename or 'the config'} has no test_dataloader: no preprocessing")
    return get_test_pipeline_cfg(cfg)
