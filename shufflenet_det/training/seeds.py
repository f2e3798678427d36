"""Seed each step and each sample by its position, so that resume is exact to the last bit.

mmengine seeds a process once. The random numbers of a resumed run then depend on the point of the
interruption, and every resumed run repeats the augmentation of the first epoch.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner


class SeededBatches:
    """A batch sampler that encodes a seed in each index.

    The seed depends on the run's seed, the epoch and the position, but not on the workers. A run
    that was interrupted within an epoch continues with the remaining batches.
    """

    def __init__(self, batches: Any, length: int, runner: Runner) -> None:
        self.batches, self.length, self.runner = batches, length, runner
        self.sampler = batches.sampler  # DistSamplerSeedHook sets its epoch
        self.batch_size, self.drop_last = batches.batch_size, batches.drop_last

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        runner, first = self.runner, 0
        if isinstance(runner._train_loop, EpochBasedTrainLoop):
            first = runner.iter - runner.epoch * len(self)  # steps of this epoch before resume
        for place, batch in enumerate(self.batches):
            if place >= first:
                seeds = _numbers(runner.seed, runner.epoch, place, count=len(batch))
                yield [s * self.length + i for s, i in zip(seeds, batch, strict=True)]


class SeededDataset(torch.utils.data.Dataset):
    """A data set that seeds the transforms of each sample with the seed in its index."""

    def __init__(self, dataset: Any) -> None:
        vars(self)["dataset"] = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed, index = divmod(index, len(self.dataset))
        seed_everything(seed, gpu=False)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle looks these up before `dataset` exists
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


class SeedHook(Hook):
    """Seeds each step by its number, so that a resumed run gets the same random numbers."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed Python, numpy and torch."""
        seed_everything(_numbers(runner.seed, runner.iter)[0], gpu=True)


def seed_everything(seed: int, *, gpu: bool) -> None:
    """Seed the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed also touches the GPUs, which a data-loading process must not do.
    (torch.manual_seed if gpu else torch.default_generator.manual_seed)(seed)


def _numbers(*place: int, count: int = 1) -> list[int]:
    return [int(n) for n in np.random.SeedSequence(place).generate_state(count)]
