"""Import hooks that apply each workaround when its module is imported.

:func:`install` adds two finders to ``sys.meta_path`` and imports nothing. The first finder patches
the modules of mmengine, mmcv and mmdet in ``_WORKAROUNDS`` after they are executed. The second one
is last in the list and provides ``mmcv._ext``.

``mmcv.ops`` needs the compiled module ``mmcv._ext``. No wheel of it exists for current PyTorch, and
its source no longer builds (https://github.com/open-mmlab/mmcv/issues/3310). mmcv-lite does not
contain it, so ``import mmcv.ops`` and ``import mmdet.models`` fail. The second finder provides the
functions of :mod:`shufflenet_det.host.ops` instead. A compiled mmcv is found first and used.
"""

import copy
import functools
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

_EXT = "mmcv._ext"
_missing_ops: set[str] = set()


def install() -> None:
    """Add the finders, and apply the workarounds to modules that are already imported.

    A second call does nothing, even after the modules of this package were reloaded.
    """
    if any(map(_is_ours, sys.meta_path)):
        return
    sys.meta_path.insert(0, _Front())
    sys.meta_path.append(_Ext())
    # mmdet calls torch.meshgrid without `indexing`, which torch has required since 1.10. The filter
    # is set here because an import of mmdet may be inside `warnings.catch_warnings`.
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
    for name in _WORKAROUNDS:
        if sys.modules.get(name):
            _apply(sys.modules[name])


def serving() -> str:
    """The kernels of ``mmcv.ops``: "mmcv" if mmcv is compiled, otherwise "torchvision"."""
    return "torchvision" if _is_ours(importlib.import_module(_EXT).__loader__) else "mmcv"


def missing_ops() -> list[str]:
    """The ops that need a compiled mmcv, without the suffixes of forward and backward."""
    importlib.import_module("mmcv.ops")
    return sorted({re.sub("_(forward|backward).*", "", name) for name in _missing_ops})


def replace_everywhere(original: Callable[..., Any], ours: Callable[..., Any]) -> None:
    """Replace a function in each module of mmengine that has it; the names must be equal."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mmengine.") and vars(module).get(ours.__name__) is original:
            setattr(module, ours.__name__, ours)


class _Front:
    """Finds a module with the other finders, and patches it after it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _WORKAROUNDS and fullname != "mmdet":
            return None
        others = (f for f in sys.meta_path if f is not self and hasattr(f, "find_spec"))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_apply(module: ModuleType) -> None:
                try:
                    execute(module)
                except (AssertionError, ImportError) as error:
                    if fullname == "mmdet":
                        from . import environment

                        raise environment.explained(error) from error
                    raise
                _apply(module)

            spec.loader.exec_module = execute_and_apply  # type: ignore[method-assign]
        return spec


class _Ext:
    """Finds only ``mmcv._ext``, and fills it with our ops."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _EXT:
            return None
        return ModuleSpec(fullname, self, origin=__name__)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from . import environment, ops

        module.__doc__ = f"Stand-in for mmcv's compiled module, made by {__name__}."
        vars(module).update(ops.OPS)
        vars(module)["__getattr__"] = _missing_op
        doubt = environment.doubt()
        if doubt is not None:
            warnings.warn(doubt, stacklevel=2)


def _is_ours(finder: Any) -> bool:
    return type(finder).__module__ == __name__  # a reload creates a new class


def _missing_op(name: str) -> Callable[..., Any]:
    """The ``__getattr__`` of ``mmcv._ext``: returns a function that raises for a missing op.

    The import of ``mmcv.ops`` looks up all ops. No op starts with an underscore.
    """
    if name.startswith("_"):
        raise AttributeError(f"module '{_EXT}' has no attribute '{name}'")

    def op(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"'{name}' of mmcv.ops needs a compiled mmcv; shufflenet_det does not implement it. "
            "Replace mmcv-lite by a wheel (`mim install mmcv`) for a torch that has one, or build "
            "mmcv from source"
        )

    op.__name__ = op.__qualname__ = name
    _missing_ops.add(name)
    return op


def _apply(module: ModuleType) -> None:
    """Apply the module's workaround; if it fails for a later version, only warn."""
    try:
        _WORKAROUNDS.get(module.__name__, lambda module: None)(module)
    except Exception as error:
        warnings.warn(
            f"shufflenet_det could not adapt {module.__name__} of this version "
            f"({type(error).__name__}: {error}); `python -m shufflenet_det` lists the versions",
            stacklevel=2,
        )


