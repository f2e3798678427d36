"""The config that a checkpoint carries, read as data: nothing of it is executed.

mmengine writes a run's whole config into its checkpoints, as Python's text, and itself executes
that text to read it. A registry of mmengine, in turn, takes any dotted name as ``type``, such as
``os.system``, and mmcv evaluates the ``type`` of an ``nms``. So the text is parsed as literals,
and what would be built is looked up first.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from ..config_files import dicts_in

_LONGEST = 4_000_000  # characters; the names of LVIS's 1,203 classes take 40,000
# What changes no prediction, and what people change on purpose when they test.
_FREE = {
    *("init_cfg", "pretrained", "train_cfg", "frozen_stages", "norm_eval", "with_cp"),
    "test_cfg",
}


def carried_config(meta: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Read the config of a checkpoint.

    Args:
        meta: The checkpoint's ``meta``.
        name: Of the checkpoint, for messages.

    Returns:
        The config; None if the checkpoint carries none.

    Raises:
        ValueError: The config is more than literals.
    """
    text = meta.get("cfg")
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST} characters")
        return dict(_assignment(statement) for statement in ast.parse(text).body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"the config that {name!r} carries was not read: it {_reason(error)}, where only "
            "names with literal values are allowed. Give the config's file, or trust=True "
            "(--trust) to execute the text"
        ) from error


def require_registered(config: Any, name: str) -> None:
    """Raise where a config that is data names what no registry of mmdet holds.

    Args:
        config: Any part of a config.
        name: Of the checkpoint that carries it, for messages.

    Raises:
        ValueError: A ``type`` is unknown; or an entry makes mmengine import or execute something.
    """
    known = _registered()
    for owner in dicts_in(config):
        kind = owner.get("type")
        scope, _, last = kind.rpartition(".") if isinstance(kind, str) else ("", "", "")
        wrong = None
        if kind is not None and (scope not in ("", "mmdet", "shufflenet_det") or last not in known):
            wrong = f"type={kind!r}, which no installed package has registered"
        elif "_scope_" in owner:
            wrong = f"_scope_={owner['_scope_']!r}"
        else:
            files = [v for v in owner.values() if isinstance(v, str) and v.endswith(".py")]
            wrong = f"the file {files[0]!r}" if files else None
        if wrong:
            raise ValueError(
                f"the config that {name!r} carries names {wrong}: import the package that has it "
                "and give the config's file, or trust=True (--trust)"
            )


def warning_of_differences(
    model: Mapping[str, Any], meta: Mapping[str, Any], name: str
) -> str | None:
    """A sentence on what a config's model computes otherwise than the model that was trained.

    Args:
        model: The ``model`` of the config in use.
        meta: The checkpoint's ``meta``.
        name: Of the checkpoint.

    Returns:
        The sentence; None if nothing differs or the checkpoint carries no readable config.
    """
    try:
        carried = (carried_config(meta, name) or {}).get("model")
    except ValueError:
        return None  # the carried config is only compared here
    if carried is None:
        return None
    used, trained = (dict(_leaves(node, "model")) for node in (model, carried))
    found = [
        f"{key} is {used.get(key, 'not set')!r}, trained with {trained.get(key, 'not set')!r}"
        for key in sorted({*used, *trained})
        if used.get(key) != trained.get(key)
    ]
    if not found:
        return None
    more = "; …" if len(found) > 5 else ""
    return (
        f"{name!r} was trained with a model that differs from the config's: "
        f"{'; '.join(found[:5])}{more}"
    )


def _assignment(statement: ast.stmt) -> tuple[str, Any]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id, _literal(statement.value)
    raise ValueError(f"has in line {statement.lineno} more than NAME = VALUE")


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            if all(keyword.arg for keyword in keywords):
                return {str(keyword.arg): _literal(keyword.value) for keyword in keywords}
        case (
            ast.Dict(keys=keys, values=values)
            | ast.Call(
                func=ast.Name(id="dict"),
                args=[ast.Dict(keys=keys, values=values)],
                keywords=[],
            )
        ):
            if None not in keys:
                pairs = zip(keys, values, strict=True)
                return {_literal(key): _literal(value) for key, value in pairs if key}
        case ast.List(elts=elements):
            return [_literal(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_literal(element) for element in elements)
        case ast.Name(id="inf" | "nan"):  # as repr writes a float
            return float(node.id)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
            return -float("inf")
        case ast.Constant() | ast.UnaryOp():
            return ast.literal_eval(node)
    raise ValueError(f"has in line {node.lineno} more than literals")


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"is not Python in line {error.lineno}"
    if isinstance(error, RecursionError | MemoryError):
        return "is nested too deeply"
    return str(error)


def _registered() -> set[str]:
    """Every name that building a detector and its preprocessing looks up."""
    import mmcv.ops
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
    from mmengine.registry import WEIGHT_INITIALIZERS

    names = {*mmcv.ops.__all__, "PSRoIAlign", "PSRoIPool"}  # RoI layers and kinds of NMS
    names |= {"RandomColor", "RandomWarp", "WarpResize"}  # found by the package's name alone
    for registry in (MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS):
        registry.import_from_location()
        while registry is not None:
            names.update(registry.module_dict)
            registry = registry.parent
    return names


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            if name not in _FREE:
                yield from _leaves(child, f"{key}.{name}")
    else:
        yield key, list(node) if isinstance(node, tuple) else node
