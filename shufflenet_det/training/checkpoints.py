"""Whether a detector's checkpoint fits a config, before a number is made from both."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .hooks import not_finite

# What of a model's config leaves the function that it computes alone.
_WITHOUT_EFFECT = (
    "init_cfg",
    "train_cfg",
    "test_cfg",
    "frozen_stages",
    "norm_eval",
    "with_cp",
    "pretrained",
)


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
    missing = [key for key in wanted if key not in tensors]
    other = [k for k, v in wanted.items() if k in tensors and v.shape != tensors[k].shape]
    trained = ((checkpoint.get("meta") or {}).get("dataset_meta") or {}).get("classes") or ()
    if other and trained and len(trained) != len(classes):
        raise ValueError(
            f"{name!r} was trained on {_classes(trained)}, and the config is for "
            f"{_classes(classes)}: test it with the config that it was trained with"
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
    if bad := not_finite({key: tensors[key] for key in wanted}):
        raise ValueError(
            f"{name!r} is useless: {len(bad)} of its {len(wanted)} tensors are not finite, "
            f"{bad[0]} first; its training has diverged"
        )


def differences(checkpoint: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Where the model of a config computes something else than the one that was trained.

    Args:
        checkpoint: What the file holds. Its config is read as data; nothing of it is executed.
        model: The ``model`` of the config at hand.

    Returns:
        A phrase for each key that differs; none if the checkpoint holds no readable config.
    """
    trained = _model_of((checkpoint.get("meta") or {}).get("cfg"))
    if trained is None:
        return []
    ours, theirs = _flat(model), _flat(trained)
    return [
        f"{key} {theirs.get(key, 'absent')!r} in training, {ours.get(key, 'absent')!r} here"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


def _model_of(text: Any) -> dict[str, Any] | None:
    """``model`` in the text of a config as mmengine writes it: literals and ``dict(…)``."""
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "model":
                return _literal(statement.value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    return None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(element) for element in node.elts]
    return ast.literal_eval(node)


def _flat(node: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {key: _lists(node)}
    children = [(name, child) for name, child in node.items() if name not in _WITHOUT_EFFECT]
    flat = [_flat(child, f"{key}.{name}".lstrip(".")) for name, child in children]
    return {name: value for one in flat for name, value in one.items()}


def _lists(node: Any) -> Any:
    return [_lists(child) for child in node] if isinstance(node, list | tuple) else node


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} classes ({shown})" if len(names) != 1 else f"one class ({shown})"
