"""``tools/convert_weights.py``."""

import runpy

import pytest
import torch
from published_networks import Tape, megvii_v1

from shufflenet_det.backbones import ShuffleNetV1
from shufflenet_det.cli import run_tool
from shufflenet_det.weights import RECORDS

TOOL = "tools/convert_weights.py"


@pytest.fixture
def tool(root, monkeypatch, capsys):
    """Run the program in this process; returns its output."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", [TOOL, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(root / TOOL), run_name="__main__")
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_help_comes_before_torch(python):
    done = python("-X", "importtime", TOOL, "--help")
    assert "--list" in done.stdout
    assert "torch" not in done.stderr


def test_every_record_is_listed(tool):
    listed = tool("--list")
    for record in RECORDS:
        assert record.name in listed and record.digest in listed


def test_a_file_is_converted_and_described(tool, tmp_path):
    tape = Tape()
    megvii_v1(tape, torch.rand(1, 3, 32, 32), 3, 12, (120, 240, 480))
    torch.save({"state_dict": tape.state}, tmp_path / "in.pth.tar")
    printed = tool(tmp_path / "in.pth.tar", tmp_path / "out.pth")
    assert "the authors' V1 g=3 0.5x" in printed
    assert "ShuffleNetV1(groups=3, widen_factor=0.5, shuffle='inverse')" in printed
    assert "mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], bgr_to_rgb=False" in printed
    state = torch.load(tmp_path / "out.pth", weights_only=True)
    ShuffleNetV1(3, 0.5, "inverse").load_state_dict(state)


def test_a_refusal_is_one_line(tmp_path, capsys):
    (tmp_path / "in.pth").write_bytes(b"nothing of use")
    assert run_tool("convert", [str(tmp_path / "in.pth"), str(tmp_path / "out.pth")]) == 2
    message = capsys.readouterr().err
    assert "in.pth' was not opened" in message and message.count("\n") == 1
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("arguments", ((), ("in.pth",)))
def test_both_files_are_needed(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool("convert", arguments)
    assert ended.value.code == 2 and "IN and OUT are needed" in capsys.readouterr().err
