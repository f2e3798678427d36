"""The scripts as users call them: train, kill, resume, test, draw; and their errors."""

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from shufflenet_det.cli import run_tool
from shufflenet_det.host.checkpoints import load_from_local

ROOT = Path(__file__).parent.parent
SSDLITE = "configs/ssdlite320_shufflenet_coco.py"
MAIN = "configs/faster_rcnn_shufflenet_coco.py"
COCO_MINI = ROOT.parent / "shared" / "data" / "coco_mini"
PROGRAMS = sorted(p.name for p in (ROOT / "tools").glob("[!_]*.py"))

NO_WORKERS = [
    f"{split}_dataloader.{key}"
    for split in ("train", "val", "test")
    for key in ("num_workers=0", "persistent_workers=False")
]
SHORT = [
    *NO_WORKERS,
    "model.backbone.init_cfg=None",
    "train_dataloader.batch_size=2",
    "default_hooks.logger.interval=1",
]
SMALL_SSD = [
    *SHORT,
    "model.test_cfg.score_thr=0.0",
    "train_dataloader.dataset.times=2",
    "train_dataloader.drop_last=True",
    *(f"{s}_dataloader.dataset.pipeline.1.scale=(64,64)" for s in ("val", "test")),
    "train_dataloader.dataset.dataset.pipeline.4.scale=(64,64)",
    "train_cfg.max_epochs=2",
    "train_cfg.val_interval=1",
]
SMALL_RCNN = [
    *SHORT,
    "model.backbone.norm_eval=False",
    "model.roi_head.bbox_head.fc_out_channels=16",
    "model.train_cfg.rcnn.sampler.num=32",
    "model.train_cfg.rpn_proposal.max_per_img=50",
    "model.test_cfg.rpn.max_per_img=50",
    *(f"{s}_dataloader.dataset.pipeline.1.scale=(128,96)" for s in ("val", "test")),
    "train_dataloader.dataset.pipeline.2.scale=(128,96)",
    "train_cfg.max_epochs=1",
]
# Twelve images, one without objects, repeated twice, in batches of two.
STEPS = 11

# Several runs in one interpreter share mmengine's visualizer.
pytestmark = pytest.mark.filterwarnings("ignore:.*instance named of visualizer")


def options(data_root, values):
    return ["--cfg-options", f"data_root={data_root}/", *values]


