"""Small detectors of every kind, with weights under which many boxes are found."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from shufflenet_det.deploy import export
from shufflenet_det.deploy.verification import compare, photographs
from shufflenet_det.detector.torch_model import TorchModel

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSES = ("bird", "cat", "dog")
# The config of each kind below configs/.
KINDS = {
    "nanodet_m": "nanodet/nanodet_m_320.py",
    "nanodet_plus": "nanodet/nanodet_plus_m_320.py",
    "nanodet_plus_1.5x": "nanodet/nanodet_plus_m_1.5x_320.py",
    "ssd300": "ssd300_shufflenet_coco.py",
    "ssdlite": "ssdlite320_shufflenet_coco.py",
    "ssdlite_v1": "bccd/ssdlite320_shufflenetv1_bccd.py",
    "retinanet": "bccd/retinanet_shufflenet_bccd.py",
    "faster_rcnn": "bccd/faster_rcnn_shufflenet_bccd.py",
    "faster_rcnn_c4": "bccd/faster_rcnn_c4_shufflenet_bccd.py",
    "light_head_rcnn": "bccd/light_head_rcnn_shufflenet_bccd.py",
}


def small_config(kind):
    """A shipped config with few layers and three classes."""
    cfg = Config.fromfile(CONFIGS / KINDS[kind])
    cfg.model.backbone.stage_repeats = (1, 1, 1)
    head = cfg.model.get("bbox_head") or cfg.model.roi_head.bbox_head
    head.num_classes = len(CLASSES)
    if cfg.model.get("neck", {}).get("type") == "FPN":
        cfg.model.neck.out_channels = 32
        for dense in (cfg.model.get("rpn_head"), cfg.model.get("bbox_head")):
            if dense:
                dense.update(in_channels=32, feat_channels=32)
    if kind == "faster_rcnn":
        cfg.model.roi_head.bbox_roi_extractor.out_channels = 32
        head.update(in_channels=32, fc_out_channels=128)
    if "rpn" in cfg.model.test_cfg:
        cfg.model.test_cfg.rpn.max_per_img = 50
        cfg.model.test_cfg.rcnn.score_thr = 0.05
    return cfg


def save_lively(cfg, path):
    """A checkpoint of random weights, whose last layers are scaled so that scores vary."""
    from mmdet.registry import MODELS

    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build({**cfg.model, "train_cfg": None}).eval()
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


@pytest.fixture(scope="session")
def assert_same():
    """``assert_same(first, second, images, boxes)``: two detectors find the same, and so many."""

    def check(first, second, images, boxes=50, unmatched=0.01):
        found = compare(first, second, images)
        assert found.boxes > boxes
        assert found.unmatched <= unmatched * found.boxes
        assert found.pixels < 0.5
        assert found.score < 1e-3

    return check


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of detector in turn."""
    return request.param


@pytest.fixture(scope="session")
def lively(tmp_path_factory):
    """``lively(kind)``: the detector in PyTorch and its folder, made once."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            cfg = small_config(kind)
            save_lively(cfg, folder / "last.pth")
            cfg.dump(folder / "config.py")
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
