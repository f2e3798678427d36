"""Read the config in a checkpoint as data, without executing it.

mmengine writes a run's whole config into its checkpoints as Python source, and executes that source
to read it. Its registries accept any dotted name as ``type``, such as ``os.system``, and mmcv
evaluates the ``type`` of an ``nms``. So this module parses the source as literals, and checks every
``type`` before anything is built.
"""

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .config_files import dicts_in

_LONGEST = 4_000_000  # characters; the names of LVIS's 1,203 classes take 40,000
# Settings that change no prediction, and settings that people change on purpose when they test.
_NOT_COMPARED = (
    *("init_cfg", "pretrained", "train_cfg", "test_cfg"),
    *("frozen_stages", "norm_eval", "with_cp"),
)


def carried_config(meta: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Read the config in the ``meta`` of a checkpoint called ``name``; None if it has none.

    Raises:
        ValueError: The config contains more than literals.
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
            f"the config in {name!r} was not read: it {_reason(error)}, but only names with "
            "literal values are allowed. Give the config's file, or trust=True (--trust) to "
            "execute the config"
        ) from error


def require_registered(config: Any, name: str) -> None:
    """Check a config, or a part of one, from a checkpoint called ``name``.

    Raises:
        ValueError: A ``type`` is not registered, or an entry would make mmengine import or execute
            a file.
    """
    known = _registered()
    for owner in dicts_in(config):
        kind = owner.get("type")
        scope, _, last = str(kind).rpartition(".")
        files = [v for v in owner.values() if isinstance(v, str) and v.endswith(".py")]
        wrong = f"the file {files[0]!r}" if files else None
        if "_scope_" in owner:
            wrong = f"_scope_={owner['_scope_']!r}"
        if kind is not None and (scope not in ("", "mmdet", "shufflenet_det") or last not in known):
            wrong = f"type={kind!r}, which no installed package has registered"
        if wrong:
            raise ValueError(
                f"the config in {name!r} names {wrong}: import the package that has it and give "
                "the config's file, or trust=True (--trust)"
            )


def warning_of_differences(
    model: Mapping[str, Any], meta: Mapping[str, Any], name: str
) -> str | None:
    """Describe how a config's model differs from the model in the checkpoint's config.

    None if nothing differs, or the checkpoint's ``meta`` has no readable config.
    """
    try:
        trained = (carried_config(meta, name) or {}).get("model", model)
    except ValueError:
        return None  # nothing is built from it here
    ours, theirs = (dict(_leaves(node, "model")) for node in (model, trained))
    found = [
        f"{key} is {ours.get(key, 'not set')!r}, trained with {theirs.get(key, 'not set')!r}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
    if not found:
        return None
    more = "; …" if len(found) > 5 else ""
    return (
        f"{name!r} was trained with a model that differs from the config's: "
        f"{'; '.join(found[:5])}{more}"
    )


class _Literals(ast.NodeTransformer):
    """Replace ``dict(…)``, ``inf`` and ``nan``, which mmengine writes, by literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
                keys = [ast.Constant(k.arg) if k.arg else None for k in keywords]
                return ast.Dict([*keys], [keyword.value for keyword in keywords])
            case ast.Call(func=ast.Name(id="dict"), args=[ast.Dict() as inner], keywords=[]):
                return inner
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _assignment(statement: ast.stmt) -> tuple[str, Any]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            with suppress(ValueError):
                return name, ast.literal_eval(_Literals().visit(value))
    raise ValueError(f"has more than NAME = LITERAL in line {statement.lineno}")


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"is not Python in line {error.lineno}"
    if isinstance(error, RecursionError | MemoryError):
        return "is nested too deeply"
    return str(error)


def _registered() -> set[str]:
    """Every name that mmengine looks up to build a detector and its preprocessing."""
    import mmcv.ops
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
    from mmengine.registry import WEIGHT_INITIALIZERS

    names = {*mmcv.ops.__all__, "PSRoIAlign", "PSRoIPool"}  # RoI layers, types of NMS
    names |= {"RandomColor", "RandomWarp", "WarpResize"}  # registered under the package's name
    for registry in (MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS):
        registry.import_from_location()
        while registry is not None:
            names.update(registry.module_dict)
            registry = registry.parent
    return names


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            if name not in _NOT_COMPARED:
                yield from _leaves(child, f"{key}.{name}")
    else:
        yield key, list(node) if isinstance(node, tuple) else node
