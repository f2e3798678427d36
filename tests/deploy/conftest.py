"""Small detectors of every kind, with weights under which many boxes are found."""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from shufflenet_det.deploy import export
from shufflenet_det.deploy.verification import photographs
from shufflenet_det.detector.torch_model import TorchModel

ROOT = Path(__file__).parents[2]
CLASSES = ("bird", "cat", "dog")
BACKBONE = {"type": "shufflenet_det.ShuffleNetV2", "widen_factor": 0.5, "stage_repeats": (1, 1, 1)}


def small_config(kind):
    """A shipped config with narrow layers, three classes and small images."""
    if kind in ("ssdlite", "shufflenetv1"):
        cfg = Config.fromfile(ROOT / "configs/ssdlite320_shufflenet_coco.py")
        backbone, channels = {**BACKBONE, "out_indices": (2, 4)}, (96, 1024)
        if kind == "shufflenetv1":
            backbone |= {"type": "shufflenet_det.ShuffleNetV1", "out_indices": (2, 3)}
            channels = (240, 480)
        widths = (*channels, 64, 32, 32, 32)
        cfg.model.neck.update(in_channels=channels, out_channels=widths)
        cfg.model.bbox_head.update(in_channels=widths, num_classes=3)
    elif kind == "nanodet_m":
        cfg = Config.fromfile(ROOT / "configs/nanodet/nanodet_m_320.py")
    elif kind == "nanodet_plus":
        cfg = Config.fromfile(ROOT / "configs/nanodet/nanodet_plus_m_320.py")
    else:
        cfg = Config.fromfile(ROOT / f"configs/{kind}_shufflenet_coco.py")
        backbone = {**BACKBONE, "out_indices": (1, 2, 3)}
        cfg.model.neck.update(in_channels=[48, 96, 192], out_channels=16)
        for step in cfg.test_dataloader.dataset.pipeline:
            if "scale" in step:
                step["scale"] = (224, 160)
    if kind.startswith("nanodet"):
        backbone = {**BACKBONE, "act_cfg": cfg.model.backbone.act_cfg}
        cfg.model.neck.in_channels = (48, 96, 192)
        cfg.model.bbox_head.num_classes = 3
    if kind == "retinanet":
        cfg.model.bbox_head.update(in_channels=16, feat_channels=16, num_classes=3)
    if kind == "faster_rcnn":
        cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
        cfg.model.test_cfg.rpn.update(nms_pre=100, max_per_img=100)
        head = cfg.model.roi_head
        head.bbox_roi_extractor.out_channels = 16
        head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=3)
    cfg.model.backbone = backbone
    return cfg


def save_lively(cfg, path):
    """A checkpoint of random weights, whose last layers are scaled so that scores vary."""
    from mmdet.registry import MODELS

    init_default_scope("mmdet")
    torch.manual_seed(0)
    config = {**cfg.model, "train_cfg": None}
    model = MODELS.build(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    hooks = {}

    def scale(layer, inputs, output):
        hooks[layer].remove()
        layer.weight.mul_(2 / output.std())
        return layer(*inputs)

    heads = [part for name, part in model.named_children() if "head" in name]
    layers = [
        layer
        for head in heads
        for layer in head.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    ]
    hooks.update((layer, layer.register_forward_hook(scale)) for layer in layers)
    meta = {"dataset_meta": {"classes": CLASSES}}
    with torch.no_grad():
        torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
        torch_model = TorchModel(cfg, path, device="cpu")
        torch_model.model = torch_model._optimized = model  # with its hooks
        torch_model(photographs()[0])
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)


@pytest.fixture(autouse=True, scope="session")
def quick_logging():
    """torch describes every step of an export where somebody listens, as pytest does."""
    logging.disable(logging.DEBUG)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def lively(tmp_path_factory):
    """``lively(kind)``: the detector in PyTorch and its folder, made once."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            cfg = small_config(kind)
            save_lively(cfg, folder / "last.pth")
            made[kind] = TorchModel(cfg, folder / "last.pth", device="cpu"), folder
        return made[kind]

    return get


@pytest.fixture(scope="session")
def exported(lively):
    """``exported(kind, name, **options)``: the detector in PyTorch, and the file, made once."""

    def get(kind, name="model.onnx", **options):
        model, folder = lively(kind)
        if not (folder / name).exists():
            export(model, None, folder / name, **options)
        return model, folder / name

    return get
