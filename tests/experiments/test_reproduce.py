"""``tools/reproduce.py``: rows run to the end and survive a kill; figures are told as found."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmdet.models.backbones import MobileNetV2 as MMDetMobileNetV2
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from shufflenet_det import ShuffleNetV2
from shufflenet_det.experiments import V1_TABLE_7, V2_TABLE_7, comparison, results, runs

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tools/reproduce.py"
C4, LIGHT = "v1/shufflenet_1x_300", "v2/shufflenetv2_0.5x"

pytestmark = pytest.mark.filterwarnings("ignore:.*instance named of visualizer")


TRAINING = results.Training(
    gpus=2,
    hardware="NVIDIA Thing",
    date="2031-02-01",
    commit="0123456789ab",
    versions={"torch": "9.9"},
    command="tools/reproduce.py run …",
)


def measurement(row=LIGHT, mAP=0.2314, **changes):
    values = {
        "row": row,
        "demo": False,
        "metrics": {"coco/bbox_mAP": mAP, "coco/bbox_mAP_50": 0.4},
        "config": f"configs/paper_{row}.py",
        "weights": "megvii/v2_0.5x",
        "gpu_hours": 12.34,
        "date": "2031-02-03",
        "trainings": (TRAINING,),
    }
    return results.Measurement(**(values | changes))


def cells(markdown, row):
    """A row's cells, of the table that has it."""
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {row} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# What is told.


def test_all_rows_are_told_and_none_was_run(tool, tmp_path, capsys):
    tool("reproduce.py", "list", "--results", tmp_path, "--work-dir", tmp_path)
    listed = capsys.readouterr().out
    tool_table = ["reproduce.py", "table", "--results", tmp_path]
    tool(*tool_table)
    table = capsys.readouterr().out
    assert len(runs.ROWS) == 26
    for published in (*V1_TABLE_7, *V2_TABLE_7):
        row = published.key
        paper = f"{published.mAP:.1f}"
        config = f"configs/paper_{row}.py"
        assert cells(listed, row) == [row, paper, "not run", config, "not measured"]
        assert (ROOT / config).is_file()
        assert cells(table, row)[4:] == [paper, "not run", "", "", "", ""]
    assert re.findall(r"^## (.+)$", table, re.MULTILINE) == ["V1, Table 7", "V2, Table 7"]


def test_a_finished_rows_figure_stands_beside_the_papers(tool, tmp_path, capsys):
    results.write_measurement(measurement(), results.result_path(LIGHT, tmp_path))
    tool("reproduce.py", "table", "--results", tmp_path)
    table = capsys.readouterr().out
    # the paper has 22.5
    told = ["22.5", "23.1", "+0.6", "2031-02-03", "2 x NVIDIA Thing", "0123456789ab"]
    assert cells(table, LIGHT)[4:] == told
    assert table.count("not run") == 25
    tool("reproduce.py", "list", "--results", tmp_path, "--work-dir", tmp_path)
    assert cells(capsys.readouterr().out, LIGHT)[1:] == [
        *("22.5", "23.1", f"configs/paper_{LIGHT}.py", "12.3")
    ]


def test_the_plot_has_the_papers_figures_and_those_that_were_measured(tool, tmp_path):
    results.write_measurement(measurement(), results.result_path(LIGHT, tmp_path))
    tool("reproduce.py", "table", "--results", tmp_path, "--plot", tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as picture:
        picture.verify()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]
    figure = comparison.draw_comparison({LIGHT: measurement()})
    FigureCanvasAgg(figure).draw()
    drawn = {}
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        for line in axes.lines:
            if line.get_gid():
                kind, row = line.get_gid().split("/", 1)
                ((x, y),) = line.get_xydata()
                assert names[int(y)] == row
                drawn[kind, row] = round(float(x), 2)
    expected = {("paper", row): result.mAP for row, result in runs.ROWS.items()}
    assert drawn == expected | {("ours", LIGHT): 23.14}


