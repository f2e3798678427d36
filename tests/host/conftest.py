"""A very short run of mmengine."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode="tensor"):
        out = self.layer(inputs)
        return {"loss": out.square().mean()} if mode == "loss" else out


class Score(BaseMetric):
    """Returns the given scores, one per epoch."""

    runner: Runner

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {"score": self.scores[self.runner.epoch - 1]}


def loader(**kwargs):
    return {
        "batch_size": 1,
        "dataset": [{"inputs": torch.ones(2) * i} for i in (1, 2)],
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "default_collate"},
        **kwargs,
    }


@pytest.fixture(scope="session")
def tiny_run() -> Callable[..., Runner]:
    """Train two iterations per epoch: ``tiny_run(work_dir, epochs, scores, hook, **kwargs)``."""
    runs = 0

    def run(work_dir, epochs, scores=(), hook=(), **kwargs):
        nonlocal runs
        runs += 1
        checkpoint = {"type": "CheckpointHook", "interval": 1, **dict(hook)}
        options = {
            "train_dataloader": loader(),
            "train_cfg": {"by_epoch": True, "max_epochs": epochs},
            "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.1}},
            "param_scheduler": {"type": "LinearLR", "by_epoch": False, "end": 4},
            "default_hooks": {"checkpoint": checkpoint},
            "experiment_name": f"tiny-{Path(work_dir).name}-{runs}",
            "log_level": "ERROR",
        }
        metric = Score(scores)
        if scores:
            options |= {"val_dataloader": loader(), "val_cfg": {}}
            options |= {"val_evaluator": Evaluator(metric)}
            checkpoint.update(save_best="score", rule="greater")
        metric.runner = runner = Runner(Tiny(), str(work_dir), **options | kwargs)
        runner.train()
        return runner

    return run