def _in(name: str, function: str = "install") -> Callable[[ModuleType], None]:
    """A workaround in another module of this package, which is imported when needed."""

    def apply(module: ModuleType) -> None:
        getattr(importlib.import_module(f"{__package__}.{name}"), function)(module)

    return apply


def _extend_safe_loader(module: ModuleType) -> None:
    """Let ``torch.load`` open mmengine's checkpoints in programs that import nothing of mmdet.

    An example is mmdet's ``publish_model.py``.
    """
    if {"torch", "mmengine"} <= sys.modules.keys() and hasattr(sys.modules["mmengine"], "Config"):
        importlib.import_module(f"{__package__}.checkpoints")


def _format_once(module: ModuleType) -> None:
    """mmengine formats the config for each checkpoint, log and file: 0.2 s each time."""
    format_code = module.FormatCode

    @functools.lru_cache(maxsize=8)
    def formatted(text: str, style: tuple, options: tuple) -> Any:
        return format_code(text, style_config=dict(style), **dict(options))

    def format_or_recall(text: str, style_config: dict, **options: Any) -> Any:
        return formatted(text, tuple(style_config.items()), tuple(options.items()))

    module.FormatCode = format_or_recall  # type: ignore[attr-defined]


def _find_loader(module: ModuleType) -> None:
    """``pkgutil.find_loader`` is deprecated, and removed in Python 3.14."""

    def find_loader(name: str) -> Any:
        return getattr(importlib.util.find_spec(name), "loader", None)

    module.pkgutil = SimpleNamespace(find_loader=find_loader)  # type: ignore[attr-defined]


def _register(module: ModuleType) -> None:
    """Register our networks on the first lookup in mmdet's ``MODELS``, like mmdet's own."""
    models, ours = module.MODELS, "shufflenet_det.registration"
    models._locations.append(ours)  # mmengine only takes locations when it creates a registry
    if models._imported:
        importlib.import_module(ours)
    build = models.build_func

    def build_in_mmdet_scope(*args: Any, **kwargs: Any) -> Any:
        """Without a scope, parts of a model are looked up in mmengine's registry."""
        from mmengine.registry import DefaultScope

        scope = None if DefaultScope.get_current_instance() else "mmdet"
        with DefaultScope.overwrite_default_scope(scope):
            return build(*args, **kwargs)

    models.build_func = build_in_mmdet_scope


def _copy_pipeline(module: ModuleType) -> None:
    """``inference_detector`` changes the model's config, so a path after an array fails."""
    get = module.get_test_pipeline_cfg
    module.get_test_pipeline_cfg = lambda cfg: copy.deepcopy(get(cfg))  # type: ignore[attr-defined]


def _let_ssd_predict(module: ModuleType) -> None:
    """``predict_by_feat`` needs ``loss_cls`` (https://github.com/open-mmlab/mmdetection/issues/11063)."""
    if not hasattr(module.SSDHead, "loss_cls"):
        module.SSDHead.loss_cls = None


_WORKAROUNDS: dict[str, Callable[[ModuleType], None]] = {
    "torch": _extend_safe_loader,
    "mmengine": _extend_safe_loader,
    "mmengine.config.config": _format_once,
    "mmengine.fileio": _in("local_files"),
    "mmengine.utils.package_utils": _in("installed_packages"),
    "mmengine.utils.dl_utils.misc": _find_loader,
    "mmengine.runner.checkpoint": _in("checkpoints"),
    "mmengine.runner": _in("saving", "install_resuming"),
    "mmengine.hooks.checkpoint_hook": _in("saving"),
    "mmengine.infer.infer": _in("checkpoints", "refuse_own_config"),
    "mmcv.utils.ext_loader": _find_loader,
    "mmdet.registry": _register,
    "mmdet.apis.inference": _copy_pipeline,
    "mmdet.datasets.api_wrappers": _in("coco_api"),
    "mmdet.datasets.coco": _in("coco_api", "install_dataset"),
    "mmdet.evaluation.metrics.coco_metric": _in("coco_api", "install_metric"),
    "mmdet.models.dense_heads.ssd_head": _let_ssd_predict,
}