def test_a_plot_has_to_be_a_png(tool, tmp_path):
    with pytest.raises(SystemExit, match=r"a\.svg.*\.png"):
        tool("reproduce.py", "table", "--results", tmp_path, "--plot", tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_a_row_that_went_on_elsewhere_tells_both():
    elsewhere = dataclasses.replace(TRAINING, gpus=1, commit="ffff")
    found = measurement(trainings=(TRAINING, TRAINING, elsewhere))
    assert found.hardware == "2 x NVIDIA Thing, NVIDIA Thing"
    assert found.commit == "0123456789ab, ffff"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"demo": True}, "a demo"),
        ({"row": C4}, C4),
        ({"metrics": {}}, "no measurement"),
        ({"mAP": -1.0}, r"no measurement.*coco/bbox_mAP is -1\.0, not 0 to 1"),
        ({"mAP": float("nan")}, r"no measurement.*is nan, not 0 to 1"),
        ({"mAP": "0.2"}, "no measurement"),
        ({"trainings": (dataclasses.replace(TRAINING, gpus="8"),)}, "gpus='8': must be a number"),
        ({"trainings": ({"gpus": 1},)}, "a Training must have command, commit, date"),
    ],
)
def test_what_is_no_figure_of_the_row_is_refused(tool, tmp_path, changes, told):
    path = results.result_path(LIGHT, tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps(dataclasses.asdict(measurement(**changes))))
    with pytest.raises(SystemExit, match=rf"shufflenetv2_0\.5x\.json.*{told}"):
        tool("reproduce.py", "table", "--results", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"row": "v1"}', "null"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json.*no measurement"):
        results.read_measurement(tmp_path / "a.json")


def test_a_measurement_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.json"
    results.write_measurement(measurement(), path)
    assert results.read_measurement(path) == measurement()
    before = path.read_text()

    def fail(*names):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        results.write_measurement(measurement(mAP=0.9), path)
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


# Which rows, and what is asked of them.


def test_rows_come_once_and_in_the_tables_order():
    assert runs.find_rows(["all"]) == [row.key for row in (*V1_TABLE_7, *V2_TABLE_7)]
    assert runs.find_rows([LIGHT, C4, LIGHT]) == [C4, LIGHT]


