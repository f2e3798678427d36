"""The configs of the papers' COCO tables: load, build, train and evaluate each row."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from shufflenet_det.cli._arguments import parse_options
from shufflenet_det.papers.comparison import STEP
from shufflenet_det.papers.complexity import detector_complexity
from shufflenet_det.papers.published import COCO_ROWS
from shufflenet_det.papers.runs import DEMO_OPTIONS
from shufflenet_det.training import load_run_config
from shufflenet_det.weights import find_record

ROOT = Path(__file__).parents[2]
ROWS = list(COCO_ROWS)
V1 = [key for key in ROWS if key.startswith("v1/")]
V2 = [key for key in ROWS if key.startswith("v2/")]
TRAINED = ["v1/shufflenet_1x_300", "v2/mobilenetv2_40m", "v2/shufflenetv2star_0.5x"]
FPN = [f"v1/shufflenet_{width}_600_fpn" for width in ("2x", "1x")]
UNFED = [f"backbone.conv2.{name}" for name in ("conv.weight", "bn.weight", "bn.bias")]

# Several runs in one interpreter share mmengine's visualizer.
pytestmark = pytest.mark.filterwarnings("ignore:.*instance named of visualizer")


def path_of(row):
    return ROOT / f"configs/paper_{row}.py"


def load(row):
    return Config.fromfile(path_of(row))


def build(cfg):
    """The detector without weights."""
    model = copy.deepcopy(cfg.model)
    model.backbone.init_cfg = None
    with torch.device("meta"):
        return MODELS.build(model)


def test_every_row_of_both_tables_has_a_config_and_every_config_a_row():
    assert len(V1) == 6
    assert len(V2) == 20
    files = {*ROOT.glob("configs/paper_v[12]/*.py")}
    assert files == {path_of(row) for row in [*V1, *V2, *FPN]}


@pytest.mark.parametrize("row", [*ROWS, *FPN])
def test_a_config_is_short_and_its_head_says_what_it_is(row):
    lines = path_of(row).read_text().splitlines()
    if row in COCO_ROWS:
        assert sum(not line.startswith("#") for line in lines) <= 8
        paper, mAP = row[:2].upper(), COCO_ROWS[row].mAP
        assert f"{paper}, Table 7, mAP {mAP:.1f}." in lines[0]
    else:
        assert "deviation" in lines[0]


SMALL = {
    "model.backbone.init_cfg": None,
    "train_cfg.max_iters": 2,
    "train_cfg.val_interval": 2,
    "default_hooks.checkpoint.save_best": None,
    "default_hooks.checkpoint.interval": 10,
    "default_hooks.checkpoint.save_last": False,
    "default_hooks.logger.interval": 1,
    "train_dataloader.dataset.pipeline.2.scale": (128, 96),
    "val_dataloader.dataset.pipeline.1.scale": (128, 96),
    "val_dataloader.dataset.indices": 1,
    "model.train_cfg.rcnn.sampler.num": 8,
    "model.test_cfg.rpn.max_per_img": 4,
    # With untrained running statistics, logits are so large that a score can be exactly 0.
    "model.test_cfg.rcnn.score_thr": -1.0,
    "randomness.seed": 0,
    "train_dataloader.batch_size": 2,
}
for _split in ("train", "val"):
    SMALL |= {
        f"{_split}_dataloader.num_workers": 0,
        f"{_split}_dataloader.persistent_workers": False,
    }


class Listener(Hook):
    def __init__(self):
        self.losses, self.metrics = [], []

    def before_train(self, runner):
        self.before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].item())

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append(metrics)


@pytest.mark.parametrize("row", TRAINED)
def test_a_row_trains_two_iterations_and_is_evaluated(row, demo_data, tmp_path, monkeypatch):
    """With its own loop, schedule and losses; only the data set and the images are smaller."""
    # The header of the log takes longer than the training.
    monkeypatch.setattr(Config, "pretty_text", property(lambda cfg: ""))
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    options = {**SMALL, "data_root": str(demo_data)}
    cfg = load_run_config(str(path_of(row)), cfg_options=options, work_dir=str(tmp_path))
    runner = Runner.from_cfg(cfg)
    heard = Listener()
    runner.register_hook(heard)
    runner.train()
    assert len(heard.losses) == 2
    assert all(map(math.isfinite, heard.losses))
    assert [0 <= metrics["coco/bbox_mAP"] <= 1 for metrics in heard.metrics] == [True]
    for name, parameter in runner.model.named_parameters():
        moved = not torch.equal(parameter, heard.before[name])
        if not parameter.requires_grad or name in UNFED:
            assert not moved, name
        elif parameter.dim() > 1:
            assert moved, name


def measured_backbone(detector, size=(96, 128)):
    """Channels and stride of each feature map of a backbone."""
    detector.eval()
    maps = detector.backbone(torch.zeros(1, 3, *size, device="meta"))
    found = [(m.shape[1], size[1] // m.shape[3]) for m in maps]
    if hasattr(detector.backbone, "out_channels"):
        strides = detector.backbone.out_strides
        assert found == list(zip(detector.backbone.out_channels, strides, strict=True))
    return found


@pytest.mark.parametrize("row", V1[::2])
def test_c4_uses_stage_3_for_rpn_and_rois_and_stage_4_for_boxes(row):
    detector = build(load(row))
    ((channels, stride),) = measured_backbone(detector)
    assert stride == 16
    assert detector.rpn_head.in_channels == channels
    assert detector.rpn_head.prior_generator.strides == [(stride, stride)]
    extractor = detector.roi_head.bbox_roi_extractor
    assert extractor.featmap_strides == [stride]
    assert extractor.out_channels == channels
    pooled = torch.zeros(2, channels, 14, 14, device="meta")
    stage4 = detector.roi_head.shared_head(pooled)
    head = detector.roi_head.bbox_head
    assert stage4.shape == (2, head.in_channels, *head.roi_feat_size)
    scores, deltas = head(stage4)
    assert (scores.shape, deltas.shape) == ((2, 81), (2, 320))


@pytest.mark.parametrize("row", V2)
def test_light_head_uses_c4_for_the_rpn_and_c5_for_the_thin_map(row):
    detector = build(load(row))
    (c4, stride4), (c5, stride5) = measured_backbone(detector)
    assert (stride4, stride5) == (16, 32)
    assert detector.rpn_head.in_channels == c4
    assert detector.rpn_head.prior_generator.strides == [(stride4, stride4)]
    assert detector.roi_head.thin_conv.col[0].in_channels == c5
    assert detector.roi_head.bbox_roi_extractor.featmap_strides == [stride5]


@pytest.mark.parametrize("row", ROWS)
def test_batchnorm_and_layers_up_to_stride_4_are_frozen(row):
    detector = build(load(row)).train()
    norms = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training or m.weight.requires_grad for m in norms)
    learning = set()

    def listen(name):
        return lambda module, inputs, output: learning.add((name, 128 // output.shape[3]))

    for name, module in detector.backbone.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            module.register_forward_hook(listen(name))
    detector.eval()
    detector.backbone(torch.zeros(1, 3, 96, 128, device="meta"))
    assert {8, 16} <= {stride for _, stride in learning}
    # The first unit of stride 8 may start at stride 4.
    first = {tuple(name.split(".")[:2]) for name, stride in learning if stride <= 4}
    assert len(first) <= 1
    assert first <= {("stage2", "0"), ("layer3", "0")}


@pytest.mark.parametrize("row", ROWS)
def test_the_backbone_has_the_complexity_of_the_papers_row(row, multiply_adds):
    """Within 20 %, because V2's table rounds: 500 M stands for 524 to 591 M."""
    backbone = dict(load(row).model.backbone)
    last = {"MobileNetV2": 7, "shufflenet_det.ShuffleNetV2": 4}.get(backbone["type"], 3)
    backbone |= {"init_cfg": None, "out_indices": (last,), "frozen_stages": -1}
    with torch.device("meta"):
        network = MODELS.build(backbone)
    network.eval()
    millions = multiply_adds(network, torch.empty(1, 3, 224, 224, device="meta")) / 1e6
    assert millions / COCO_ROWS[row].backbone_multiply_adds == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("size, billions", [(300, 25.2), (600, 30.5)])
