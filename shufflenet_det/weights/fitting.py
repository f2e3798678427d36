"""Whether tensors are those of a network, checked before they are used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def differences(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], left_over: Sequence[str] = ()
) -> str:
    """Count the tensors ``wanted`` that are missing or others, and name the first three.

    Batch counters may be missing, as before PyTorch 0.4.1. ``left_over`` are names that the file
    holds beyond these. Returns part of a sentence; empty: nothing differs.
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
    """Refuse a checkpoint whose tensors are not all those of a model, in shape and finite.

    Args:
        model: A detector, without the wrapper of a distributed run.
        checkpoint: What the file holds: with ``state_dict``, or a state dict itself.
        name: The file.
        classes: The classes that the config names.

    Raises:
        ValueError: Which tensors do not fit; where the numbers of classes differ, these.
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
            f"{name!r} was trained on {_classes(trained)}, and the config is for "
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