def test_an_unknown_row_is_answered_with_the_near_ones(tool):
    with pytest.raises(SystemExit) as ended:
        tool("reproduce.py", "run", "v2/shufflenet_v2_1x")
    message = str(ended.value.code)
    assert "'v2/shufflenet_v2_1x'" in message
    assert "did you mean v2/shufflenetv2_1x" in message
    with pytest.raises(SystemExit, match=r"rows are v1/shufflenet_2x_300, .*shufflenetv2star_2x"):
        tool("reproduce.py", "run", "xyz")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--gpus", 3], r"gpus=3: .*\[1, 2, 4, 8, 16\]"),
        (["--gpus", 0], r"gpus=0"),
        (["--cfg-options", "a=1"], "only a demo"),
        (["--data-root", "/nowhere"], r"/nowhere/annotations/instances_train2017\.json not found"),
        (["v1/mobilenet_300", "--weights", "a.pth"], "2 rows"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(tool, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=told) as ended:
        tool("reproduce.py", "run", LIGHT, *arguments)
    assert len(str(ended.value.code).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_other_data_than_the_papers_split_is_refused(tool, tmp_path, monkeypatch, demo_data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"not the papers' split.*train2017 has 12 images"):
        tool("reproduce.py", "run", LIGHT, "--data-root", demo_data)


@pytest.fixture
def started(monkeypatch):
    """The commands that are started instead of training, and what they end with."""
    commands, codes = [], {}

    def run(command):
        commands.append(command)
        return next((code for row, code in codes.items() if row in command), 0)

    monkeypatch.setattr(runs, "_run_process", run)
    monkeypatch.setattr(runs, "check_papers_split", lambda root: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    return commands, codes


def test_a_row_that_fails_is_told_by_the_programs_end(started, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started[1][C4] = 7
    with pytest.raises(SystemExit) as ended:
        tool("reproduce.py", "run", C4, LIGHT, "--demo")
    assert ended.value.code == 1
    started[1].clear()
    tool("reproduce.py", "run", C4, LIGHT, "--demo")


def test_a_row_that_fails_does_not_keep_the_next_from_running(started, tmp_path):
    commands, codes = started
    codes[C4] = 7
    outcomes = dict(
        runs.run_rows(
            [C4, LIGHT], demo=True, work_dir=str(tmp_path / "work"), results=tmp_path / "results"
        )
    )
    assert len(commands) == 2
    assert outcomes[LIGHT] == "finished"
    assert outcomes[C4] == f"ended with 7, see {tmp_path}/work_demo/{C4}"


def test_finished_rows_are_skipped_and_a_demo_finishes_none(started, tmp_path):
    commands, _ = started
    results.write_measurement(measurement(C4), results.result_path(C4, tmp_path))
    kwargs = {"work_dir": str(tmp_path / "work"), "results": tmp_path}
    before = f"finished before, see {results.result_path(C4, tmp_path)}"
    assert dict(runs.run_rows([C4], **kwargs)) == {C4: before}
    from_others = dict(runs.run_rows([C4], weights="mine.pth", **kwargs))[C4]
    assert re.match(r"was finished from 'megvii/v2_0\.5x', see .* for 'mine\.pth'", from_others)
    assert not commands
    assert dict(runs.run_rows([C4], demo=True, **kwargs)) == {C4: "finished"}
    assert len(commands) == 1


def test_several_gpus_are_launched_by_torchrun(started, tmp_path):
    commands, _ = started
    work = str(tmp_path / "w")
    list(runs.run_rows([C4], demo=True, gpus=4, work_dir=work, results=tmp_path))
    ((python, *command),) = commands
    assert python == sys.executable
    launched = command[: command.index(C4)]
    assert launched == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=4"),
        *("-m", "shufflenet_det.experiments"),
    ]


def test_weights_that_nobody_can_fetch_are_told_before_anything_is_started(
    started, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outcomes = dict(runs.run_rows(runs.find_rows(["all"]), results=tmp_path))
    run = {command[command.index("shufflenet_det.experiments") + 1] for command in started[0]}
    # the two rows on OpenMMLab's V1 and MobileNetV2 1.0x can be downloaded
    assert run == {"v1/shufflenet_1x_300", "v1/shufflenet_1x_600", "v2/mobilenetv2_300m"}
    assert {row for row, outcome in outcomes.items() if outcome == "finished"} == run
    for row, outcome in outcomes.items():
        if "shufflenetv2_" in row or "shufflenetv1_" in row:
            assert re.search(r"megvii/v.*get .*\.pth\.tar from https://.*--weights FILE", outcome)
        elif row not in run and "2x" not in row:
            assert re.search(r"work_dirs/pretrain/.*not there: see the head of configs/", outcome)
    assert dict(runs.run_rows([LIGHT], results=tmp_path, weights="mine.pth")) == {
        LIGHT: "starts from 'mine.pth', which is not there"
    }


def test_all_that_was_asked_reaches_the_rows_process(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pth").touch()
    asked = {"data_root": "d", "work_dir": "w", "results": "r", "weights": "mine.pth", "gpus": 2}
    assert dict(runs.run_rows([LIGHT], **asked)) == {LIGHT: "finished"}
    (command,) = started[0]
    row, *given = command[command.index("shufflenet_det.experiments") + 1 :]
    assert row == LIGHT
    parsed = dict(zip(given[:-1:2], given[1:-1:2], strict=True))
    assert parsed == {f"--{k.replace('_', '-')}": str(v) for k, v in asked.items()}
    assert given[-1].startswith("--command=")
    options = ["a.b=1", "c=2"]
    list(runs.run_rows([LIGHT], demo=True, cfg_options=options, work_dir="w", results="r"))
    command = started[0][1]
    assert "--demo" in command
    assert command[-3:] == ["--cfg-options", *options]


def test_options_may_be_given_in_several_places(started, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tool("reproduce.py", "run", LIGHT, "--cfg-options", "a=1", "--demo", "--cfg-options", "b=2")
    assert started[0][0][-3:] == ["--cfg-options", "a=1", "b=2"]


def test_a_row_that_another_process_finishes_meanwhile_is_not_run_again(started, tmp_path):
    outcomes = runs.run_rows([C4, LIGHT], demo=True, work_dir=str(tmp_path / "w"), results="r")
    assert next(outcomes) == (C4, "finished")
    path = tmp_path / "w_demo" / LIGHT / "result.json"
    results.write_measurement(measurement(demo=True), path)
    assert list(outcomes) == [(LIGHT, f"finished before, see {path}")]
    assert len(started[0]) == 1


def test_a_folder_that_cannot_be_used_is_one_sentence(started, tmp_path):
    work = tmp_path / "w"
    with runs._only_one(Path(f"{work}_demo") / C4):
        outcomes = dict(runs.run_rows([C4, LIGHT], demo=True, work_dir=str(work), results="r"))
    assert outcomes[C4].startswith("another process is running a row")
    assert outcomes[LIGHT] == "finished"
    Path(f"{tmp_path}/file_demo").touch()
    outcomes = dict(runs.run_rows([C4], demo=True, work_dir=f"{tmp_path}/file", results="r"))
    assert "cannot be the row's folder" in outcomes[C4]
    assert len(started[0]) == 1


def test_an_interrupted_program_says_how_to_go_on(tool, tmp_path, monkeypatch, capsys):
    def interrupt(command):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_run_process", interrupt)
    with pytest.raises(SystemExit) as ended:
        tool("reproduce.py", "run", LIGHT, "--demo")
    assert ended.value.code == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("gpus, batch", [(1, 16), (4, 4), (16, 1)])
def test_a_step_has_16_images_on_any_number_of_gpus(demo_data, tmp_path, gpus, batch, monkeypatch):
    monkeypatch.setattr("shufflenet_det.training.configs.distributed.prepare", lambda cfg: None)
    cfg = runs.load_row(C4, gpus=gpus, data_root=str(demo_data), demo=False, work_dir=str(tmp_path))
    assert cfg.train_dataloader.batch_size * gpus == 16
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.launcher == ("none" if gpus == 1 else "pytorch")


def test_more_gpus_than_there_are_is_one_sentence(started, tmp_path):
    with pytest.raises(ValueError, match=r"gpus=8: must be at most 4, the GPUs here"):
        list(runs.run_rows([C4], gpus=8, results=tmp_path))
    assert not started[0]


@pytest.mark.parametrize("content", ["{", json.dumps({"row": C4})])
def test_a_damaged_figure_is_not_taken_for_a_finished_row(started, tmp_path, content):
    path = results.result_path(C4, tmp_path)
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=r"shufflenet_1x_300\.json.*no measurement"):
        list(runs.run_rows([C4], results=tmp_path))
    assert path.read_text() == content


def test_a_work_folder_may_end_in_a_slash():
    kwargs = {"demo": True, "results": "results"}
    paths = {runs.finished_path(C4, work_dir=name, **kwargs) for name in ("a/b", "a/b/")}
    assert paths == {Path("a/b_demo") / C4 / "result.json"}


STARTER = """
import sys
from shufflenet_det.experiments import runs
sleep = "import time; print('begun', flush=True); time.sleep(60)"
runs._run_process([sys.executable, "-c", sleep])
"""


def test_what_was_started_ends_with_its_starter():
    process = subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    # Whoever still had the pipe open would keep it from its end for a minute.
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == 128 + signal.SIGTERM


def write_log(home, *lines, batch=16, name="t"):
    (home / name / "vis_data").mkdir(parents=True)
    (home / name / "vis_data" / "scalars.json").write_text("\n".join(lines))
    config = f"train_dataloader = dict(batch_size={batch})\n"
    (home / name / "vis_data" / "config.py").write_text(config)


def test_gpu_hours_follow_from_the_logged_times(tmp_path):
    home = tmp_path / C4
    steps = [json.dumps({"loss": 1.0, "time": t, "memory": 9}) for t in (9.0, 2.0, 2.0)]
    tested = json.dumps({"coco/bbox_mAP": 0.1, "time": 50.0})
    write_log(home, *steps, tested, '{"loss": 1, "ti', batch=4)
    # 2 s an iteration of four processes, and as much of one that went on in 8 s
    write_log(home, json.dumps({"loss": 1.0, "time": 8.0, "memory": 9}), name="u")
    assert runs.gpu_hours(home, iterations=900) == pytest.approx(2 * 900 * 4 / 3600)
    assert runs.gpu_hours(home, iterations=None) is None
    assert runs.expected_gpu_hours(C4, str(tmp_path)) is None  # no config: not started
    cfg = Config.fromfile(runs.config_of(C4))
    cfg.dump(home / runs.config_of(C4).name)
    hours = 2 * 61_250 * 4 / 3600
    assert runs.expected_gpu_hours(C4, str(tmp_path)) == pytest.approx(hours)


def test_times_on_a_cpu_are_no_gpu_hours(tmp_path):
    write_log(tmp_path, json.dumps({"loss": 1.0, "time": 2.0}))
    assert runs.gpu_hours(tmp_path, iterations=900) is None


# Runs.

SMALL = [
    *(f"{split}_dataloader.num_workers=0" for split in ("train", "val", "test")),
    *(f"{split}_dataloader.persistent_workers=False" for split in ("train", "val", "test")),
    *(f"{split}_dataloader.dataset.indices=4" for split in ("train", "val", "test")),
    "train_dataloader.dataset.pipeline.2.scale=(128,96)",
    *(f"{split}_dataloader.dataset.pipeline.1.scale=(128,96)" for split in ("val", "test")),
    "train_dataloader.batch_size=1",
    "train_cfg.max_epochs=2",
    "train_cfg.val_interval=2",
    "model.train_cfg.rcnn.sampler.num=8",
    "model.test_cfg.rpn.max_per_img=4",
    "default_hooks.logger.interval=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a person stands, with the made data drawn before."""
    from shufflenet_det.data import make_demo_dataset

    where = tmp_path_factory.mktemp("reproduce")
    make_demo_dataset(where / "data/demo")
    return where


def demo(row, *arguments):
    return [sys.executable, str(PROGRAM), "run", row, "--demo", *arguments, "--cfg-options", *SMALL]


ENVIRONMENT = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def killed(folder):
    """A demo that was killed in its second epoch."""
    path = folder / "log.txt"
    with open(path, "w") as log:
        process = subprocess.Popen(
            demo(LIGHT),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=ENVIRONMENT,
        )
        while not re.search(r"Epoch\(train\) +\[2\]\[1/", path.read_text()):
            if process.poll() is not None:
                pytest.fail(f"ended by itself: {path.read_text()[-4000:]}")
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return folder


def test_a_killed_run_leaves_no_figure(killed):
    home = killed / "work_dirs/reproduce_demo" / LIGHT
    assert (home / "epoch_1.pth").is_file()
    assert not (home / "result.json").exists()
    assert not (killed / "results").exists()


@pytest.fixture(scope="module")
def resumed(killed):
    """The same command again: (folder, what was printed)."""
    done = subprocess.run(
        demo(LIGHT), cwd=killed, capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return killed, done.stdout + done.stderr


def test_a_killed_run_goes_on_and_finishes(resumed):
    _, printed = resumed
    steps = re.findall(r"Epoch\(train\) +\[(\d+)\]\[(\d+)/(\d+)\]", printed)
    # four images, one of them without objects
    assert steps == [("2", str(i + 1), "4") for i in range(4)]
    assert f"{LIGHT}: finished" in printed


def test_a_finished_demo_is_skipped_and_shows_no_figure(resumed, tool, monkeypatch, capsys):
    folder, _ = resumed
    monkeypatch.chdir(folder)
    monkeypatch.setattr(runs, "_run_process", None)  # nothing may be started
    tool("reproduce.py", "run", LIGHT, "--demo")
    path = f"work_dirs/reproduce_demo/{LIGHT}/result.json"
    assert capsys.readouterr().out == f"{LIGHT}: finished before, see {path}\n"
    tool("reproduce.py", "table")
    assert capsys.readouterr().out.count("not run") == 26
    assert not (folder / "results").exists()


def check_demo(folder, row, gpus):
    home = folder / "work_dirs/reproduce_demo" / row
    found = results.read_measurement(home / "result.json")
    assert (found.row, found.demo, found.gpu_hours) == (row, True, None)
    assert 0 <= found.mAP <= 100
    assert found.weights == ""
    assert found.config == f"configs/paper_{row}.py"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date)
    for training in found.trainings:
        assert training.gpus == gpus
        assert training.versions["torch"] == torch.__version__.split("+")[0]
        assert f"run {row} --demo" in training.command
    assert list(home.glob("*/*.log"))
    return found.trainings


def test_light_heads_json_tells_what_was_run_and_that_it_was_interrupted(resumed):
    assert len(check_demo(resumed[0], LIGHT, gpus=1)) == 2


def test_c4_runs_to_the_end_in_two_processes(folder):
    done = subprocess.run(
        demo(C4, "--gpus", "2"),
        cwd=folder,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    # Each process has half of the four images.
    assert re.search(r"Epoch\(train\) +\[2\]\[2/2\]", done.stdout + done.stderr)
    assert len(check_demo(folder, C4, gpus=2)) == 1


@pytest.fixture
def real(demo_data, tmp_path, monkeypatch):
    """A row itself, not its demo, but for two iterations on a few images: a function to run it."""
    network = ShuffleNetV2(0.5, "paper", out_indices=(4,))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    options = {
        "train_cfg.max_iters": 2,
        "default_hooks.checkpoint.interval": 1,
        "train_dataloader.batch_size": 1,
        "val_dataloader.dataset.indices": 1,
        "test_dataloader.dataset.indices": 1,
        "train_dataloader.dataset.pipeline.2.scale": (128, 96),
        "val_dataloader.dataset.pipeline.1.scale": (128, 96),
        "test_dataloader.dataset.pipeline.1.scale": (128, 96),
        "model.test_cfg.rpn.max_per_img": 4,
    }
    for split in ("train", "val", "test"):
        options[f"{split}_dataloader.num_workers"] = 0
        options[f"{split}_dataloader.persistent_workers"] = False

    def run(weights=tmp_path / "weights.pth", command="typed"):
        cfg = runs.load_row(
            LIGHT,
            gpus=1,
            data_root=str(demo_data),
            demo=False,
            work_dir="work",
            weights=str(weights),
            cfg_options=options,
        )
        path = results.result_path(LIGHT, tmp_path / "results")
        runs.run_row(LIGHT, cfg, path, demo=False, gpus=1, command=command)
        return results.read_measurement(path)

    monkeypatch.chdir(tmp_path)
    return run


def test_a_row_itself_gives_its_figure_and_is_not_trained_twice(real, tmp_path, monkeypatch):
    found = real()
    assert not found.demo
    assert [training.command for training in found.trainings] == ["typed"]
    assert found.weights == str(tmp_path / "weights.pth")
    given = torch.load(tmp_path / "weights.pth")["conv1.0.weight"]  # frozen
    last = torch.load(tmp_path / "work" / LIGHT / "iter_2.pth")["state_dict"]
    assert torch.equal(last["backbone.conv1.0.weight"], given)
    path = results.result_path(LIGHT, tmp_path / "results")
    assert results.read_results(runs.ROWS, tmp_path / "results") == {LIGHT: found}
    home = tmp_path / "work" / LIGHT
    assert sorted(p.name for p in home.glob("iter_*.pth")) == ["iter_1.pth", "iter_2.pth"]
    # Killed between training and test: only tested again, and told as it was trained.
    path.unlink()
    monkeypatch.setattr("shufflenet_det.training.train", None)
    again = real("weights.pth", command="typed later")
    assert (again.metrics, again.trainings) == (found.metrics, found.trainings)
    # Finished: not even tested.
    monkeypatch.setattr("shufflenet_det.training.test", None)
    assert real() == again
    # It was begun from other weights: neither of the two is what the figure would be of.
    path.unlink()
    shutil.copy(tmp_path / "weights.pth", tmp_path / "other.pth")
    with pytest.raises(runs.CannotRunError, match=r"begun from '.*weights\.pth'.*'.*other\.pth'"):
        real(tmp_path / "other.pth")


def test_a_row_goes_on_in_a_folder_that_was_moved_and_from_what_is_whole(real, tmp_path):
    real()
    home = tmp_path / "work" / LIGHT
    (home / "iter_2.pth").unlink()
    results.result_path(LIGHT, tmp_path / "results").unlink()
    (home / "last_checkpoint").write_text(str(tmp_path / "elsewhere" / "iter_2.pth"))
    assert [t.command for t in real(command="later").trainings] == ["typed", "later"]
    assert (home / "iter_2.pth").is_file()


def test_weights_of_another_width_are_refused_before_anything_is_run(demo_data, tmp_path):
    torch.save(ShuffleNetV2(1.0, "paper").state_dict(), tmp_path / "wide.pth")
    cfg = load_with(LIGHT, str(tmp_path / "wide.pth"), demo_data, tmp_path)
    with pytest.raises(ValueError, match=r"wide\.pth"):
        runs.require_weights(cfg.model.backbone)


def load_with(row, weights, demo_data, tmp_path):
    options = {"data_root": str(demo_data), "work_dir": str(tmp_path), "weights": weights}
    return runs.load_row(row, gpus=1, demo=False, **options)


def test_other_weights_bring_the_images_that_they_were_trained_on(demo_data, tmp_path):
    network = torchvision.models.shufflenet_v2_x0_5()
    torch.save(network.state_dict(), tmp_path / "any.pth")
    kind = {"type": "DetDataPreprocessor", "pad_size_divisor": 32}
    model = load_with(LIGHT, None, demo_data, tmp_path).model
    rows_own = {"mean": [0.0] * 3, "std": [1.0] * 3, "bgr_to_rgb": False}
    assert model.data_preprocessor == kind | rows_own
    model = load_with(LIGHT, str(tmp_path / "any.pth"), demo_data, tmp_path).model
    assert model.backbone.init_cfg.checkpoint == str(tmp_path / "any.pth")
    assert model.data_preprocessor == kind | {
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
    }


def test_mobilenet_v2_does_not_begin_with_a_part_of_its_weights(demo_data, tmp_path):
    row = "v2/mobilenetv2_40m"
    whole = {
        f"backbone.{k}": v for k, v in MMDetMobileNetV2(widen_factor=0.25).state_dict().items()
    }
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": whole | {"head.fc.weight": torch.zeros(1)}}, path)
    backbone = load_with(row, str(path), demo_data, tmp_path).model.backbone
    assert backbone.init_cfg.checkpoint == str(path)
    runs.require_weights(backbone)
    parts = {
        "conv2.bn.bias": {k: v for k, v in whole.items() if k != "backbone.conv2.bn.bias"},
        "conv2.conv.weight": whole | {"backbone.conv2.conv.weight": torch.zeros(3, 3)},
        "conv1.conv.weight": {k.removeprefix("backbone."): v for k, v in whole.items()},
    }
    for first, part in parts.items():
        torch.save(part, path)
        with pytest.raises(ValueError, match=rf"not hold MobileNetV2.* first backbone\.{first}"):
            runs.require_weights(backbone)


def test_a_row_is_run_by_one_process_at_a_time(tmp_path):
    with runs._only_one(tmp_path / "row"):
        with pytest.raises(RuntimeError, match="another process"):
            with runs._only_one(tmp_path / "row"):
                pass
    with runs._only_one(tmp_path / "row"):
        pass


@pytest.fixture(autouse=True)
def scopes():
    """Runs leave scopes of their own."""
    yield
    for name in list(DefaultScope._instance_dict):
        if name != "mmengine":
            del DefaultScope._instance_dict[name]
