"""``tools/pretrain.py``: training, interruption, resume, evaluation, and its errors."""

import json
import math
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from random_parts import write_images

from shufflenet_det import ShuffleNetV2, pretraining
from shufflenet_det.data import make_demo_classes
from shufflenet_det.pretraining import ImageClassifier, runs
from shufflenet_det.weights import read_weights

# Several runs in one interpreter share mmengine's visualizer.
pytestmark = pytest.mark.filterwarnings("ignore:.*instance named of")
STEPS = 9  # three epochs of three
V2_CONFIG = "configs/pretrain/shufflenetv2_imagenet.py"


class RecordWeights(Hook):
    """Copies of the weights after every step."""

    states: list

    def after_train_iter(self, runner, *args, **kwargs):
        state = runner.model.state_dict()
        RecordWeights.states.append({k: v.clone() for k, v in state.items()})


@pytest.fixture(scope="module")
def straight(images, config, tmp_path_factory):
    """A training with a moving average: the work folder, and the weights after each step."""
    work_dir = tmp_path_factory.mktemp("straight")
    HOOKS.register_module(module=RecordWeights, force=True)
    RecordWeights.states = []
    cfg = pretraining.load_pretrain_config(
        config,
        data_root=str(images),
        work_dir=str(work_dir),
        # mmengine gives one interpreter one visualizer of a name, with its first folder.
        cfg_options={"custom_hooks": [{"type": "RecordWeights"}], "visualizer.name": "straight"},
    )
    pretraining.pretrain(cfg, ema=True)
    return work_dir, RecordWeights.states


def checkpoint(work_dir, epoch):
    return torch.load(work_dir / f"epoch_{epoch}.pth", weights_only=True)


