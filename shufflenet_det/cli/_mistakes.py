"""Turn an exception that a user's mistake has caused into one sentence.

These are exceptions that our code or a library raises on purpose, errors of the operating system,
and wrong arguments in a config. Every other exception is a bug and shows its traceback.
"""

import dis
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from types import TracebackType

SHOW_TRACEBACK = "SHUFFLENET_DET_TRACEBACK"
_OURS = __package__.partition(".")[0]
_RAISED_ON_PURPOSE = (ValueError, TypeError, KeyError, RuntimeError, AssertionError)
# torch's text before the message of an error in a data-loading process.
_IN_WORKER = re.compile(r"Caught \w+ in .*?process \d+\.\s+Original Traceback", re.DOTALL)
_WORKER_DIED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (is killed by signal: [\w ]+|exited unexpectedly)"
)


def sentence(error: BaseException) -> str | None:
    """One sentence for a user's mistake; None for a bug."""
    for one in _chain(error):
        if died := _WORKER_DIED.search(str(one)):
            return (
                f"a data-loading process {died[1]}, most often because memory ran out: lower "
                "train_dataloader.num_workers or batch_size; --resume continues a training"
            )
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return (
            f"out of memory: lower train_dataloader.batch_size or the image size ({_text(error)})"
        )
    if isinstance(error, OSError):
        named = error.filename and error.strerror
        return f"{error.strerror}: {error.filename!r}" if named else _text(error)
    if _IN_WORKER.search(str(error)):
        # The traceback of the process is text. The error was raised at its last entry.
        place = re.findall(r'File "([^"]+)", line \d+, in .*\n +(raise\b)?', str(error))[-1]
        return _phrase(error, raised=bool(place[1]), file=place[0])
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and name in _of_the_extra():
            return f"this needs {name}, which is not installed: pip install 'shufflenet_det[lite]'"
        return None if name == _OURS else _text(error)
    frames = list(_frames(error.__traceback__))
    code, instruction = frames[-1].tb_frame.f_code, frames[-1].tb_lasti
    raised = code.co_code[instruction] == dis.opmap["RAISE_VARARGS"]
    return _phrase(error, raised=raised or _is_wrong_argument(error, frames), file=code.co_filename)


def _of_the_extra() -> set[str]:
    """The names of the modules in the extra ``mmdet``."""
    with suppress(PackageNotFoundError):
        lines = [line for line in requires(_OURS) or () if 'extra == "mmdet"' in line]
        return {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}
    return set()


def _phrase(error: BaseException, *, raised: bool, file: str) -> str | None:
    library = None if f"{os.sep}{_OURS}{os.sep}" in file else _library(file)
    if isinstance(error, AssertionError):
        raised = raised and library is not None and str(error) not in ("", "None")
    if not (raised and isinstance(error, _RAISED_ON_PURPOSE)):
        return None
    if library is None:
        return _text(error)
    return f"{_text(error)} (from {library}; {SHOW_TRACEBACK}=1 shows where)"


def _is_wrong_argument(error: BaseException, frames: list[TracebackType]) -> bool:
    """Whether a config has given a class an argument that the class does not have."""
    codes = [frame.tb_frame.f_code for frame in frames]
    while codes[-1].co_name == "__init__":  # it may pass its arguments to the base class
        codes.pop()
    caller = codes[-1].co_filename.replace(os.sep, "/")
    built = caller.endswith("mmengine/registry/build_functions.py")
    return built and isinstance(error, TypeError) and " argument" in str(error)


def _text(error: BaseException) -> str:
    text = str(error)
    if _IN_WORKER.search(text):
        text = re.split(rf"\n(?:[\w.]+\.)?{type(error).__name__}: ", text)[-1]
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # a KeyError quotes its message
        text = text if " " in text else f"{text!r} is missing"
    return " ".join(text.split()) or type(error).__name__


def _library(file: str) -> str:
    parts = file.replace(os.sep, "/").split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    return "/".join(parts[-2:])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _frames(frame: TracebackType | None) -> Iterator[TracebackType]:
    while frame is not None:
        yield frame
        frame = frame.tb_next