def test_mobilenets_c4_has_the_cost_of_its_own_paper(size, billions):
    """MobileNet (arXiv:1704.04861), Table 13: 6.1 M parameters, 300 proposals."""
    *_, total = detector_complexity(load(f"v1/mobilenet_{size}").model, (size, size))
    assert round(total.multiply_adds / 1e9, 1) == billions
    assert total.parameters / 1e6 == pytest.approx(6.1, abs=0.1)


@pytest.mark.parametrize("row", [*ROWS, *FPN])
def test_weights_fit_the_network_and_decide_the_preprocessing(row, demo_data):
    cfg = load_run_config(str(path_of(row)), cfg_options={"data_root": str(demo_data)}, splits=())
    backbone = cfg.model.backbone
    record = find_record(backbone.init_cfg.checkpoint)
    pixels = cfg.model.data_preprocessor
    if record is None:
        assert backbone.init_cfg.checkpoint.startswith(("work_dirs/pretrain/", "open-mmlab://"))
        pretraining = Config.fromfile(ROOT / "configs/pretrain/shufflenetv1_imagenet.py")
        expected = pretraining.model.data_preprocessor
    else:
        assert backbone.type == f"shufflenet_det.{record.network}"
        arguments = {"layout": "torchvision", "shuffle": "paper", **backbone}
        assert {k: arguments[k] for k in record.arguments} == dict(record.arguments)
        expected = record.images.data_preprocessor()
    assert {name: pixels[name] for name in expected} == expected


