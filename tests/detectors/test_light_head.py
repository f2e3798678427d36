"""Light-Head R-CNN: its heads against mmdet's and against formulas, and the whole detector."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import ConvFCBBoxHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

import shufflenet_det.detectors  # noqa: F401  # registers the heads
from shufflenet_det.host.amp import Bfloat16OptimWrapper

ROOT = Path(__file__).parent.parent.parent
CLASSES = 4
ALIGN = {"type": "PSRoIAlign", "output_size": 7}
OFFICIAL_ALIGN = {**ALIGN, "pool_mode": "max", "aligned": False}
POOL = {"type": "PSRoIPool", "output_size": 7}
ASSIGNER = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.5}
ASSIGNER["match_low_quality"] = False
# Every proposal and every annotated box is a candidate.
SAMPLER = {"type": "RandomSampler", "num": 100_000, "pos_fraction": 1.0}


def detector_config(roi_layer=OFFICIAL_ALIGN, out_indices=(2, 3), stride=32, **bbox_head):
    """The shipped detector on a small backbone, with fewer proposals."""
    cfg = Config.fromfile(ROOT / "configs/_base_/light_head_rcnn.py").model
    channels = {2: 96, 3: 192}
    cfg.type = "FasterRCNN"
    cfg.data_preprocessor = {"type": "DetDataPreprocessor", "std": [60] * 3, "mean": [115] * 3}
    cfg.backbone = {"type": "ShuffleNetV2", "widen_factor": 0.5, "out_indices": out_indices}
    cfg.rpn_head.in_channels = channels[out_indices[0]]
    cfg.roi_head.thin_conv.in_channels = channels[out_indices[-1]]
    cfg.roi_head.bbox_roi_extractor.roi_layer = roi_layer
    cfg.roi_head.bbox_roi_extractor.featmap_strides = [stride]
    cfg.roi_head.bbox_head.update(num_classes=CLASSES, **bbox_head)
    for proposals in (cfg.train_cfg.rpn_proposal, cfg.test_cfg.rpn):
        proposals.update(nms_pre=200, max_per_img=100)
    return cfg


def build(cfg):
    MMLogger.get_current_instance().setLevel("ERROR")
    torch.manual_seed(0)
    module = MODELS.build(cfg)
    module.init_weights()
    return module


def bbox_head(**settings):
    return build({"type": "LightHeadBBoxHead", "num_classes": CLASSES, **settings})


def batch(*boxes):
    """Images of two sizes, with so many annotated boxes each."""
    return demo_mm_inputs(len(boxes), [(3, 96, 128), (3, 128, 96)], list(boxes), CLASSES)


# The R-CNN subnet.


def test_the_subnet_starts_from_the_authors_gaussians():
    head = bbox_head(num_classes=80)
    for layer, std in ((head.shared_fcs[0], 0.01), (head.fc_cls, 0.01), (head.fc_reg, 0.001)):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert not layer.bias.any()


def test_forward_is_mmdets_one_layer_head():
    ours = bbox_head()
    theirs = ConvFCBBoxHead(
        num_shared_fcs=1, fc_out_channels=2048, in_channels=10, num_classes=CLASSES
    )
    theirs.load_state_dict(ours.state_dict())
    rois = torch.randn(5, 10, 7, 7)
    assert all(map(torch.equal, ours(rois), theirs(rois)))


@pytest.mark.parametrize("number", [0, -1])
def test_a_count_below_one_is_refused(number):
    with pytest.raises(ValueError, match=f"ohem_per_image={number}: must be positive or None"):
        bbox_head(ohem_per_image=number)


# Online hard example mining.


def boxes_of(rng, number):
    corner, size = rng.uniform(0, 60, (number, 2)), rng.uniform(10, 40, (number, 2))
    return np.concatenate((corner, corner + size), axis=1)


def image_of(rng, proposals, annotated):
    """Annotated boxes, and proposals of which every other one lies close to one of them."""
    gt, priors = boxes_of(rng, annotated), boxes_of(rng, proposals)
    for i in range(0, proposals if annotated else 0, 2):
        priors[i] = gt[i % annotated] + rng.uniform(-2, 2, 4)
    return priors, gt, rng.integers(0, CLASSES, annotated)


def sampled(priors, gt, labels):
    """The candidates of mmdet's assigner and sampler with the documented settings."""
    priors = InstanceData(priors=torch.tensor(priors))
    gt = InstanceData(bboxes=torch.tensor(gt), labels=torch.tensor(labels))
    assigned = TASK_UTILS.build(ASSIGNER).assign(priors, gt)
    return TASK_UTILS.build(SAMPLER).sample(assigned, priors, gt)


