"""Every step and every sample seeded by its place, so that a run can be resumed to the last bit.

mmengine seeds a process once: what a resumed run draws then depends on where it was interrupted,
and every resumed run repeats the first epoch's augmentation.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner


class SeededBatches:
    """A batch sampler whose indices carry a seed each, made from the run's and their place.

    Workers, their number and what ran before do then not matter to what a sample becomes, and a
    run that was interrupted inside an epoch takes only the rest of it.
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
            first = runner.iter - runner.epoch * len(self)  # of an epoch begun before
        for place, batch in enumerate(self.batches):
            if place >= first:
                seeds = _numbers(runner.seed, runner.epoch, place, count=len(batch))
                yield [s * self.length + i for s, i in zip(seeds, batch, strict=True)]


class SeededDataset(torch.utils.data.Dataset):
    """A data set that seeds the transforms of each sample by what its index carries."""

    def __init__(self, dataset: Any) -> None:
        vars(self)["dataset"] = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed, index = divmod(index, len(self.dataset))
        seed_everything(seed, gpu=False)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle asks before there is a data set
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


class SeedHook(Hook):
    """Seeds every step by its number, so that a resumed run draws what an undisturbed one does."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed Python, numpy and torch."""
        seed_everything(_numbers(runner.seed, runner.iter)[0], gpu=True)


def seed_everything(seed: int, *, gpu: bool) -> None:
    """Seed the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed looks at every GPU, which a data-loading process must not.
    (torch.manual_seed if gpu else torch.default_generator.manual_seed)(seed)


def _numbers(*place: int, count: int = 1) -> list[int]:
    return [int(n) for n in np.random.SeedSequence(place).generate_state(count)]