@pytest.mark.parametrize("row", V1)
def test_v1_has_py_faster_rcnns_schedule_for_16_images(row):
    cfg = load(row)
    images = cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_iters * images == 490_000 * 2
    _, steps = cfg.param_scheduler
    assert [m * images for m in steps.milestones] == [350_000 * 2]
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr / images == pytest.approx(0.001 / 2)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 0.0005)
    assert cfg.auto_scale_lr.base_batch_size == images == STEP


@pytest.mark.parametrize("row", V2)
def test_v2_has_light_heads_schedule(row):
    cfg = load(row)
    images = cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_iters * images == 30 * 80_000
    _, steps = cfg.param_scheduler
    assert [m * images for m in steps.milestones] == [19 * 80_000, 25 * 80_000]
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.00125 * images / 2)
    assert cfg.auto_scale_lr.base_batch_size == images == STEP


def groups(row):
    """Factors of learning rate and weight decay by trainable parameter."""
    cfg = load(row)
    detector = build(cfg)
    wrapper = build_optim_wrapper(detector, cfg.optim_wrapper)
    names = {id(p): name for name, p in detector.named_parameters()}
    base = cfg.optim_wrapper.optimizer
    return {
        names[id(p)]: (group["lr"] / base.lr, group["weight_decay"] / base.weight_decay)
        for group in wrapper.optimizer.param_groups
        for p in group["params"]
        if p.requires_grad
    }


def test_the_thin_map_learns_three_times_faster_and_biases_do_not_decay():
    for name, (lr, decay) in groups("v2/shufflenetv2_1x").items():
        is_thin = name.startswith("roi_head.thin_conv.")
        assert lr == pytest.approx(3 if is_thin else 1), name
        assert decay == (0 if name.endswith(".bias") else 1), name


