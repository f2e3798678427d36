"""Each config of ``configs/pretrain`` loads, builds, takes a step, and has the papers' recipe."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torchvision.datasets import ImageFolder

from shufflenet_det.pretraining import load_pretrain_config

FOLDER = Path(__file__).parents[2] / "configs" / "pretrain"
CONFIGS = sorted(path.name for path in FOLDER.glob("*_imagenet.py"))
IMAGENET_TRAIN = 1_281_167  # images


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


@pytest.fixture
def cfg(name):
    return Config.fromfile(FOLDER / name)


def test_a_step_gives_every_parameter_a_finite_gradient(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    data = {"inputs": images, "data_samples": torch.tensor([3, 999])}
    loss, _ = model.parse_losses(model(**model.data_preprocessor(data), mode="loss"))
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_the_recipe_is_the_papers(cfg):
    """V1 Sec. 4: 3e5 iterations of 1024 images, from 0.5 linearly to 0, weight decay 4e-5."""
    base = cfg.auto_scale_lr.base_batch_size
    iterations = cfg.train_cfg.max_epochs * (IMAGENET_TRAIN // base)
    assert base == 1024 and cfg.auto_scale_lr.enable
    assert iterations == pytest.approx(300_000, rel=1e-3)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (0.5, 4e-5)
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.power, schedule.eta_min) == ("PolyLR", 1.0, 0.0)
    assert schedule.convert_to_iter_based
    assert (schedule.begin, schedule.end) == (0, cfg.train_cfg.max_epochs)


def test_training_crops_are_larger_than_usual_and_validation_is_as_usual(cfg):
    crop, *_ = cfg.train_dataloader.dataset.pipeline
    assert crop.size == 224
    assert 0.08 < crop.scale[0] < crop.scale[1] == 1  # 0.08: torchvision's default
    resize, centre = cfg.val_dataloader.dataset.pipeline
    assert (resize.size, centre.size) == (256, 224)


def test_only_v2_2x_has_dropout_as_in_the_authors_code(cfg):
    backbone = cfg.model.backbone
    v2_2x = backbone.type.endswith("V2") and backbone.widen_factor == 2.0
    assert cfg.model.get("dropout", 0.0) == (0.2 if v2_2x else 0.0)


def test_data_root_moves_both_folders(name, tmp_path):
    cfg = load_pretrain_config(str(FOLDER / name), data_root=str(tmp_path))
    for split in ("train", "val"):
        assert cfg[f"{split}_dataloader"].dataset.root == str(tmp_path / split)


def test_the_transforms_are_built(cfg, images):
    from shufflenet_det.pretraining import ImageFolder as OurFolder

    for split in ("train", "val"):
        dataset = cfg[f"{split}_dataloader"].dataset
        folder = OurFolder(str(images / split), dataset.pipeline)
        assert isinstance(folder, ImageFolder)
        assert folder[0]["inputs"].shape == (3, 224, 224)
