"""The import hooks: each workaround is applied to its module as soon as that is imported.

:func:`install` puts two finders into ``sys.meta_path`` and imports nothing. The first stands at the
front and changes the modules of mmengine, mmcv and mmdet that ``_WORKAROUNDS`` names, after they
were executed. The second stands at the end and answers for ``mmcv._ext``.

``mmcv.ops`` is the Python side of a compiled module, ``mmcv._ext``. No wheel of it exists for
current PyTorch and its source no longer builds
(https://github.com/open-mmlab/mmcv/issues/3310); mmcv-lite comes without it, so ``import
mmcv.ops``, and with it ``import mmdet.models``, fails. Here the name resolves to the functions of
:mod:`shufflenet_det.host.ops`. A compiled mmcv is found first and left alone.
"""

import copy
import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

_EXT = "mmcv._ext"


def install() -> None:
    """Add the finders, and apply the workarounds to what is imported already.

    Calling this again does nothing, also after the modules of this package were reloaded.
    """
    if any(map(_is_ours, sys.meta_path)):
        return
    sys.meta_path.insert(0, _Front())
    sys.meta_path.append(_Ext())
    # mmdet calls it in six places without the argument that torch has wanted since 1.10. Not when
    # mmdet is imported: that may be inside `warnings.catch_warnings`, which would drop it again.
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
    for name in _WORKAROUNDS:
        if sys.modules.get(name):
            _apply(sys.modules[name])


def serving() -> str:
    """Whose kernels serve ``mmcv.ops``: ``"mmcv"`` if it is compiled, else ``"torchvision"``."""
    return "torchvision" if _is_ours(importlib.import_module(_EXT).__loader__) else "mmcv"


def replace_everywhere(original: Callable[..., Any], ours: Callable[..., Any]) -> None:
    """Replace a function in every module of mmengine that has it, by one of the same name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("mmengine.") and vars(module).get(ours.__name__) is original:
            setattr(module, ours.__name__, ours)


class _Front:
    """Finds a module as the other finders do, and has it changed once it is executed."""

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
    """Answers for ``mmcv._ext`` and for nothing else; fills it when it is imported."""

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
        vars(module)["__getattr__"] = _not_carried
        doubt = environment.doubt()
        if doubt is not None:
            warnings.warn(doubt, stacklevel=2)


def _is_ours(finder: Any) -> bool:
    return type(finder).__module__ == __name__  # the class is another one after a reload


def _not_carried(name: str) -> Callable[..., Any]:
    """The ``__getattr__`` of ``mmcv._ext``: a function that raises, for each op not carried.

    ``mmcv.ops`` looks every name up when it is imported. No op begins with an underscore.
    """
    if name.startswith("_"):
        raise AttributeError(f"module '{_EXT}' has no attribute '{name}'")

    def op(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"'{name}' of mmcv.ops is not carried by shufflenet_det and needs a compiled mmcv: put "
            "one in place of mmcv-lite, as a wheel (`mim install mmcv`) with a torch that has one, "
            "or built from mmcv's source"
        )

    op.__name__ = op.__qualname__ = name
    return op


def _apply(module: ModuleType) -> None:
    """Apply the module's workaround; one that does not fit a later version is only reported."""
    try:
        _WORKAROUNDS.get(module.__name__, lambda module: None)(module)
    except Exception as error:
        warnings.warn(
            f"shufflenet_det could not adapt {module.__name__} of this version "
            f"({type(error).__name__}: {error}); `python -m shufflenet_det` lists the versions",
            stacklevel=2,
        )


def _in(name: str, function: str = "install") -> Callable[[ModuleType], None]:
    """A function of a module of this room, which is imported when it is needed."""

    def apply(module: ModuleType) -> None:
        getattr(importlib.import_module(f"{__package__}.{name}"), function)(module)

    return apply


def _extend_safe_loader(module: ModuleType) -> None:
    """Let ``torch.load`` open mmengine's checkpoints where only mmengine and torch are imported.

    mmdet's ``publish_model.py`` is such a program.
    """
    if {"torch", "mmengine"} <= sys.modules.keys() and hasattr(sys.modules["mmengine"], "Config"):
        importlib.import_module(f"{__package__}.checkpoints")


def _format_once(module: ModuleType) -> None:
    """mmengine formats the same config's text for every checkpoint, log and file: 0.2 s each."""
    format_code = module.FormatCode

    @functools.lru_cache(maxsize=8)
    def formatted(text: str, style: tuple, options: tuple) -> Any:
        return format_code(text, style_config=dict(style), **dict(options))

    def format_or_recall(text: str, style_config: dict, **options: Any) -> Any:
        return formatted(text, tuple(style_config.items()), tuple(options.items()))

    module.FormatCode = format_or_recall  # type: ignore[attr-defined]


def _find_loader(module: ModuleType) -> None:
    """``pkgutil.find_loader`` is deprecated, and gone in Python 3.14."""

    def find_loader(name: str) -> Any:
        return getattr(importlib.util.find_spec(name), "loader", None)

    module.pkgutil = SimpleNamespace(find_loader=find_loader)  # type: ignore[attr-defined]


def _register(module: ModuleType) -> None:
    """Register our networks when a name is first asked of mmdet's models, as it does its own."""
    models, ours = module.MODELS, "shufflenet_det.registration"
    models._locations.append(ours)  # mmengine takes locations only where a registry is made
    if models._imported:
        importlib.import_module(ours)
    build = models.build_func

    def build_in_mmdets_scope(*args: Any, **kwargs: Any) -> Any:
        """Parts of a model are looked up in mmengine's registry unless a scope is set."""
        from mmengine.registry import DefaultScope

        scope = None if DefaultScope.get_current_instance() else "mmdet"
        with DefaultScope.overwrite_default_scope(scope):
            return build(*args, **kwargs)

    models.build_func = build_in_mmdets_scope


def _copy_pipeline(module: ModuleType) -> None:
    """``inference_detector`` writes into the model's config; an array, then a path fails."""
    get = module.get_test_pipeline_cfg
    module.get_test_pipeline_cfg = lambda cfg: copy.deepcopy(get(cfg))  # type: ignore[attr-defined]


def _let_ssd_predict(module: ModuleType) -> None:
    """``predict_by_feat`` reads it (https://github.com/open-mmlab/mmdetection/issues/11063)."""
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
