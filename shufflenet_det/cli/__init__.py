"""The command ``shufflenet-det``: one module for each sub-command.

A sub-command is a module of this package. Its docstring's first line is the help text,
``EXAMPLE`` is one command line, ``add_arguments(parser)`` declares the arguments and
``run(args)`` does the work. Only the standard library is imported before ``run``, so ``--help`` is
quick.

A user's mistake becomes one sentence and exit status 2 (:mod:`._mistakes`). A bug shows its
traceback and exits with status 1. ``SHUFFLENET_DET_TRACEBACK=1`` always shows the traceback.
"""

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from ._mistakes import SHOW_TRACEBACK, sentence


def commands() -> dict[str, ModuleType]:
    """The modules of the sub-commands, by name."""
    return {
        module.name.replace("_", "-"): importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``shufflenet-det`` and return its exit status."""
    parser = argparse.ArgumentParser(prog="shufflenet-det", description="ShuffleNet detectors.")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in commands().items():
        text = str(module.__doc__)
        _fill(parsers.add_parser(name, help=text.splitlines()[0], **_texts(module)), module)
    return _run(parser, arguments)


def run_tool(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command as a separate program, as the files in ``tools/`` do."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(**_texts(module))
    _fill(parser, module)
    return _run(parser, arguments)


def _texts(module: ModuleType) -> dict:
    return {
        "description": module.__doc__,
        "epilog": f"example:\n  {module.EXAMPLE}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _fill(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    module.add_arguments(parser)
    parser.set_defaults(run=module.run, parser=parser)


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    args = parser.parse_args(arguments)
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of the pipe, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:  # its message says how to resume, if that is possible
        if os.environ.get(SHOW_TRACEBACK):
            raise
        print(f"{args.parser.prog}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(error, "signal", signal.SIGINT)
    except Exception as error:
        mistake = None if os.environ.get(SHOW_TRACEBACK) else sentence(error)
        if mistake is None:
            raise
        print(f"{args.parser.prog}: error: {mistake}", file=sys.stderr)
        return 2
