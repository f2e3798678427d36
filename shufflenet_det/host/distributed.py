"""Lets ``--launcher pytorch`` work where there is no GPU.

mmengine calls ``torch.cuda.set_device`` whatever the backend, and wraps the model with
``device_ids=[local_rank]`` (since https://github.com/open-mmlab/mmengine/pull/351), which a model
on the CPU refuses. Ends with an mmengine that asks for neither there.

Nor does it destroy the process group. gloo's threads then may let go of a tensor while Python is
finalized, which aborts a process that had done its work, now and then
(https://github.com/pytorch/pytorch/pull/179291). Ends with a torch that destroys it at exit.
"""

import atexit
import gc
import sys

import torch
from mmengine.config import Config
from torch import distributed


def prepare(cfg: Config) -> None:
    """Start the gloo process group and set the model wrapper, for ``launcher='pytorch'`` on CPU.

    mmengine leaves a process group alone that is initialised before the Runner is built, and a
    ``model_wrapper_cfg`` that ``cfg`` has stays. Where CUDA is available, nothing is done.
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
    if hasattr(sys, "last_value"):  # an error: the other processes may be waiting for this one
        return
    gc.collect()  # a wrapped model would keep the group's threads alive
    if distributed.is_initialized():
        distributed.destroy_process_group()