def scalars(work_dir):
    """The logged lines."""
    (path,) = work_dir.rglob("scalars.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(a, b):
    """Whether two trees of tensors and plain values are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_the_learning_rate_is_linear_to_zero_and_follows_the_batch(straight):
    rates = [line["lr"] for line in scalars(straight[0]) if "loss" in line]
    # 0.5 for 1024 images; four a step here
    expected = [0.5 * 4 / 1024 * (1 - step / (STEPS - 1)) for step in range(STEPS)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_only_weights_of_convolutions_and_of_the_classifier_decay(straight):
    """As in the authors' code."""
    model = ImageClassifier(ShuffleNetV2(0.5, out_indices=(4,)), 3)
    groups = checkpoint(straight[0], 3)["optimizer"]["param_groups"]
    for (name, parameter), group in zip(model.named_parameters(), groups, strict=True):
        assert group["weight_decay"] == (4e-5 if parameter.ndim > 1 else 0), name
        assert group["momentum"] == 0.9


def test_every_epoch_is_validated_on_all_images(straight):
    found = [line for line in scalars(straight[0]) if "accuracy/top1" in line]
    assert len(found) == 3
    for line in found:
        # seven equal images of three classes
        assert line["accuracy/top1"] in (pytest.approx(300 / 7), pytest.approx(200 / 7))
        assert line["accuracy/top5"] == 100
    assert len(list(straight[0].glob("best_accuracy_top1_epoch_*.pth"))) == 1


def test_a_checkpoint_gives_a_detector_the_moving_average(straight):
    work_dir, states = straight
    average = states[0]
    for step, state in enumerate(states[1:], 1):
        momentum = (1 - 0.0002) * math.exp(-(1 + step) / 2000) + 0.0002
        average = {k: torch.lerp(v.double(), state[k].double(), momentum).to(v.dtype)
                   for k, v in average.items()}  # fmt: skip
    path = str(work_dir / "epoch_3.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    backbone = ShuffleNetV2(0.5, "paper", init_cfg=init_cfg)
    backbone.init_weights()
    raw = checkpoint(work_dir, 3)["ema_state_dict"]
    for key, tensor in backbone.state_dict().items():
        name = f"backbone.{key}"
        assert torch.equal(raw[f"module.{name}"], states[-1][name])
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(backbone.conv1[0].weight, states[-1]["backbone.conv1.0.weight"])


def test_a_resumed_training_equals_an_uninterrupted_one(
    straight, images, config, tool, tmp_path, monkeypatch
):
    command = [config, "--data-root", images, "--work-dir", tmp_path, "--ema"]
    train_step, steps = ImageClassifier.train_step, []

    def interrupted(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 5:  # the second of the second epoch
            raise KeyboardInterrupt
        return train_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ImageClassifier, "train_step", interrupted)
        with pytest.raises(SystemExit):
            tool("pretrain.py", *command)
    assert [p.name for p in tmp_path.glob("epoch_*")] == ["epoch_1.pth"]
    tool("pretrain.py", *command, "--resume")
    resumed, whole = checkpoint(tmp_path, 3), checkpoint(straight[0], 3)
    assert (resumed["meta"]["epoch"], resumed["meta"]["iter"]) == (3, STEPS)
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert same(resumed[part], whole[part]), part


def test_mixed_precision_and_a_batch_of_its_own(images, config, tool, tmp_path):
    command = [config, "--data-root", images, "--work-dir", tmp_path, "--amp", "--batch-size", 6]
    tool("pretrain.py", *command, "--cfg-options", "train_cfg.max_epochs=1")
    trained = checkpoint(tmp_path, 1)
    assert trained["meta"]["iter"] == 2
    rates = {group["initial_lr"] for group in trained["optimizer"]["param_groups"]}
    assert rates == {0.5 * 6 / 1024}
    assert {v.dtype for v in trained["state_dict"].values()} == {torch.float32, torch.int64}
    wrapper = Config.fromfile(tmp_path / Path(config).name).optim_wrapper.type
    assert wrapper == ("AmpOptimWrapper" if torch.cuda.is_available() else "Bfloat16OptimWrapper")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes_train_and_validate_all_images(
    python, images, config, tool, tmp_path, capsys
):
    python(
        *("-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"),
        *("tools/pretrain.py", config, "--launcher", "pytorch", "--data-root", images),
        *("--work-dir", tmp_path, "--batch-size", 4, "--cfg-options", "train_cfg.max_epochs=1"),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    trained = checkpoint(tmp_path, 1)
    assert trained["meta"]["iter"] == 3
    rates = {group["initial_lr"] for group in trained["optimizer"]["param_groups"]}
    assert rates == {0.5 * 4 / 1024}
    (top1,) = [line["accuracy/top1"] for line in scalars(tmp_path) if "accuracy/top1" in line]
    weights = ["--eval-only", "--weights", tmp_path / "epoch_1.pth"]
    tool("pretrain.py", config, "--data-root", images, "--work-dir", tmp_path / "eval", *weights)
    # In eighths, if the image that makes the halves equal were counted.
    assert top1 in (pytest.approx(300 / 7), pytest.approx(200 / 7))
    assert f"accuracy/top1 {top1:.2f} %, accuracy/top5 100.00 %\n" in capsys.readouterr().out


@pytest.mark.parametrize(("total", "processes"), [(12, 4), (12, 1), (9, 3)])
def test_the_batch_is_divided_by_the_processes(config, images, monkeypatch, total, processes):
    monkeypatch.setattr(runs, "get_world_size", lambda: processes)
    cfg = pretraining.load_pretrain_config(config, data_root=str(images), batch_size=total)
    assert cfg.train_dataloader.batch_size * processes == total


@pytest.fixture
def small_demo(monkeypatch, tmp_path_factory):
    """The demo's images, fewer of them."""
    root = tmp_path_factory.mktemp("demo") / "classes"
    make = make_demo_classes
    monkeypatch.setattr(
        runs, "make_demo_classes", lambda _: make(root, train_images=4, val_images=2)
    )
    return root


def test_the_demo_keeps_network_and_recipe(small_demo, root):
    plain, demo = Config.fromfile(root / V2_CONFIG), pretraining.load_pretrain_config(
        str(root / V2_CONFIG), demo=True, cfg_options={"train_cfg.max_epochs": 1}
    )  # fmt: skip
    assert demo.model.backbone == plain.model.backbone
    assert demo.optim_wrapper == plain.optim_wrapper
    assert demo.auto_scale_lr == plain.auto_scale_lr
    assert demo.train_cfg.max_epochs == 1
    assert demo.work_dir == "work_dirs/shufflenetv2_imagenet_demo"
    for split in ("train", "val"):
        assert demo[f"{split}_dataloader"].dataset.root == str(small_demo / split)


def test_the_demo_trains(small_demo, root, tool, tmp_path):
    options = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=20"]
    tool(
        *("pretrain.py", root / V2_CONFIG, "--demo", "--work-dir", tmp_path),
        *("--cfg-options", *options, "model.backbone.widen_factor=0.5"),
    )
    assert checkpoint(tmp_path, 1)["meta"]["iter"] == 2
    assert read_weights(str(tmp_path / "epoch_1.pth")).classifier["weight"].shape == (10, 1024)


@pytest.fixture
def fails(tool, config, tmp_path, capsys):
    """Run the program with a mistake; returns the last line of its errors."""

    def run(*arguments, config=config):
        with pytest.raises(SystemExit) as ended:
            tool("pretrain.py", config, "--work-dir", tmp_path / "work", *arguments)
        assert ended.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


def test_a_missing_folder_is_named(fails):
    message = fails("--data-root", "/nowhere")
    assert message.startswith("pretrain.py: error: ")
    assert "'/nowhere/train'" in message


def test_an_evaluation_needs_no_train_folder_and_names_val(fails, straight):
    weights = straight[0] / "epoch_3.pth"
    message = fails("--data-root", "/nowhere", "--eval-only", "--weights", weights)
    assert "'/nowhere/val'" in message


MISTAKES = {
    "--cfg-options model.num_classes=4": "3 classes, but the classifier has 4",
    "--batch-size 0": "--batch-size 0: must be a positive multiple of the 1 processes",
    "--batch-size -4": "--batch-size -4: must be a positive",
    "--batch-size 4 --cfg-options train_dataloader.batch_size=2": "cannot be combined",
    "--batch-size 16": "has 12 images, but a step takes 16",
    "--resume no/such.pth": "no/such.pth",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named(fails, images, arguments):
    assert MISTAKES[arguments] in fails("--data-root", images, *arguments.split())


def test_weights_with_other_classes(fails, straight, tmp_path):
    write_images(tmp_path / "val", {"a": 1, "b": 1})
    weights = ["--eval-only", "--weights", straight[0] / "epoch_3.pth"]
    assert "2 classes, but the classifier has 3" in fails("--data-root", tmp_path, *weights)


def test_weights_without_a_classifier(fails, images, tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save(ShuffleNetV2(0.5, out_indices=(4,)).state_dict(), path)
    message = fails("--data-root", images, "--eval-only", "--weights", path)
    assert "backbone.pth' has no classifier" in message


def test_weights_without_a_tensor(fails, images, straight, tmp_path):
    state = checkpoint(straight[0], 3)["state_dict"]
    del state["backbone.stage3.2.branch2.0.weight"]
    torch.save(state, tmp_path / "damaged.pth")
    message = fails("--data-root", images, "--eval-only", "--weights", tmp_path / "damaged.pth")
    assert "1 missing (stage3.2.branch2.0.weight)" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image(fails, images, tmp_path, workers):
    copy = shutil.copytree(images, tmp_path / "images")
    (copy / "train" / "a" / "0.png").write_bytes(b"no image")
    options = [
        f"train_dataloader.num_workers={workers}",
        f"train_dataloader.persistent_workers={bool(workers)}",
    ]
    message = fails("--data-root", copy, "--cfg-options", *options)
    assert re.search(
        r"pretrain\.py: error: '.*/train/a/0\.png' is damaged or not an image", message
    )


def test_a_detectors_config(fails, root):
    message = fails(config=root / "configs/ssdlite320_shufflenet_coco.py")
    assert "trains no ImageClassifier: see configs/pretrain" in message


@pytest.mark.parametrize(
    "arguments",
    [["--eval-only"], ["--weights", "a.pth"], ["--demo", "--data-root", "data"]],
    ids=" ".join,
)
def test_flags_that_cannot_be_combined(tool, config, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        tool("pretrain.py", config, *arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