def targets_of(rois, gt, labels):
    """Label and regression target of each RoI: its best overlap counts from one half on."""
    targets = np.full(len(rois), CLASSES), np.zeros((len(rois), 4))
    for i, roi in enumerate(rois if len(gt) else ()):
        low, high = np.maximum(roi[:2], gt[:, :2]), np.minimum(roi[2:], gt[:, 2:])
        common = (high - low).clip(0).prod(axis=1)
        area = (gt[:, 2:] - gt[:, :2]).prod(axis=1) + (roi[2:] - roi[:2]).prod()
        overlap = common / (area - common)
        best = overlap.argmax()
        if overlap[best] >= 0.5:
            size, gt_size = roi[2:] - roi[:2], gt[best, 2:] - gt[best, :2]
            shift = (gt[best, 2:] + gt[best, :2] - roi[2:] - roi[:2]) / 2 / size
            targets[0][i] = labels[best]
            targets[1][i] = np.concatenate((shift / 0.1, np.log(gt_size / size) / 0.2))
    return targets


def restated(scores, deltas, labels, targets, number):
    """Rows of the hardest RoIs, and both losses averaged over them, that of the boxes twice."""
    rows = np.arange(len(labels))
    cls_loss = np.log(np.exp(scores).sum(axis=1)) - scores[rows, labels]
    per_class = deltas.reshape(len(deltas), -1, 4)
    error = abs(per_class[rows, labels % per_class.shape[1]] - targets)
    box_loss = np.where(error < 1, error**2 / 2, error - 0.5).sum(axis=1) * (labels < CLASSES)
    hardest = np.argsort(-(cls_loss + box_loss), kind="stable")[:number]
    return hardest, cls_loss[hardest].mean(), 2 * box_loss[hardest].mean()


# Proposals and annotated boxes of each image.
IMAGES = {
    "many": [(40, 3), (25, 2)],
    "three images": [(30, 1), (20, 4), (25, 2)],
    "fewer than wanted": [(6, 1), (5, 2)],
    "no foreground": [(30, 0), (20, 0)],
    "an empty image": [(30, 3), (0, 0)],
    "all foreground": [(0, 12), (0, 12)],
}
PER_IMAGE = 8


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("images", IMAGES.values(), ids=list(IMAGES))
def test_the_hardest_of_the_batch_are_trained_on(images, agnostic, ties):
    rng = np.random.default_rng(0)
    made = [image_of(rng, *counts) for counts in images]
    results = [sampled(*image) for image in made]
    for result, counts in zip(results, images, strict=True):
        assert len(result.priors) == sum(counts)
    priors = [result.priors.numpy() for result in results]
    each = [targets_of(p, *image[1:]) for p, image in zip(priors, made, strict=True)]
    labels, targets = (np.concatenate(t) for t in zip(*each, strict=True))

    # Images differ in how hard they are, so that a choice by image is another.
    hardness = np.repeat(np.arange(1, len(images) + 1), [len(p) for p in priors])[:, None]
    scores = rng.normal(size=(len(labels), CLASSES + 1)) * hardness
    deltas = rng.normal(size=(len(labels), 4 if agnostic else 4 * CLASSES)) * hardness
    if ties:
        scores[:] = scores[0]  # all of the background is equally hard
    number = PER_IMAGE * len(images)
    expected = restated(scores, deltas, labels, targets, number)

    head = bbox_head(ohem_per_image=PER_IMAGE, reg_class_agnostic=agnostic).double()
    scores = torch.tensor(scores, requires_grad=True)
    deltas = torch.tensor(deltas, requires_grad=True)
    rois = torch.zeros(len(labels), 5).double()
    train_cfg = ConfigDict(pos_weight=-1)
    losses = head.loss_and_target(scores, deltas, rois, results, train_cfg)["loss_bbox"]
    (losses["loss_cls"] + losses["loss_bbox"]).backward()

    hardest, loss_cls, loss_bbox = expected
    # mmdet encodes boxes in float32.
    assert losses["loss_cls"].item() == pytest.approx(loss_cls, rel=1e-5)
    assert losses["loss_bbox"].item() == pytest.approx(loss_bbox, rel=1e-5)
    assert set(scores.grad.any(dim=1).nonzero()[:, 0].tolist()) == set(hardest)
    assert len(hardest) == min(number, len(labels))