def logged(work_dir, name, *arguments):
    """Run a program in this interpreter, which saves seconds of imports, and read its log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("LOCAL_RANK", "0")  # the program sets it
        assert run_tool(name, [*map(str, arguments), "--work-dir", str(work_dir)]) == 0
    return max(work_dir.glob("*/*.log")).read_text()


@pytest.fixture(scope="module")
def killed(tmp_path_factory, demo_data):
    """A training that was killed in its second epoch: (work folder, arguments)."""
    work_dir = tmp_path_factory.mktemp("killed")
    arguments = [SSDLITE, *options(demo_data, SMALL_SSD)]
    command = [sys.executable, "tools/train.py", *arguments, "--work-dir", str(work_dir)]
    with open(work_dir / "log.txt", "w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while not re.search(r"Epoch\(train\) +\[2\]\[ *1/", (work_dir / "log.txt").read_text()):
            if process.poll() is not None:
                pytest.fail(f"ended by itself: {(work_dir / 'log.txt').read_text()[-4000:]}")
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return work_dir, arguments


def test_a_killed_training_leaves_its_first_checkpoint_whole(killed):
    work_dir, _ = killed
    checkpoints = [path.name for path in work_dir.glob("epoch_*")]
    assert checkpoints == ["epoch_1.pth"]
    assert load_from_local(work_dir / "epoch_1.pth")["meta"]["iter"] == STEPS


@pytest.fixture(scope="module")
def resumed(killed):
    """The killed training, continued with ``--resume``: (work folder, log)."""
    work_dir, arguments = killed
    return work_dir, logged(work_dir, "train", *arguments, "--resume")


def test_resuming_goes_on_with_the_second_epoch(resumed):
    work_dir, printed = resumed
    steps = re.findall(r"Epoch\(train\) +\[(\d+)\]\[ *(\d+)/(\d+)\]", printed)
    assert steps == [("2", str(i + 1), str(STEPS)) for i in range(STEPS)]
    meta = load_from_local(work_dir / "epoch_2.pth")["meta"]
    assert (meta["epoch"], meta["iter"]) == (2, 2 * STEPS)


def test_training_evaluates_and_keeps_the_best(resumed):
    work_dir, printed = resumed
    assert "coco/bbox_mAP: " in printed
    assert len(list(work_dir.glob("best_coco_bbox_mAP_epoch_*.pth"))) == 1


@pytest.fixture(scope="module")
def tested(resumed, demo_data, tmp_path_factory):
    """The last checkpoint, tested: (folder of the results, log)."""
    out = tmp_path_factory.mktemp("tested")
    drawn = ["--out", out / "results.pkl", "--show-dir", out / "shown"]
    checkpoint = resumed[0] / "epoch_2.pth"
    arguments = [SSDLITE, checkpoint, *drawn, *options(demo_data, SMALL_SSD)]
    return out, logged(out / "work", "test", *arguments)


def test_testing_prints_the_figures_of_the_training(resumed, tested):
    figures = [re.findall(r"coco/(bbox_\w+): (\S+)", text) for text in (resumed[1], tested[1])]
    assert figures[0] == figures[1] != []


def test_testing_writes_the_predictions(tested):
    results = pickle.loads((tested[0] / "results.pkl").read_bytes())
    assert len(results) == 4
    assert all(len(result["pred_instances"]["bboxes"]) for result in results)


def test_testing_draws_annotations_beside_predictions(tested, demo_data):
    originals = {p.name: cv2.imread(str(p)).shape for p in (demo_data / "val2017").iterdir()}
    drawn = {p.name: cv2.imread(str(p)).shape for p in (tested[0] / "shown").rglob("*.jpg")}
    assert drawn == {name: (h, 2 * w, c) for name, (h, w, c) in originals.items()}


def test_the_demo_draws_every_image_of_a_folder(resumed, demo_data, tool, tmp_path):
    dumped = resumed[0] / Path(SSDLITE).name
    where = ["--out-dir", tmp_path, "--score-thr", "0"]
    tool("demo.py", dumped, resumed[0] / "epoch_2.pth", demo_data / "val2017", *where)
    images = {p.name: cv2.imread(str(p)) for p in tmp_path.iterdir()}
    for path in (demo_data / "val2017").iterdir():
        original = cv2.imread(str(path))
        assert images[path.name].shape == original.shape
        # JPEG changes pixels little, a box changes them a lot
        assert np.abs(images[path.name].astype(int) - original).max() > 100
    assert len(images) == 4


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes_train_on_the_cpu(python, demo_data, tmp_path):
    done = python(
        *("-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"),
        *("tools/train.py", MAIN, "--launcher", "pytorch", "--work-dir", tmp_path),
        *options(demo_data, [*SMALL_RCNN, "model.test_cfg.rcnn.score_thr=0.0"]),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    # Each process has half of the eleven images, rounded up.
    assert re.search(r"Epoch\(train\) +\[1\]\[3/3\]", done.stdout + done.stderr)
    assert load_from_local(tmp_path / "epoch_1.pth")["meta"]["iter"] == 3
    assert "coco/bbox_mAP" in done.stdout + done.stderr


@pytest.fixture
def mixed(tool, demo_data, tmp_path):
    """One epoch of the main config with ``--amp --auto-scale-lr``."""
    work_dir = ["--work-dir", tmp_path]
    tool("train.py", MAIN, "--amp", "--auto-scale-lr", *work_dir, *options(demo_data, SMALL_RCNN))
    return tmp_path


def test_mixed_precision_and_scaled_learning_rate(mixed):
    checkpoint = load_from_local(mixed / "epoch_1.pth")
    optimizer = checkpoint["optimizer"]
    # 0.02 for 16 images per step (mmdet's 1x schedule), two images per step here
    assert {group["initial_lr"] for group in optimizer["param_groups"]} == {0.02 * 2 / 16}
    assert {v.dtype for v in checkpoint["state_dict"].values()} == {torch.float32, torch.int64}
    wrapper = Config.fromfile(mixed / Path(MAIN).name).optim_wrapper.type
    assert wrapper == ("AmpOptimWrapper" if torch.cuda.is_available() else "Bfloat16OptimWrapper")


def test_the_own_dataset_example_trains(tool, own_data, monkeypatch):
    monkeypatch.chdir(own_data)
    once = ["train_cfg.max_epochs=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=2"]
    config = ROOT / "configs/own_dataset.py"
    tool("train.py", config, "--cfg-options", *once, "model.init_cfg=None")
    checkpoint = load_from_local("work_dirs/own_dataset/epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 2
    assert tuple(checkpoint["meta"]["dataset_meta"]["classes"]) == ("helmet", "vest")


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="a cut of COCO beside the repository is absent")
def test_the_main_config_trains_and_evaluates_on_real_images(tool, tmp_path):
    few = [
        "train_dataloader.dataset.indices=4",
        "val_dataloader.dataset.indices=4",
        "model.test_cfg.rcnn.score_thr=0.0",
    ]
    work_dir = ["--work-dir", tmp_path]
    tool("train.py", MAIN, *work_dir, *options(COCO_MINI, [*SMALL_RCNN, *few]))
    assert load_from_local(tmp_path / "epoch_1.pth")["meta"]["iter"] == 2
    assert list(tmp_path.glob("best_coco_bbox_mAP_epoch_1.pth"))


HELP = """if True:
    import runpy, sys
    import shufflenet_det
    before = set(sys.modules)
    sys.path.insert(0, "tools")
    for name in sys.argv[1:]:
        sys.argv = [name, "--help"]
        try:
            runpy.run_path(f"tools/{name}", run_name="__main__")
        except SystemExit as ended:
            assert ended.code == 0
    heavy = {"torch", "mmdet", "mmcv", "torchvision"} & (set(sys.modules) - before)
    print("LOADED", sorted(heavy))
