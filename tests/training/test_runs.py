"""Training: its output, its errors, and equal results with equal seeds."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from mmdet.visualization import DetLocalVisualizer
from mmengine.hooks import Hook

from shufflenet_det import training
from shufflenet_det.host.checkpoints import load_from_local
from shufflenet_det.training import hooks, runs, train

STEPS = 6  # of the tiny training


def losses(work_dir: Path) -> dict[int, float]:
    """The loss of each iteration, over all runs in a work folder."""
    found = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        entries = map(json.loads, path.read_text().splitlines())
        found |= {entry["iter"]: entry["loss"] for entry in entries if "loss" in entry}
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_from_local(path)["state_dict"]


def test_the_console_shows_the_essential_lines(tiny, tmp_path, capfd):
    # Another program in this process has a visualizer with mmengine's default name.
    DetLocalVisualizer.get_instance("visualizer", save_dir=str(tmp_path / "another"))
    train(tiny(tmp_path))
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    # Training steps, validation steps and results, and the lines before and after.
    assert len(lines) == STEPS + 2 * 2 + 9
    for part in (
        "ShuffleNetV2 from random weights",
        "11 training images of 80 classes",
        "eta",
        "best ",
    ):
        assert part in printed.out
    shown = [line for line in lines if line.startswith(("warning", "error"))]
    assert len(shown) == 1 and "the warm-up takes 500 of 6 steps" in shown[0]
    assert not printed.err
    [log] = tmp_path.glob("*/*.log")
    assert "Average Precision" in log.read_text() and "Hooks will be executed" in log.read_text()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


class Kill(Hook):
    """Sends this process a signal in a step."""

    priority = "VERY_HIGH"

    def __init__(self, step, number):
        self.step, self.number = step, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number, step, workers", [(signal.SIGINT, 1, 0), (signal.SIGTERM, 2, 2)])
def test_a_resumed_training_equals_an_uninterrupted_one(
    tiny, trained, tmp_path, monkeypatch, number, step, workers
):
    """To the last bit, with random crops, flips and colours, whatever the number of workers."""
    usual = hooks.standard_hooks
    monkeypatch.setattr(hooks, "standard_hooks", lambda: [*usual(), Kill(step, number)])
    with pytest.raises(KeyboardInterrupt, match=rf"iter_{step + 1}\.pth; .* --resume") as stopped:
        train(tiny(tmp_path, {"train_dataloader.num_workers": workers}))
    assert stopped.value.signal == number
    assert sorted(losses(tmp_path)) == list(range(1, step + 2))
    monkeypatch.undo()
    train(tiny(tmp_path, {"train_dataloader.num_workers": 1 - workers % 2}), resume="auto")
    assert losses(tmp_path) == losses(trained) and len(set(losses(trained).values())) == STEPS
    ours, theirs = (weights(folder / "epoch_2.pth") for folder in (tmp_path, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_two_runs_with_one_seed_are_equal_to_the_last_bit(tiny, tmp_path):
    results = []
    options = {
        "train_cfg.max_epochs": 4,
        "train_cfg.val_interval": 4,
        "train_dataloader.batch_size": 2,
    }
    for folder, deterministic in (("one", False), ("two", True)):
        work_dir = tmp_path / folder
        train(tiny(work_dir, {**options, "randomness.deterministic": deterministic}))
        [scalars] = work_dir.glob("*/vis_data/scalars.json")
        score = json.loads(scalars.read_text().splitlines()[-1])["coco/bbox_mAP"]
        results.append((losses(work_dir), score, weights(work_dir / "epoch_4.pth")))
    torch.use_deterministic_algorithms(False)
    (losses_1, score_1, weights_1), (losses_2, score_2, weights_2) = results
    assert len(losses_1) == 20 and losses_1 == losses_2 and score_1 == score_2
    assert all(torch.equal(weights_1[name], weights_2[name]) for name in weights_1)


def test_a_resumed_run_has_the_seed_of_the_first(tiny, tmp_path):
    without = {"randomness.seed": None, "train_cfg.max_epochs": 1}
    train(tiny(tmp_path, without))
    first = load_from_local(tmp_path / "epoch_1.pth")["meta"]["seed"]
    cfg = tiny(tmp_path, without)
    runs._prepare_start(cfg, "auto")
    assert cfg.randomness.seed == first


def test_a_loss_that_is_not_finite_stops_at_once(tiny, tmp_path):
    with pytest.raises(RuntimeError) as stopped:
        train(tiny(tmp_path, {"optim_wrapper.optimizer.lr": 1e12, "param_scheduler": []}))
    message = str(stopped.value)
    for part in ("loss_", "iteration ", "train2017/", "optim_wrapper.optimizer.lr"):
        assert part in message
    assert not list(tmp_path.glob("*.pth"))


def test_weights_that_are_not_finite_are_not_saved(tiny, tmp_path, monkeypatch):
    class Spoil(Hook):
        priority = "VERY_LOW"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == STEPS - 1:  # not visible in any loss
                next(runner.model.parameters()).data.fill_(float("nan"))

    usual = hooks.standard_hooks
    monkeypatch.setattr(hooks, "standard_hooks", lambda: [*usual(), Spoil()])
    with pytest.raises(RuntimeError, match=r"not finite.*last good checkpoint is .*epoch_1\.pth"):
        train(tiny(tmp_path))
    assert [path.name for path in tmp_path.glob("epoch_*")] == ["epoch_1.pth"]


def test_a_coco_config_with_other_classes_names_both(tiny, own_data, tmp_path):
    mine = str(own_data / "data/mine")
    options = {
        f"train_dataloader.dataset.dataset.{key}": value
        for key, value in {"ann_file": f"{mine}/train.json", "data_prefix.img": mine}.items()
    }
    with pytest.raises(ValueError, match=r"helmet.*person|person.*helmet"):
        train(tiny(tmp_path, options))


def test_two_trainings_in_one_folder_are_refused(tiny, tmp_path):
    with FileLock(tmp_path / ".lock"):
        with pytest.raises(RuntimeError, match=f"another training runs in '{tmp_path}'"):
            train(tiny(tmp_path))


def test_a_work_folder_that_cannot_be_created_is_named(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train(tiny(tmp_path / "file" / "folder"))


def test_a_last_batch_of_one_image_is_dropped(tiny, tmp_path):
    train(tiny(tmp_path, {"train_dataloader.batch_size": 5, "train_cfg.max_epochs": 1}))
    assert len(losses(tmp_path)) == 2  # eleven images


def test_a_batch_of_one_image_is_explained(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"one image: set train_dataloader\.batch_size"):
        train(tiny(tmp_path, {"train_dataloader.batch_size": 1}))


def test_another_learning_rate_is_not_ignored_silently(tiny, trained, tmp_path, capfd):
    options = {"optim_wrapper.optimizer.lr": 0.5, "train_cfg.max_epochs": 3}
    train(tiny(tmp_path, options), resume=str(trained / "epoch_2.pth"))
    assert "the config's 0.5 is not used" in capfd.readouterr().out
    assert sorted(losses(tmp_path)) == [7, 8, 9]


def changed(checkpoint, change):
    content = load_from_local(checkpoint)
    change(content["state_dict"])
    path = checkpoint.with_name("changed.pth")
    torch.save(content, path)
    return str(path)


def test_a_test_gives_the_metrics_of_the_training(tiny, trained, tmp_path, capfd):
    metrics = training.test(tiny(tmp_path, splits=("test",)), str(trained / "epoch_2.pth"))
    lines = (next(trained.glob("*/vis_data/scalars.json"))).read_text().splitlines()
    assert json.loads(lines[-1])["coco/bbox_mAP"] == metrics["coco/bbox_mAP"]
    assert "warning" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("neck.extra_layers.0.0.conv.weight"), "does not fit.* 1 missing"),
        (lambda s: s["backbone.conv1.0.weight"].fill_(float("nan")), "1 of its .* not finite"),
        (lambda s: s.update({"backbone.conv1.0.weight": torch.zeros(9)}), "1 of another shape"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tiny, trained, tmp_path, change, message):
    name = changed(trained / "epoch_2.pth", change)
    with pytest.raises(ValueError, match=message):
        training.test(tiny(tmp_path, splits=("test",)), name)


def test_a_checkpoint_with_other_classes_is_refused(tiny, trained, tmp_path):
    cfg = tiny(tmp_path, {"model.bbox_head.num_classes": 2}, splits=("test",))
    cfg.test_dataloader.dataset.metainfo = {"classes": ("helmet", "vest")}
    with pytest.raises(ValueError, match=r"80 classes \(person, .* 2 classes \(helmet, vest\)"):
        training.test(cfg, str(trained / "epoch_2.pth"))


def test_a_checkpoint_of_another_model_is_reported(tiny, trained, tmp_path, capfd):
    other = {"model.bbox_head.norm_cfg.eps": 0.5}
    training.test(tiny(tmp_path, other, splits=("test",)), str(trained / "epoch_2.pth"))
    told = [line for line in capfd.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(told) == 1 and "bbox_head.norm_cfg.eps is 0.5, trained with 0.001" in told[0]


def test_an_unwritable_file_for_predictions_is_named_first(tiny, tmp_path):
    with pytest.raises(OSError, match="no_such"):
        training.test(
            tiny(tmp_path, splits=("test",)), "none.pth", out=str(tmp_path / "no_such" / "o.pkl")
        )


def test_tensorboard_gets_the_losses(tiny, tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny(tmp_path, {"train_cfg.max_epochs": 1}), backends=["tensorboard"])
    [events] = tmp_path.glob("*/vis_data/events.*")
    reader = reading.EventAccumulator(str(events))
    reader.Reload()
    logged = {event.step: event.value for event in reader.Scalars("loss")}
    assert logged == pytest.approx(losses(tmp_path))


def test_weights_and_biases_gets_the_losses(tiny, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tiny(tmp_path, {"train_cfg.max_epochs": 1}), backends=["wandb"])
    wandb.finish()  # writes the file; a program does this at its exit
    [run] = tmp_path.glob("*/vis_data/wandb/offline-run-*/*.wandb")
    assert b"loss_bbox" in run.read_bytes()
