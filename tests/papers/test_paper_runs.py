"""Running rows of the papers' tables: checks, subprocesses, results, and the command."""

import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from shufflenet_det import cli
from shufflenet_det.data import PAPERS_SPLIT
from shufflenet_det.papers import comparison, results, runs, tables
from shufflenet_det.papers.published import COCO_ROWS

ROW = COCO_ROWS["v2/shufflenetv2_1x"]
METRICS = {"coco/bbox_mAP": 0.291, "coco/bbox_mAP_50": 0.47, "other": 1.0}


@pytest.fixture
def started(monkeypatch):
    """The started commands; a stand-in writes the files that training and testing write."""
    calls = []

    def start(command, check):
        arguments = command[command.index("shufflenet_det.cli") + 1 :]
        home = arguments[arguments.index("--work-dir") + 1]
        calls.append(command)
        log = Path(home, "20261125", "vis_data")
        log.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "train":
            for name in ("iter_75000.pth", "iter_150000.pth", "best_coco_iter_5.pth"):
                zipfile.ZipFile(Path(home, name), "w").close()
            Path(home, "last_checkpoint").write_text("iter_150000.pth")
            (log / "scalars.json").write_text('{"loss": 1.0, "time": 0.5}\n{"lr": 1}\n')
        else:
            (log.parent / "20261125.json").write_text(json.dumps(METRICS))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(runs.subprocess, "run", start)
    return calls


@pytest.fixture
def ready(monkeypatch, tmp_path):
    """Pretend that COCO and two GPUs exist; the path of a checkpoint."""
    monkeypatch.setattr(runs, "check_papers_split", lambda root: PAPERS_SPLIT)
    monkeypatch.setattr(runs, "ProcessPoolExecutor", lambda n, context: ThreadPoolExecutor(n))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    path = tmp_path / "v2.pth"
    network = MODELS.build({"type": "ShuffleNetV2", "layout": "paper", "out_indices": (4,)})
    torch.save(network.state_dict(), path)
    return path


def run(tmp_path, *words):
    folders = ["--work-dir", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    return cli.main(["papers", "run", *words, *folders])


def test_a_row_is_trained_tested_and_saved_and_does_not_run_again(ready, started, tmp_path, capsys):
    words = (ROW.key, "--gpus", "2", "--weights", str(ready), "--data-root", "COCO")
    assert run(tmp_path, *words) == 0
    train, test = started
    assert "--nproc_per_node=2" in train and train[train.index("--launcher") + 1] == "pytorch"
    assert {"--resume", "data_root=COCO", "train_dataloader.batch_size=8"} <= set(train)
    assert f"model.backbone.init_cfg.checkpoint={ready}" in train
    assert str(tmp_path / "work" / ROW.key / "iter_150000.pth") in test and "--resume" not in test
    printed = capsys.readouterr().out
    assert "finished, mAP 29.1, the paper's 29.0" in printed and "--gpus 8" in printed
    (row,) = results.read("papers_v2", tmp_path / "results").rows
    assert row["metrics"] == {"mAP": 29.1, "mAP_50": 47.0}
    assert row["budget"]["images_seen"] == 30 * 80_000
    assert row["budget"]["gpu_hours"] == round(2 * 150_000 * 0.5 / 3600, 2)
    assert run(tmp_path, *words) == 0
    assert len(started) == 2 and "finished before" in capsys.readouterr().out


def test_tables_show_our_figures_beside_the_papers(ready, started, tmp_path):
    run(tmp_path, ROW.key, "--weights", str(ready))
    lines = comparison.table("v2", tmp_path / "results").splitlines()
    (ours,) = [line for line in lines if f"| {ROW.key} |" in line]
    assert ours.endswith("| 29.0 | 29.1 | +0.1 |")
    assert sum(line.endswith("|  |  |") for line in lines) == 19
    shutil.copytree(tmp_path / "results", tmp_path / "copy")
    (tmp_path / "README.md").write_text("<!-- table: papers/v2 -->\n<!-- end of table -->\n")
    tables.update_pages(tmp_path)
    assert ours in (tmp_path / "README.md").read_text()
    comparison.plot(tmp_path / "plot.png", tmp_path / "results")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_the_next_row_runs_after_one_fails(ready, started, tmp_path, monkeypatch, capsys):
    """MobileNetV1's weights have no record, and no program can download the authors'."""
    assert run(tmp_path, "v1/mobilenet_600", ROW.key) == 1
    printed = capsys.readouterr().out
    assert "v1/mobilenet_600: starts from 'work_dirs/pretrain/mobilenetv1" in printed
    assert f"{ROW.key}: starts from" in printed and "--weights FILE" in printed
    assert started == []
    monkeypatch.setattr(
        runs.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 3)
    )
    assert run(tmp_path, ROW.key, "--weights", str(ready)) == 1
    assert "`train` ended with status 3" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("no/row",), "no row 'no/row'"),
        ((ROW.key, "--gpus", "3"), "one of [1, 2, 4, 8, 16]"),
        ((ROW.key, "--gpus", "4"), "must be at most 2"),
        (("all", "--weights", "x.pth"), "one row only"),
        ((ROW.key, "--cfg-options", "a=1"), "only a demo's config"),
    ],
)
def test_mistakes_are_one_sentence(ready, started, tmp_path, capsys, words, named):
    assert run(tmp_path, *words) == 2
    assert named in capsys.readouterr().err and started == []


def test_another_data_set_is_refused_before_anything_runs(started, demo_data, tmp_path, capsys):
    assert run(tmp_path, ROW.key, "--data-root", str(demo_data)) == 2
    assert "train2017 has 12 images, not 118,287" in capsys.readouterr().err


def test_a_row_of_mmdets_backbone_starts_from_a_complete_checkpoint_only(
    ready, started, tmp_path, capsys
):
    def saved(width):
        network = MODELS.build({"type": "MobileNetV2", "widen_factor": width})
        state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / "mobilenet.pth")
        return str(tmp_path / "mobilenet.pth")

    row = "v2/mobilenetv2_40m"
    assert run(tmp_path, row, "--weights", saved(0.5)) == 1
    assert "does not hold MobileNetV2" in capsys.readouterr().out and started == []
    assert run(tmp_path, row, "--weights", saved(0.25)) == 0
    assert f"model.backbone.init_cfg.checkpoint={saved(0.25)}" in started[0]


def test_list_shows_the_cost_of_a_row(capsys, tmp_path):
    assert cli.main(["papers", "list", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if f"| {ROW.key} |" in line]
    assert all(cell in line for cell in ("29.0", "not run", "150,000", "2,400,000", "800x1200"))
    assert len(lines) == 28


def test_the_demo_runs_to_its_end_and_explains_its_map(tmp_path, demo_data, root):
    """With real subprocesses, on a few synthetic images."""
    where = tmp_path / "data"
    where.mkdir()
    shutil.copytree(demo_data, where / "demo")
    marker = json.loads((demo_data / "synthetic.json").read_text())
    marker |= {"train": 400, "val": 80}  # --demo's own counts
    (where / "demo" / "synthetic.json").write_text(json.dumps(marker))
    few = ("train_dataloader.dataset.indices=4", "val_dataloader.dataset.indices=2")
    command = [sys.executable, "-m", "shufflenet_det.cli", "papers", "run", "v2/shufflenetv2_0.5x"]
    options = ["--demo", "--cfg-options", *few, "test_dataloader.dataset.indices=2"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "training;" in done.stdout and "testing" in done.stdout
    assert "About 0 is expected" in done.stdout
    assert not (tmp_path / "results").exists()
