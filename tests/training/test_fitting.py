"""Adjustments and checks of a config before a run."""

from types import SimpleNamespace

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config

from shufflenet_det.config_files import config_folder
from shufflenet_det.training import hooks, load_run_config
from shufflenet_det.training.fitting import require_channels, schedule_problems

MAIN = "faster_rcnn_shufflenet_coco"


def load(name=MAIN, **options):
    return load_run_config(name, cfg_options=options, splits=())


@pytest.mark.parametrize(
    "option, near", [("trian_cfg.max_epochs", "train_cfg"), ("randomnes.seed", "randomness")]
)
def test_a_misspelt_option_gets_a_suggestion(option, near):
    with pytest.raises(ValueError, match=rf"{option}=.*did you mean '{near}'"):
        load(**{option: 1})


@pytest.mark.parametrize("line", ["batch_size = 8", "max_epochs = 2", "pretrained = None"])
def test_a_variable_that_only_the_base_uses_is_refused(tmp_path, line):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = '{config_folder()}/ssdlite320_shufflenet_coco.py'\n{line}\n")
    with pytest.raises(ValueError, match=rf"sets '{line.split()[0]}', which .*change nothing"):
        load(path)


def test_a_variable_that_the_file_uses_is_accepted(tmp_path):
    path = tmp_path / "mine.py"
    text = "batch_size = 8\ntrain_dataloader = dict(batch_size=batch_size)\nlr = 0.015\n"
    path.write_text(f"_base_ = '{config_folder()}/ssdlite320_shufflenet_coco.py'\n{text}")
    assert load(path).train_dataloader.batch_size == 8


def test_worker_options_are_removed_without_workers():
    loader = load(**{"train_dataloader.num_workers": 0}).train_dataloader
    assert not loader.persistent_workers


@pytest.mark.parametrize(
    "name, epochs, milestones",
    [(MAIN, 1, []), (MAIN, 2, [1]), (MAIN, 3, [2]), (MAIN, 24, [16, 22])],
)
def test_the_schedule_follows_an_override_of_the_epochs(name, epochs, milestones):
    step = load(name, **{"train_cfg.max_epochs": epochs}).param_scheduler[1]
    assert (step.end, list(step.milestones)) == (epochs, milestones)


@pytest.mark.parametrize("epochs", [1, 2, 3, 12])
def test_milestones_stay_unique_and_positive(tmp_path, epochs):
    """mmdet's epochs 8 and 11 of 12; with fewer epochs no duplicates, and none before the first."""
    text = (config_folder() / f"{MAIN}.py").read_text()
    path = tmp_path / "mine.py"
    path.write_text(text.replace("max_epochs = 12", f"max_epochs = {epochs}"))
    milestones = load(path).param_scheduler[1].milestones
    assert list(milestones) == {1: [], 2: [1], 3: [2], 12: [8, 11]}[epochs]


def test_a_cosine_schedule_follows_an_override_of_the_epochs():
    cosine = load("ssdlite320_shufflenet_coco", **{"train_cfg.max_epochs": 300}).param_scheduler[1]
    assert cosine.T_max == cosine.end == 300


def test_a_schedule_that_ends_early_is_reported(tmp_path):
    path = tmp_path / "mine.py"
    base = config_folder() / "ssdlite320_shufflenet_coco.py"
    path.write_text(f"_base_ = '{base}'\ntrain_cfg = dict(max_epochs=300)\n")
    [problem] = schedule_problems(load(path), iterations=100_000)
    assert "ends at epoch 120, but the training ends at epoch 300" in problem


@pytest.mark.parametrize("channels", [[116, 232], [256, 512, 1024]])
def test_wrong_channels_are_compared_with_the_backbones(channels):
    cfg = load(**{"model.neck.in_channels": channels})
    with pytest.raises(ValueError, match=r"ShuffleNetV2 outputs \[116, 232, 464\]"):
        require_channels(MODELS.build(cfg.model), cfg.model)


def test_channels_of_other_backbones_are_known():
    cfg = load("bccd/ssdlite320_mobilenetv2_bccd")
    model = MODELS.build(cfg.model)
    require_channels(model, cfg.model)
    cfg.model.neck.in_channels = [96, 320]
    with pytest.raises(ValueError, match=r"MobileNetV2 outputs \[96, 1280\]"):
        require_channels(model, cfg.model)


@pytest.mark.parametrize(
    "own, said",
    [
        (
            "backbone=dict(init_cfg=None)",
            "from random weights; its base base.py starts from x",
        ),
        ("backbone=dict(widen_factor=2.0)", "ShuffleNetV2 from x.pth"),
    ],
)
def test_the_log_says_that_a_config_dropped_the_weights_of_its_base(tmp_path, own, said):
    weights = "init_cfg=dict(type='Pretrained', checkpoint='x.pth')"
    model = f"model = dict(backbone=dict(type='ShuffleNetV2', {weights}))\n"
    (tmp_path / "base.py").write_text(model)
    (tmp_path / "mine.py").write_text(f"_base_ = './base.py'\nmodel = dict({own})\n")
    cfg = Config.fromfile(tmp_path / "mine.py")
    runner = SimpleNamespace(iter=0, _load_from=None, cfg=cfg)
    assert said in hooks._initial_weights(runner)