def test_without_mining_the_losses_are_mmdets():
    rng = np.random.default_rng(0)
    results = [sampled(*image_of(rng, *counts)) for counts in IMAGES["many"]]
    number = sum(len(result.priors) for result in results)
    given = torch.randn(number, CLASSES + 1), torch.randn(number, 4 * CLASSES)
    losses = []
    for head in (
        bbox_head(ohem_per_image=None),
        ConvFCBBoxHead(
            num_shared_fcs=1,
            num_classes=CLASSES,
            loss_bbox={"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 2.0},
        ),
    ):
        rois, train_cfg = torch.zeros(number, 5), ConfigDict(pos_weight=-1)
        losses.append(head.loss_and_target(*given, rois, results, train_cfg)["loss_bbox"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("loss", ["loss_cls", "loss_bbox"])
def test_a_loss_weight_of_zero_is_refused(loss):
    kind = {"loss_cls": "CrossEntropyLoss", "loss_bbox": "SmoothL1Loss"}[loss]
    settings = {loss: {"type": kind, "loss_weight": 0.0}}
    with pytest.raises(ValueError, match=r"loss_weight=.*must be positive"):
        bbox_head(**settings)
    bbox_head(ohem_per_image=None, **settings)


def test_iou_losses_choose_rois_too():
    """mmdet's IoU losses are one number a RoI, not four."""
    rng = np.random.default_rng(0)
    made = [image_of(rng, *counts) for counts in IMAGES["many"]]
    results = [sampled(*image) for image in made]
    settings = {"reg_decoded_bbox": True, "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0}}
    head = bbox_head(ohem_per_image=PER_IMAGE, **settings).double()
    rois = [np.insert(r.priors.numpy(), 0, i, axis=1) for i, r in enumerate(results)]
    rois = torch.tensor(np.concatenate(rois))
    scores = torch.randn(len(rois), CLASSES + 1).double().requires_grad_()
    deltas = torch.randn(len(rois), 4 * CLASSES).double()
    losses = head.loss_and_target(scores, deltas, rois, results, ConfigDict(pos_weight=-1))
    losses["loss_bbox"]["loss_cls"].backward()
    assert losses["loss_bbox"]["loss_bbox"].isfinite()
    assert scores.grad.any(dim=1).sum() == PER_IMAGE * len(made)


# The RPN and the RoI head.


def test_the_rpn_reads_the_first_map_alone():
    cfg = detector_config().rpn_head
    ours = build(cfg)
    theirs = RPNHead(**{k: v for k, v in cfg.items() if k != "type"})
    theirs.load_state_dict(ours.state_dict())
    c4, c5 = torch.randn(2, 96, 6, 8), torch.randn(2, 192, 3, 4)
    for our_maps, their_maps in zip(ours((c4, c5)), theirs((c4,)), strict=True):
        assert len(our_maps) == 1
        assert torch.equal(our_maps[0], their_maps[0])


def test_the_thin_map_is_computed_once_from_the_last_map():
    detector = build(detector_config()).eval()
    inputs = []
    detector.roi_head.thin_conv.register_forward_hook(lambda m, args, out: inputs.append(args[0]))
    with torch.no_grad():
        detector.test_step(batch(1, 1))
        maps = detector.backbone(detector.data_preprocessor(batch(1, 1))["inputs"])
    assert len(inputs) == 1
    assert torch.equal(inputs[0], maps[-1])
    # Its gradient multiplier goes by this name.
    assert "roi_head.thin_conv.col.0.bias" in dict(detector.named_parameters())


# The whole detector.


@pytest.mark.parametrize(
    "settings",
    [
        {"roi_layer": OFFICIAL_ALIGN},
        {"roi_layer": ALIGN, "reg_class_agnostic": True},
        {"roi_layer": POOL, "ohem_per_image": None},
        {"out_indices": (2,), "stride": 16},
    ],
    ids=["official", "class-agnostic", "pooling", "thin map of C4"],
)
@pytest.mark.parametrize("wrapper", [OptimWrapper, Bfloat16OptimWrapper])
def test_it_trains_and_predicts(settings, wrapper):
    detector = build(detector_config(**settings))
    wrapper = wrapper(torch.optim.SGD(detector.parameters(), lr=0.01, momentum=0.9))
    detector.train()
    for boxes in ((2, 1), (1, 3)):
        values = detector.train_step(batch(*boxes), wrapper)
        assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"} <= set(values)
        assert all(torch.isfinite(value) for value in values.values())
    with torch.no_grad(), wrapper.optim_context(detector):
        results = detector.eval().test_step(batch(0, 0))
    for result in results:
        found, (height, width) = result.pred_instances, result.ori_shape
        assert 0 < len(found) <= 100
        assert found.labels.max() < CLASSES
        assert ((found.scores > 0) & (found.scores <= 1)).all()
        assert (found.bboxes >= 0).all()
        assert (found.bboxes[:, 2::4] <= width).all() and (found.bboxes[:, 3::4] <= height).all()


def backward(detector, losses):
    detector.zero_grad()
    loss, values = detector.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    return values


@pytest.mark.parametrize("boxes", [(2, 1), (2, 0), (0, 0)])
def test_every_parameter_gets_a_finite_gradient(boxes):
    """Also without boxes in the batch; otherwise distributed training would hang."""
    detector = build(detector_config()).train()
    data = detector.data_preprocessor(batch(*boxes), training=True)
    backward(detector, detector(**data, mode="loss"))
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_no_rois_at_all():
    detector = build(detector_config())
    data = detector.data_preprocessor(batch(0, 0), training=True)
    maps = detector.extract_feat(data["inputs"])
    empty = [InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0)) for _ in range(2)]
    values = backward(
        detector, detector.roi_head.loss(maps, copy.deepcopy(empty), data["data_samples"])
    )
    assert values["loss"] == 0
    assert detector.roi_head.thin_conv.col[0].weight.grad is not None
    for found in detector.roi_head.predict(maps, empty, data["data_samples"]):
        assert len(found) == 0