"""


def test_help_loads_no_more_than_the_package_does(python):
    printed = python("-c", HELP, *PROGRAMS).stdout
    assert printed.count("usage: ") == len(PROGRAMS)
    assert printed.endswith("LOADED []\n")


@pytest.fixture
def refused(tool, capsys):
    """Run a script with wrong arguments, and return the sentence that it prints."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            tool(*words)
        if isinstance(ended.value.code, str):
            return ended.value.code
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


MISSING_DATA = {
    "train.py": ["train.py", MAIN],
    "train.py, SSDLite": ["train.py", SSDLITE],
    "test.py": ["test.py", MAIN, __file__],
    "train.py, other data": ["train.py", "configs/bccd/ssdlite320_shufflenet_bccd.py"],
}


@pytest.mark.parametrize("case", MISSING_DATA)
def test_missing_data_is_one_message(refused, case):
    message = refused(*MISSING_DATA[case], "--cfg-options", "data_root=/nowhere/")
    for part in ("/nowhere/annotations/instances_", "download", "--demo"):
        assert part in message


@pytest.mark.parametrize("program", ["train.py", "test.py", "demo.py"])
def test_an_unknown_config_is_named(refused, program):
    rest = {"train.py": [], "test.py": ["a.pth"], "demo.py": ["a.pth", __file__, "--out-dir", "c"]}
    assert "configs/no_such.py" in refused(program, "configs/no_such.py", *rest[program])


@pytest.mark.parametrize(
    "words",
    [
        ("train.py", MAIN),
        ("test.py", MAIN, "any.pth"),
        ("pretrain.py", "any.py"),
        ("reproduce.py", "run", "v1/mobilenet_300", "--demo"),
    ],
)
def test_an_option_without_a_value_is_named(refused, words):
    message = refused(*words, "--cfg-options", "a=1", "data_root")
    assert "--cfg-options: must be KEY=VALUE, not 'data_root'" in message


def test_the_demo_of_other_data_is_refused(refused):
    config = "bccd/ssdlite320_shufflenet_bccd"
    assert "--demo needs a config for COCO" in refused("train.py", config, "--demo")


def test_a_wrong_name_for_predictions_is_refused(refused):
    message = refused("test.py", SSDLITE, __file__, "--out", "results.json")
    assert "'results.json': must end in .pkl" in message


def test_a_missing_file_is_named(refused):
    assert "no_such.pth" in refused("test.py", SSDLITE, "no_such.pth")


def test_a_missing_image_is_named(refused):
    words = ("demo.py", ROOT / SSDLITE, "any.pth", "no_such.jpg", "--out-dir", "out")
    assert "'no_such.jpg' not found" in refused(*words)
