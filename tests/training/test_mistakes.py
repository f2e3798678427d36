"""Every command turns user errors into one sentence, and shows the traceback of a bug."""

import argparse
import subprocess
import sys
import types

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.utils.data import DataLoader

from shufflenet_det import cli
from shufflenet_det.training import load_run_config


class Images:
    """Four samples; the third one raises."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            if isinstance(self.error, Exception):
                raise self.error
            self.error()
        return index


def read(error):
    return lambda: list(DataLoader(Images(error), num_workers=1))


MISTAKES = {
    "a missing file": (lambda: open("no/such.json"), "No such file or directory: 'no/such.json'"),
    "a wrong config": (lambda: load_run_config("retinanet_shufflenet_cocoo"), "retinanet_shufflen"),
    "a config without a model": (lambda: Config()["model"], "'model' is missing"),
    "an unknown type": (lambda: MODELS.build({"type": "RetinaNett"}), "RetinaNett is not in the"),
    "an unknown argument": (
        lambda: MODELS.build({"type": "shufflenet_det.ShuffleNetV2", "widen": 2.0}),
        "unexpected keyword argument 'widen'",
    ),
    "an image in a loader's process": (read(FileNotFoundError("a.jpg is gone")), "a.jpg is gone"),
    "a value in a loader's process": (read(ValueError("no box in a.jpg")), "no box in a.jpg"),
}
DEFECTS = {
    "an attribute": lambda: None.shape,
    "a conversion": lambda: int("x"),
    "an index": lambda: [][1],
    "in a loader's process": read(lambda: int("x")),
}


@pytest.fixture
def command(monkeypatch):
    """``shufflenet-det fail``, which calls a function."""

    def run(function):
        module = types.ModuleType("fail", "Fail.")
        module.EXAMPLE = "shufflenet-det fail"
        module.add_arguments = lambda parser: None
        module.run = lambda args: function() and None
        monkeypatch.setattr(cli, "commands", lambda: {"fail": module})
        return cli.main(["fail"])

    return run


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(command, capsys, case):
    function, part = MISTAKES[case]
    assert command(function) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("shufflenet-det fail: error: ") and part in printed
    assert len(printed.splitlines()) == 1 and "Traceback" not in printed


@pytest.mark.parametrize("case", DEFECTS)
def test_a_bug_keeps_its_traceback(command, case):
    with pytest.raises(Exception) as raised:
        command(DEFECTS[case])
    assert not isinstance(raised.value, SystemExit)


def test_a_traceback_can_be_requested(command, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DET_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        command(MISTAKES["a missing file"][0])


def test_a_killed_loader_process_is_reported_at_any_point(command, capsys):
    died = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    def interrupted():
        try:
            raise died
        except RuntimeError as error:
            raise SyntaxError("Failed to format the config file") from error

    assert command(interrupted) == 2
    assert "killed by signal: Killed" in (told := capsys.readouterr().err)
    assert "num_workers" in told and "--resume" in told


def test_an_interruption_has_no_traceback(command, capsys):
    def interrupted():
        raise KeyboardInterrupt("interrupted; resume with --resume")

    assert command(interrupted) == 130
    assert capsys.readouterr().err == "shufflenet-det fail: interrupted; resume with --resume\n"


@pytest.mark.parametrize("name", cli.commands())
def test_the_example_of_each_command_is_valid(name, monkeypatch, capsys):
    module = cli.commands()[name]
    words = module.EXAMPLE.replace("\\\n", " ").split()
    assert words[:2] == ["shufflenet-det", name]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.parse_args(words[2:])


def test_a_closed_pipe_is_not_an_error(root):
    """As by ``shufflenet-det configs | head -1``."""
    command = [sys.executable, "-m", "shufflenet_det.cli", "configs"]
    with subprocess.Popen(command, cwd=root, stdout=-1, stderr=-1, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