@pytest.mark.parametrize("row", ROWS)
def test_images_have_the_size_of_the_row(row):
    short, _, long = COCO_ROWS[row].size.partition("x")
    scale = (int(long) if long else int(short) * 10 // 6, int(short))
    if not long and short == "300":
        scale = (500, 300)
    cfg = load(row)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = [t["type"] for t in loader.dataset.pipeline]
        (resize,) = [t for t in loader.dataset.pipeline if t["type"] == "Resize"]
        assert tuple(resize.scale) == scale
        assert resize.keep_ratio
        assert ("RandomFlip" in steps) == (loader is cfg.train_dataloader)
        assert steps[0] == "LoadImageFromFile"
        assert steps[-1] == "PackDetInputs"


@pytest.mark.parametrize("row", V1)
def test_anchors_of_v1_are_py_faster_rcnns(row):
    """The base cell is 0 to 15 inclusive, so 0 to 16; sides are 64 to 512."""
    generator = TASK_UTILS.build(load(row).model.rpn_head.anchor_generator)
    (anchors,) = generator.base_anchors
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert torch.equal(centres, torch.full((12, 2), 8.0))
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    sides = (width * height).sqrt().round().tolist()
    assert sorted(sides) == [side for side in (64, 128, 256, 512) for _ in range(3)]
    assert sorted(set((height / width).round(decimals=3).tolist())) == [0.5, 1, 2]


@pytest.mark.parametrize("row", V1)
def test_proposals_of_v1_are_at_least_16_pixels_of_the_original_image(row):
    """py-faster-rcnn multiplies RPN_MIN_SIZE by the image scale; images of COCO are 640x480."""
    model = load(row).model
    least = 16 * int(row.rsplit("_", 1)[1]) / 480
    assert model.train_cfg.rpn_proposal.min_bbox_size == least
    assert model.test_cfg.rpn.min_bbox_size == least


@pytest.mark.parametrize("row", ROWS)
def test_images_without_an_inside_anchor_are_excluded(row):
    """mmdet raises an error for such an image."""
    cfg = load(row)
    generator = TASK_UTILS.build(cfg.model.rpn_head.anchor_generator)
    long, short = next(
        t.scale for t in cfg.train_dataloader.dataset.pipeline if t["type"] == "Resize"
    )
    least = cfg.train_dataloader.dataset.filter_cfg.min_size
    (stride,) = generator.strides
    for width, height in ((640, least), (least, 640)):
        scale = min(long / 640, short / least)
        width, height = int(width * scale + 0.5), int(height * scale + 0.5)
        cells = [(math.ceil(height / stride[1]), math.ceil(width / stride[0]))]
        (anchors,) = generator.grid_priors(cells, device="cpu")
        inside = (anchors[:, :2] >= 0).all(1) & (
            anchors[:, 2:] < torch.tensor([width, height])
        ).all(1)
        assert inside.any()


def test_biases_of_v1_learn_at_twice_the_rate():
    cfg = load(V1[0])
    model = build(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    biases = {name for name in rates if name.endswith("bias")}
    assert biases >= {"rpn_head.rpn_cls.bias", "roi_head.bbox_head.fc_reg.bias"}
    for name, rate in rates.items():
        learns = model.get_parameter(name).requires_grad
        assert rate == (2 * cfg.lr if name in biases and learns else cfg.lr), name


@pytest.mark.parametrize("row", TRAINED)
def test_the_demo_keeps_the_network_and_trains_all_of_it(row, demo_data, monkeypatch):
    monkeypatch.setattr("shufflenet_det.training.demo.make_demo_dataset", lambda root: demo_data)
    options = parse_options(list(DEMO_OPTIONS))
    cfg = load_run_config(str(path_of(row)), cfg_options=options, demo=True, work_dir="none")
    assert cfg.train_cfg.max_epochs == 1
    shapes = [{k: v.shape for k, v in build(c).state_dict().items()} for c in (cfg, load(row))]
    assert shapes[0] == shapes[1]
    detector = build(cfg).train()
    assert all(p.requires_grad for p in detector.parameters())
    assert all(m.training for m in detector.modules())
    assert cfg.train_dataloader.dataset.data_root.startswith(str(demo_data))
    assert cfg.model.backbone.init_cfg.type == "TruncNormal"
    assert not Path("none").exists()


def test_light_head_has_the_papers_small_head():
    """Light-Head R-CNN (arXiv:1711.07264), Sec. 3.2 and 4.3; its code where they differ."""
    model = load("v2/shufflenetv2_1x").model
    generator = TASK_UTILS.build(model.rpn_head.anchor_generator)
    (anchors,) = generator.base_anchors
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(1)
    sides = (width * height).sqrt().round().tolist()
    assert sorted(sides) == [side for side in (32, 64, 128, 256, 512) for _ in range(3)]
    detector = build(load("v2/shufflenetv2_1x"))
    assert detector.rpn_head.rpn_conv.out_channels == 256
    thin = detector.roi_head.thin_conv
    convs = [(conv.kernel_size, conv.out_channels) for conv in (*thin.col, *thin.row)]
    narrow, wide = 64, 10 * 7 * 7
    assert convs == [((15, 1), narrow), ((1, 15), wide), ((1, 15), narrow), ((15, 1), wide)]
    (layer,) = detector.roi_head.bbox_head.shared_fcs
    assert (layer.in_features, layer.out_features) == (490, 2048)
    proposals = [model.train_cfg.rpn_proposal.max_per_img, model.test_cfg.rpn.max_per_img]
    assert proposals == [2000, 1000]
    sampler = TASK_UTILS.build(model.train_cfg.rcnn.sampler, default_args={"context": None})
    most_boxes_of_an_image = 93  # of train2017
    assert sampler.num > proposals[0] + most_boxes_of_an_image
    assert sampler.pos_fraction == 1


@pytest.mark.parametrize("row", FPN)
def test_the_fpn_variant_has_the_same_backbone_and_images(row):
    cfg, c4 = load(row), load(row.removesuffix("_fpn"))
    for name in ("type", "groups", "widen_factor", "shuffle", "init_cfg"):
        assert cfg.model.backbone[name] == c4.model.backbone[name], name
    detector = build(cfg)
    maps = measured_backbone(detector)
    assert cfg.model.neck.in_channels == [channels for channels, _ in maps]
    assert [stride for _, stride in maps] == [8, 16, 32]
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        resizes = [
            [t for t in c[loader].dataset.pipeline if t["type"] == "Resize"] for c in (cfg, c4)
        ]
        assert resizes[0] == resizes[1]
