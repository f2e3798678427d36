"""Check whether tensors fit a network before they are used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def differences(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], left_over: Sequence[str] = ()
) -> str:
    """Count the tensors that are missing, of another shape or left over, and name the first three.

    Batch counters may be missing, because PyTorch had none before 0.4.1. ``left_over`` are names in
    the file that the network does not have. Returns a part of a sentence; empty: nothing differs.
    """
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    other = [
        f"{key} is {tuple(tensors[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    found = {"missing": missing, "of another shape": other, "left over": left_over}
    return "; ".join(
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in found.items()
        if names
    )


def require_fitting(
    model: torch.nn.Module, checkpoint: Mapping[str, Any], name: str, classes: Sequence[str] = ()
) -> None:
    """Reject a checkpoint unless it has all tensors of a model, in the right shape and finite.

    Args:
        model: A detector, without the wrapper of a distributed run.
        checkpoint: The content of the file: a dict with ``state_dict``, or a state_dict.
        name: The file.
        classes: The classes of the config.

    Raises:
        ValueError: Tensors do not fit. The message names them, or the numbers of classes if these
            differ.
    """
    tensors = checkpoint.get("state_dict", checkpoint)
    tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    wanted = model.state_dict()
    fitting_state: Any = getattr(model, "fitting_state", None)
    if fitting_state and not wanted.keys() <= tensors.keys():
        try:
            tensors = fitting_state(tensors)
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from error
    problems = differences(tensors, wanted)
    trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes") or ()
    if "another shape" in problems and trained and len(trained) != len(classes):
        raise ValueError(
            f"{name!r} was trained on {_classes(trained)}, but the config has "
            f"{_classes(classes)}: use the config that it was trained with"
        )
    if problems:
        raise ValueError(
            f"{name!r} does not fit the config's model; of its {len(wanted)} tensors: {problems}"
        )
    if bad := not_finite({key: tensors[key] for key in wanted if key in tensors}):
        raise ValueError(
            f"{name!r} cannot be used: {len(bad)} of its {len(wanted)} tensors are not finite, "
            f"{bad[0]} first; its training has diverged"
        )


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    floating = {k: v for k, v in tensors.items() if torch.is_floating_point(v)}
    return [name for name, tensor in floating.items() if not torch.isfinite(tensor).all()]


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} classes ({shown})" if len(names) != 1 else f"one class ({shown})"
