"""Distributed training (``--launcher pytorch``) without a GPU.

mmengine calls ``torch.cuda.set_device`` for every backend, and wraps the model with
``device_ids=[local_rank]`` (since https://github.com/open-mmlab/mmengine/pull/351), which fails for
a model on the CPU.

mmengine also does not destroy the process group. gloo's threads may then free a tensor while Python
exits, which sometimes aborts a finished process (https://github.com/pytorch/pytorch/pull/179291).
"""

import atexit
import gc
import sys

import torch
from mmengine.config import Config
from torch import distributed


def prepare(cfg: Config) -> None:
    """Start the gloo process group and set the model wrapper, for ``launcher='pytorch'`` on CPU.

    mmengine uses an existing process group. A ``model_wrapper_cfg`` in ``cfg`` is kept. If CUDA is
    available, this function does nothing.
    """
    if cfg.get("launcher") != "pytorch" or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
        atexit.register(_destroy_process_group)
    cfg.setdefault(
        "model_wrapper_cfg",
        {
            "type": "MMDistributedDataParallel",
            "device_ids": None,
            "broadcast_buffers": False,
            "find_unused_parameters": cfg.get("find_unused_parameters", False),
        },
    )


def _destroy_process_group() -> None:
    if hasattr(sys, "last_value"):  # after an error, other processes may wait for this one
        return
    gc.collect()  # a wrapped model keeps the threads of the group alive
    if distributed.is_initialized():
        distributed.destroy_process_group()
