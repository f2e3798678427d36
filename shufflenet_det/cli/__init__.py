"""The command ``shufflenet-det``: one module for each sub-command.

A sub-command is a module of this package. Its docstring's first line is the help text,
``EXAMPLE`` is one command line, ``add_arguments(parser)`` declares the arguments and
``run(args)`` does the work. Nothing but the standard library is imported before ``run``, so
``--help`` is quick.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

SHOW_TRACEBACK = "SHUFFLENET_DET_TRACEBACK"


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
    """Run one sub-command as a program of its own, as the files under ``tools/`` do."""
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
        return args.run(args) or 0
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if os.environ.get(SHOW_TRACEBACK):
            raise
        print(f"{args.parser.prog}: error: {error}", file=sys.stderr)
        return 2
