"""Whether a detector's checkpoint fits a config, checked before it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def require_fitting(
    model: torch.nn.Module, checkpoint: Mapping[str, Any], name: str, classes: Sequence[str] = ()
) -> None:
    """Refuse a checkpoint whose tensors are not all those of a model, in shape and finite.

    Args:
        model: A detector, without the wrapper of a distributed run.
        checkpoint: What the file holds: with ``state_dict``, or a state dict itself.
        name: The file, for the message.
        classes: The classes that the config names.

    Raises:
        ValueError: Tensors are missing, have other shapes or are not finite; where the numbers of
            classes differ, the message names both.
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
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    other = [k for k, v in wanted.items() if k in tensors and v.shape != tensors[k].shape]
    trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes") or ()
    if other and trained and len(trained) != len(classes):
        raise ValueError(
            f"{name!r} was trained on {_classes(trained)}, and the config is for "
            f"{_classes(classes)}: use the config that it was trained with"
        )
    if missing or other:
        parts = [
            f"{len(names)} {what} ({names[0]}" + (", …)" if len(names) > 1 else ")")
            for names, what in ((missing, "are missing"), (other, "have another shape"))
            if names
        ]
        raise ValueError(
            f"{name!r} does not fit the config's model: of its {len(wanted)} tensors "
            f"{' and '.join(parts)}"
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
