"""Safe saving and removal of checkpoints: a run can be resumed after it is killed at any moment.

mmengine's ``CheckpointHook`` has these problems: it removes old checkpoints before it writes the
new one; it removes any path that a resumed checkpoint names as its best; it writes
``last_checkpoint`` in place, with a path that breaks if the folder is moved; and it does not repeat
an interrupted validation. Remove this module when mmengine fixes them.
"""

import os
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from .import_hooks import replace_everywhere
from .local_files import PARTIAL, atomic_write

_LAST = "last_checkpoint"
_OUTDATED = "outdated_ckpts"


def install(module: ModuleType) -> None:
    """Patch ``CheckpointHook`` of ``mmengine.hooks.checkpoint_hook``."""
    hook = module.CheckpointHook
    prepare, save_best = hook.before_train, hook._save_best_checkpoint

    def before_train(self: Any, runner: Any) -> None:
        if self.max_keep_ckpts == 1:
            self.max_keep_ckpts = 2  # a single one could be lost in a crash of the machine
        info = runner.message_hub.runtime_info
        if "keep_ckpt_ids" in info:  # keep numbers only, because mmengine removes these paths
            steps = info["keep_ckpt_ids"]
            info["keep_ckpt_ids"] = [step for step in steps if type(step) is int]
        prepare(self, runner)
        if module.is_main_process() and "://" not in self.out_dir:
            for folder in {self.out_dir, runner.work_dir}:
                for partial in Path(folder).glob(PARTIAL):
                    partial.unlink(missing_ok=True)
        self.file_backend = _OwnFolder(self.file_backend, self.out_dir, self.filename_tmpl)
        for name in info.get(_OUTDATED, ()):
            self.file_backend.remove(_path(self, os.path.basename(str(name))))
        if self.save_best:
            _find_best(self, runner)
        if module.is_main_process():
            self.file_backend.remove_waiting(_best(self))
        if self.save_best:
            _validate_if_interrupted(self, runner)

    def _save_best_checkpoint(self: Any, runner: Any, metrics: Any) -> None:
        save_best(self, runner, metrics)
        if module.is_main_process():
            self.file_backend.remove_waiting(_best(self))

    def _save_checkpoint_with_step(self: Any, runner: Any, step: int, meta: Any) -> None:
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            before = list(self.keep_ckpt_ids)
            self.keep_ckpt_ids.append(step)
            for old in set(before) - set(self.keep_ckpt_ids):
                self.file_backend.remove(_path(self, self.filename_tmpl.format(old)))
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = _path(self, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        # If this run is killed before it removes these files, the resumed run removes them.
        outdated = [os.path.basename(path) for path in self.file_backend.waiting]
        runner.message_hub.update_info(_OUTDATED, outdated)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if module.is_main_process():
            last = self.last_ckpt
            if "://" not in last:
                last = os.path.relpath(last, runner.work_dir)
            with atomic_write(Path(runner.work_dir, _LAST)) as partial:
                partial.write_text(last)
            self.file_backend.remove_waiting(_best(self))

    hook.before_train = before_train
    hook._save_best_checkpoint = _save_best_checkpoint
    hook._save_checkpoint_with_step = _save_checkpoint_with_step


def install_resuming(module: ModuleType) -> None:
    """Patch ``mmengine.runner``: ``--resume`` finds the newest undamaged checkpoint of a folder.

    A file that is not a checkpoint of this training is refused in one sentence.
    """
    replace_everywhere(module.find_latest_checkpoint, find_latest_checkpoint)
    resume = module.Runner.resume

    def resume_or_explain(self: Any, filename: str, *args: Any, **kwargs: Any) -> None:
        try:
            resume(self, filename, *args, **kwargs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if filename in str(error):
                raise
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f"{filename!r} cannot be resumed ({reason}): not a checkpoint of this config's "
                "training. To use only its weights, set load_from"
            ) from error

    module.Runner.resume = resume_or_explain


def find_latest_checkpoint(path: str) -> str | None:
    """The checkpoint of a work folder to resume from.

    The folder may have been moved, and a killed run may have left ``last_checkpoint`` empty,
    missing or outdated.

    Returns:
        The file that ``last_checkpoint`` names, or the newest one if that is damaged; None if the
        folder has no checkpoint.

    Raises:
        ValueError: All checkpoints are damaged.
    """
    from mmengine.logging import print_log

    folder = Path(path)
    last = folder / _LAST
    name = last.read_text().strip() if last.is_file() else ""
    if "://" in name:
        return name
    named = [folder / Path(name).name, folder / name] if name else []
    numbered = [p for p in folder.glob("*.pth") if re.fullmatch(r"(epoch|iter)_\d+", p.stem)]
    newest = sorted(numbered, key=lambda p: p.stat().st_mtime, reverse=True)
    for candidate in (*named, *newest):
        if candidate.is_dir() or zipfile.is_zipfile(candidate):  # deepspeed writes folders
            if named and candidate not in named:
                print_log(f"{named[0]} is missing or damaged: resuming {candidate}", "current")
            return str(candidate)
    if numbered or named:
        raise ValueError(
            f"all checkpoints in {path!r} are damaged ({_LAST} names {name!r}): to start again, "
            f"remove {_LAST} and the damaged files, or choose another --work-dir"
        )
    return None


class _OwnFolder:
    """A file backend that only sees the run's own checkpoints, and delays removals.

    A checkpoint is removed after its replacement has been written.
    """

    def __init__(self, backend: Any, folder: str, template: str) -> None:
        self._backend, self._folder = backend, folder
        # The template is a format such as epoch_{}.pth.
        step = re.sub(r"\\\{.*?\\\}", r"\\d+", re.escape(template))
        self._names = re.compile(rf"(best_.+_)?{step}")
        self.waiting: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def _is_own(self, path: str) -> bool:
        name = os.path.basename(path)
        in_folder = path == self._backend.join_path(self._folder, name)
        return in_folder and self._names.fullmatch(name) is not None

    def isfile(self, path: str) -> bool:
        return self._is_own(path) and self._backend.isfile(path)

    def isdir(self, path: str) -> bool:
        return self._is_own(path) and self._backend.isdir(path)

    def remove(self, path: str) -> None:
        self.waiting.append(path)

    rmtree = remove

    def remove_waiting(self, kept: Collection[str]) -> None:
        while self.waiting:
            path = self.waiting.pop()
            if path not in kept and self.isfile(path):
                self._backend.remove(path)
            elif path not in kept and self.isdir(path):  # written by deepspeed
                self._backend.rmtree(path)


def _best(hook: Any) -> list[str]:
    paths = [getattr(hook, "best_ckpt_path", None)]
    paths += getattr(hook, "best_ckpt_path_dict", {}).values()
    return [path for path in paths if path]


def _path(hook: Any, name: str) -> str:
    return hook.file_backend.join_path(hook.out_dir, name)


def _find_best(hook: Any, runner: Any) -> None:
    """Find the best checkpoints of the resumed run in the folder, or forget them and their scores.

    The folder may have been moved, and a run that resumes from another folder starts a new best.
    """
    info = runner.message_hub.runtime_info
    for key in [key for key in info if key == "best_ckpt" or key.startswith("best_ckpt_")]:
        path: str | None = _path(hook, os.path.basename(str(info[key])))
        if hook.file_backend.isfile(path):
            info[key] = path
        else:
            path = None
            del info[key]
            info.pop(key.replace("ckpt", "score", 1), None)
        if key == "best_ckpt":
            hook.best_ckpt_path = path
        elif hasattr(hook, "best_ckpt_path_dict"):
            hook.best_ckpt_path_dict[key.removeprefix("best_ckpt_")] = path


def _validate_if_interrupted(hook: Any, runner: Any) -> None:
    """Validate the resumed checkpoint first, if its validation was due.

    Unless it is the best one, the checkpoint does not record whether it was validated.
    """
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        within_an_epoch = loop.iter != loop.epoch * len(loop.dataloader)
        now, end = 0 if within_an_epoch else loop.epoch, loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        now, end = loop.iter, loop.max_iters
    else:
        return
    loop._decide_current_val_interval()
    due = now >= max(loop.val_begin, 1) and (now % loop.val_interval == 0 or now == end)
    if runner.val_loop is None or not due:
        return
    name = hook.filename_tmpl.format(runner.epoch if hook.by_epoch else runner.iter)
    if any(path.endswith(f"_{name}") for path in _best(hook)):
        return
    runner.logger.info("validating the resumed checkpoint, because its validation may be missing")
    if hook.file_backend.isfile(_path(hook, name)):
        hook.last_ckpt = _path(hook, name)  # save it again with its score
    runner.val_loop.run()
    runner.model.train()
