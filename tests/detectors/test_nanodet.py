"""NanoDet and NanoDet-Plus against published counts, written-out formulas and real weights."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional as F

from shufflenet_det.detectors.ghost_pan import GhostBlock
from shufflenet_det.detectors.statistics import estimate_statistics

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = ROOT.parent / "shared" / "weights"
PLUS, M = "nanodet_plus_m_416", "nanodet_m_416"
needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="the real weights beside the repository are absent"
)


def config(name, **train_cfg):
    cfg = Config.fromfile(ROOT / f"configs/nanodet/{name}.py").model
    cfg.backbone.init_cfg = None
    if cfg.type.endswith("Plus"):
        cfg.train_cfg.update({"aux_head": None, **train_cfg})
    return cfg


def build(cfg):
    torch.manual_seed(0)
    detector = MODELS.build(copy.deepcopy(cfg))
    detector.init_weights()
    return detector


def randomised(detector):
    """Randomise BatchNorm, so that mistakes in names or folding become visible."""
    for norm in (m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low, high in (
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.5, 0.5),
            (norm.running_mean, -0.5, 0.5),
            (norm.running_var, 0.5, 1.5),
        ):
            nn.init.uniform_(tensor, low, high)
    return detector.eval()


@torch.no_grad()
def outputs(detector, images=None):
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    scores, distances = detector(images, mode="tensor")
    return torch.cat([x.flatten() for x in (*scores, *distances)])


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# reference: the table of NanoDet-Plus's README and the layers that it is counted from
COUNTS = {
    "plus_m": (776_420, 282_048, 139_456, 2_850_932, {320: 0.451e9, 416: 0.762e9}),
    "plus_m_1.5x": (1_755_680, 503_552, 218_560, 4_980_852, {320: 0.879e9, 416: 1.486e9}),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_multiply_adds_are_the_published(name, multiply_adds):
    *published, aux_head, published_multiply_adds = COUNTS[name]
    trained = build(config(f"nanodet_{name}_416", aux_head={}))
    parts = [trained.backbone, trained.neck, trained.bbox_head, trained.aux_neck, trained.aux_head]
    neck = published[1]
    assert [parameters(part) for part in parts] == [*published, neck, aux_head]
    detector = build(config(f"nanodet_{name}_416")).eval()
    assert parameters(detector) == sum(published)
    for side, count in published_multiply_adds.items():
        counted = multiply_adds(detector, torch.zeros(1, 3, side, side), mode="tensor")
        assert counted == pytest.approx(count, abs=0.0006e9)


def test_the_ghost_block_is_what_the_paper_draws():
    block = GhostBlock(8, 4).eval()
    x = torch.randn(2, 8, 6, 5)
    weights = {k: v for k, v in block.state_dict().items() if v.dim() == 4}

    def norm(x):
        return x / (1 + 1e-5) ** 0.5

    def ghost(name, x, act):
        first = act(norm(F.conv2d(x, weights[f"{name}.primary_conv.0.weight"])))
        cheap = F.conv2d(
            first, weights[f"{name}.cheap_operation.0.weight"], padding=1, groups=first.shape[1]
        )
        return torch.cat((first, act(norm(cheap))), dim=1)

    main = ghost("ghost2", ghost("ghost1", x, lambda x: F.leaky_relu(x, 0.1)), lambda x: x)
    short = norm(F.conv2d(x, weights["shortcut.0.weight"], padding=2, groups=8))
    short = norm(F.conv2d(short, weights["shortcut.2.weight"]))
    torch.testing.assert_close(block(x), main + short)


# ---- NanoDet's files ------------------------------------------------------------------------

THEIRS = (
    (r"^aux_neck\.", "aux_fpn."),
    (r"^neck\.", "fpn."),
    (r"^bbox_head\.integral\.", "head.distribution_project."),
    (r"^bbox_head\.", "head."),
    (r"depthwise_conv\.conv", "depthwise"),
    (r"depthwise_conv\.bn", "dwnorm"),
    (r"pointwise_conv\.conv", "pointwise"),
    (r"pointwise_conv\.bn", "pwnorm"),
    (r"(top_down|bottom_up)_blocks\.(\d)", r"\1_blocks.\2.blocks.0"),
    (r"extra_(in|out)", r"extra_lvl_\1_conv.0"),
)


def nanodets(state, prefix=""):
    """A state_dict by NanoDet's names."""
    renamed_state = {}
    for key, tensor in state.items():
        for ours, theirs in THEIRS:
            key = re.sub(ours, theirs, key)
        renamed_state[prefix + key] = tensor
    return renamed_state


def folded(detector):
    """NanoDet's file of a detector with BatchNorm folded into the convolutions."""
    state = {}
    modules = dict(detector.named_modules())
    last = None
    for name, module in modules.items():
        if isinstance(module, nn.Conv2d):
            last = name
            state[f"{name}.weight"] = module.weight.detach()
            if module.bias is not None:
                state[f"{name}.bias"] = module.bias.detach()
        elif isinstance(module, nn.BatchNorm2d):
            fused = nn.utils.fuse_conv_bn_eval(modules[last], module)
            state[f"{last}.weight"], state[f"{last}.bias"] = fused.weight, fused.bias
    return nanodets(state)


@needs_weights
def test_our_names_for_nanodets_are_those_of_its_files():
    """The table above, from which these tests make files, has the names of the real files."""
    from safetensors.torch import load_file

    plus, m = (build(config(name)).eval() for name in (PLUS, M))
    for made, file in (
        (nanodets(plus.state_dict()), "nanodet-plus-m_416_bn"),
        (folded(plus), "nanodet-plus-m_416_folded"),
        (nanodets(m.state_dict()), "nanodet-m_416_bn"),
    ):
        constants = {key for key in made if key.endswith(".project")}
        assert made.keys() - constants == load_file(WEIGHTS / f"{file}.safetensors").keys()


@pytest.mark.parametrize("name", [PLUS, M])
@pytest.mark.parametrize("prefix", ["", "model.", "avg_model."])
def test_a_file_of_nanodets_names_loads_whole(name, prefix):
    source = randomised(build(config(name)))
    state = nanodets(source.state_dict(), prefix)
    other = {f"model.{key}": torch.randn_like(t) for key, t in nanodets(source.state_dict()).items()
             if t.is_floating_point()}  # fmt: skip
    target = build(config(name)).eval()
    target.load_state_dict({**other, **state} if prefix == "avg_model." else state)
    torch.testing.assert_close(outputs(target), outputs(source), rtol=0, atol=0)


@pytest.mark.parametrize("name", [PLUS, M])
def test_a_folded_file_computes_the_same(name):
    source = randomised(build(config(name)))
    target = build(config(name)).eval()
    target.load_state_dict(folded(source))
    torch.testing.assert_close(outputs(target), outputs(source), rtol=1e-3, atol=1e-4)


def test_auxiliary_parts_are_ignored_in_inference():
    trained = build(config(PLUS, aux_head={}))
    detector = build(config(PLUS))
    detector.load_state_dict(nanodets(trained.state_dict(), "model."))
    assert not [key for key in detector.state_dict() if "aux" in key]
    torch.testing.assert_close(detector.neck.state_dict(), trained.neck.state_dict())
    again = build(config(PLUS, aux_head={}))
    nn.init.zeros_(again.aux_head.gfl_reg.weight)
    again.load_state_dict(detector.state_dict())
    assert not again.aux_head.gfl_reg.weight.any()  # kept


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bbox_head": {"num_classes": 3}}, "80 classes.*[(]3 classes.*fine-tune.*init_cfg"),
        (
            {
                "neck": {"out_channels": 128},
                "bbox_head": {"in_channels": 128},
                "backbone": {"widen_factor": 1.5},
            },
            "96 channels in the head, 116 in stage 2.*128 channels in the head, 176 in stage 2",
        ),
    ],
)
def test_another_network_is_refused_in_one_sentence(change, sentence):
    state = nanodets(build(config(PLUS)).state_dict())
    cfg = config(PLUS)
    cfg.merge(change)
    if "neck" in change:
        cfg.neck.in_channels = (176, 352, 704)
    detector = build(cfg)
    before = copy.deepcopy(detector.state_dict())
    with pytest.raises(ValueError, match=sentence) as raised:
        detector.load_state_dict(state)
    assert "\n" not in str(raised.value)
    torch.testing.assert_close(detector.state_dict(), before)


def test_a_missing_tensor_is_refused():
    detector = build(config(PLUS))
    state = nanodets(detector.state_dict())
    del state["fpn.reduce_layers.1.conv.weight"]
    with pytest.raises(ValueError, match=r"tensors: 1 missing \(neck.reduce_layers.1"):
        detector.load_state_dict(state)


def test_fine_tuning_loads_all_but_the_class_weights(tmp_path):
    source = randomised(build(config(PLUS)))
    torch.save({"state_dict": nanodets(source.state_dict(), "model.")}, tmp_path / "coco.ckpt")
    cfg = config(PLUS)
    cfg.bbox_head.num_classes = 3
    cfg.init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "coco.ckpt")}
    detector = build(cfg)
    mine, theirs = detector.state_dict(), source.state_dict()
    for key, tensor in mine.items():
        if "gfl_cls" in key:
            torch.testing.assert_close(tensor[3:], theirs[key][80:])
            assert tensor.dim() == 1 or not torch.equal(tensor[:3], theirs[key][:3])
        else:
            torch.testing.assert_close(tensor, theirs[key])


def test_estimated_statistics_keep_evaluation_and_suit_training():
    source = randomised(build(config(PLUS)))
    detector = build(config(PLUS))
    detector.load_state_dict(folded(source))
    before = outputs(detector.eval())
    images = [torch.randn(4, 3, 128, 128) for _ in range(2)]
    count = estimate_statistics(detector, images)
    assert count == sum(isinstance(m, nn.BatchNorm2d) for m in detector.modules())
    torch.testing.assert_close(outputs(detector), before, rtol=1e-3, atol=1e-3)
    # On the images that they were estimated from, training mode normalises as evaluation does.
    batch = torch.cat(images)
    with torch.no_grad():
        evaluated = torch.cat([x.flatten() for x in detector.eval()(batch, mode="tensor")[0]])
        trained = torch.cat([x.flatten() for x in detector.train()(batch, mode="tensor")[0]])
    torch.testing.assert_close(trained, evaluated, rtol=1e-3, atol=1e-3)
    assert estimate_statistics(detector, images) == 0  # they are real now


# ---- losses and assignment ------------------------------------------------------------------


def predictions(head, seed, images=2, side=64):
    """Random maps of a head's shapes, as its forward gives them."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [-(-side // stride[0]) for stride in head.prior_generator.strides]
    return tuple(
        [torch.randn(images, channels, size, size, generator=generator) for size in sizes]
        for channels in (head.num_classes, 4 * (head.reg_max + 1))
    )


def annotations():
    boxes = [[[3, 4, 40, 50], [10, 12, 30, 33]], [[20, 5, 61, 35]]]
    labels = [[2, 0], [1]]
    return [
        InstanceData(bboxes=torch.tensor(b).float(), labels=torch.tensor(c))
        for b, c in zip(boxes, labels, strict=True)
    ]


def decoded(scores, bins, reg_max=7):
    """Points (P, 2), strides (P,), logits (N, P, C), bins (N, P, 4, 8), boxes (N, P, 4)."""
    points, strides = [], []
    for level, stride in zip(scores, (8, 16, 32, 64), strict=True):
        for i in range(level.shape[2]):
            for j in range(level.shape[3]):
                points.append([j * stride, i * stride])
                strides.append(stride)
    points, strides = torch.tensor(points).float(), torch.tensor(strides).float()
    logits, flat = (
        torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], dim=1)
        for maps in (scores, bins)
    )
    flat = flat.unflatten(2, (4, reg_max + 1))
    distances = (flat.softmax(-1) * torch.arange(reg_max + 1)).sum(-1) * strides[:, None]
    boxes = torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=2)
    return points, strides, logits, flat, boxes


def overlaps(a, b):
    """IoU and GIoU of every pair of (n, 4) and (m, 4), by torchvision."""
    from torchvision.ops import box_iou, generalized_box_iou

    return box_iou(a, b), generalized_box_iou(a, b)


def assigned(points, logits, boxes, gt):
    """DSLA, written out: of each point the annotated box or -1, and the IoU with it."""
    iou, _ = overlaps(boxes, gt.bboxes)
    x, y = points[:, :1], points[:, 1:]
    left, top, right, bottom = gt.bboxes.T
    inside = ((x > left) & (x < right) & (y > top) & (y < bottom)).any(1)
    cost = torch.full_like(iou, float("inf"))
    for p in inside.nonzero().flatten().tolist():
        for g in range(len(gt)):
            wanted = torch.zeros(logits.shape[1])
            wanted[gt.labels[g]] = iou[p, g]
            bce = F.binary_cross_entropy_with_logits(logits[p], wanted, reduction="none")
            classes = (bce * (wanted - logits[p].sigmoid()).abs() ** 2).sum()
            cost[p, g] = classes - 3 * (iou[p, g] + 1e-7).log()
    claims = torch.zeros_like(iou, dtype=torch.bool)
    for g in range(len(gt)):
        k = max(1, int(iou[inside, g].topk(min(13, int(inside.sum()))).values.sum()))
        claims[cost[:, g].topk(k, largest=False).indices, g] = True
    cheapest = torch.where(claims, cost, float("inf")).argmin(1)
    # One that is claimed twice goes to the cheaper of all boxes.
    cheapest = torch.where(claims.sum(1) > 1, cost.argmin(1), cheapest)
    chosen = torch.where(claims.any(1), cheapest, -1)
    return chosen, iou.gather(1, cheapest[:, None])[:, 0]


def written_out(scores, bins, gts, assigning):
    """The losses of a head by the formulas, with the assignment by another's predictions."""
    points, strides, logits, flat, boxes = decoded(scores, bins)
    _, _, their_logits, _, their_boxes = decoded(*assigning)
    qfl, giou, dfl, weights, positives = 0.0, 0.0, 0.0, 0.0, 0
    for n, gt in enumerate(gts):
        chosen, quality = assigned(points, their_logits[n], their_boxes[n], gt)
        sigma = logits[n].sigmoid()
        bce0 = F.binary_cross_entropy_with_logits(
            logits[n], torch.zeros_like(sigma), reduction="none"
        )
        losses = bce0 * sigma**2
        for p in (chosen >= 0).nonzero().flatten().tolist():
            g, positives = chosen[p], positives + 1
            label, q = gt.labels[g], quality[p]
            losses[p, label] = F.binary_cross_entropy_with_logits(logits[n, p, label], q) * (
                (q - sigma[p, label]) ** 2
            )
            weight = sigma[p].max()
            weights += weight
            giou += 2 * weight * (1 - overlaps(boxes[n, p : p + 1], gt.bboxes[g][None])[1][0, 0])
            x, y = points[p]
            left, top, right, bottom = gt.bboxes[g]
            target = torch.stack((x - left, y - top, right - x, bottom - y)) / strides[p]
            for side, t in enumerate(target.clamp(0, 6.9)):
                log = flat[n, p, side].log_softmax(0)
                low = int(t)
                dfl -= 0.25 * weight * (log[low] * (low + 1 - t) + log[low + 1] * (t - low)) / 4
        qfl += losses.sum()
    weights = max(weights, torch.tensor(1.0))
    losses = qfl / max(positives, 1), giou / weights, dfl / weights
    return dict(zip(("loss_cls", "loss_bbox", "loss_dfl"), losses, strict=True))


def test_losses_are_the_formulas_for_both_heads():
    head = build(config(PLUS)).bbox_head
    own, aux, gts = predictions(head, 0), predictions(head, 1), annotations()
    losses = head.loss_by_feat(*own, gts, [{}] * 2, aux=aux)
    expected = written_out(*own, gts, aux)
    expected |= {f"aux_{name}": loss for name, loss in written_out(*aux, gts, aux).items()}
    assert losses.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-4, atol=1e-5, msg=name)
    alone = head.loss_by_feat(*own, gts, [{}] * 2)
    for name, loss in written_out(*own, gts, own).items():
        torch.testing.assert_close(alone[name], loss, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", [PLUS, M])
def test_images_without_boxes_have_losses_and_gradients(name):
    detector = build(config(name, aux_head={})).train()
    data = demo_mm_inputs(2, [(3, 64, 64)] * 2, [0, 0], 80)
    data = detector.data_preprocessor(data, True)
    loss, _ = detector.parse_losses(detector(**data, mode="loss"))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in detector.parameters())


@pytest.mark.parametrize("epoch", [9, 10])
def test_the_auxiliary_parts_leave_the_backbone_alone_from_epoch_ten_on(epoch):
    detector = build(config(PLUS, aux_head={"stacked_convs": 1})).train()
    MessageHub.get_current_instance().update_info("epoch", epoch)
    data = demo_mm_inputs(2, [(3, 64, 64)] * 2, [2, 1], 80)
    losses = detector(**detector.data_preprocessor(data, True), mode="loss")
    MessageHub.get_current_instance().update_info("epoch", 0)
    sum(loss for name, loss in losses.items() if name.startswith("aux")).backward()
    for part in (detector.aux_neck, detector.aux_head):
        assert all(p.grad is not None for p in part.parameters())
    for part in (detector.backbone, detector.neck):
        assert all((p.grad is None) == (epoch >= 10) for p in part.parameters())


def test_it_learns_sixteen_images_by_heart():
    """Coloured squares on grey: after a few steps every one is found, with its class."""
    cfg = config(PLUS)
    cfg.backbone.widen_factor = 0.5
    cfg.neck.update(in_channels=(48, 96, 192), out_channels=32)
    cfg.bbox_head.update(num_classes=2, in_channels=32)
    detector = build(cfg).train()
    rng = np.random.default_rng(0)
    images, samples = [], demo_mm_inputs(16, [(3, 64, 64)] * 16, [1] * 16, 2)["data_samples"]
    for sample in samples:
        x, y, side = rng.integers(4, 28), rng.integers(4, 28), rng.integers(20, 32)
        label = int(rng.integers(2))
        image = torch.full((3, 64, 64), 120.0)
        image[2 * label, y : y + side, x : x + side] = 255
        images.append(image)
        sample.gt_instances.bboxes = torch.tensor([[x, y, x + side, y + side]]).float()
        sample.gt_instances.labels = torch.tensor([label])
    optimizer = torch.optim.AdamW(detector.parameters(), lr=4e-3)
    curve = []
    for _ in range(45):
        data = detector.data_preprocessor({"inputs": images, "data_samples": samples}, True)
        loss, _ = detector.parse_losses(detector(**data, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    assert curve[-1] < max(curve) / 2
    for module in detector.modules():  # statistics of the last steps are not those of the weights
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    data = detector.data_preprocessor({"inputs": images, "data_samples": samples}, False)
    with torch.no_grad():
        detector(**data, mode="tensor")
        found = detector.eval().predict(data["inputs"], data["data_samples"], rescale=False)
    for result in found:
        best = result.pred_instances[:1]  # by score
        assert best.labels == result.gt_instances.labels
        iou, _ = overlaps(best.bboxes, result.gt_instances.bboxes)
        assert iou > 0.5


@needs_weights
@pytest.mark.parametrize(
    ("name", "file", "figures"),
    [(PLUS, "nanodet-plus-m_416_folded", (35.7, 49.8)), (M, "nanodet-m_416_bn", (27.6, 41.5))],
)
def test_real_weights_reach_what_the_ncnn_runtime_reaches(name, file, figures, tmp_path):
    """AP on 100 photographs of COCO, by ncnn and NanoDet's own post-processing."""
    from shufflenet_det.training.configs import load_run_config
    from shufflenet_det.training.runs import test

    data = WEIGHTS.parent / "data" / "coco_mini"
    options = {"data_root": str(data), "test_dataloader.num_workers": 0}
    options["test_dataloader.persistent_workers"] = False
    path = str(ROOT / f"configs/nanodet/{name}.py")
    cfg = load_run_config(path, cfg_options=options, work_dir=str(tmp_path), splits=("test",))
    metrics = test(cfg, str(WEIGHTS / f"{file}.safetensors"))
    found = [100 * metrics[f"coco/bbox_{key}"] for key in ("mAP", "mAP_50")]
    assert found == pytest.approx(figures, abs=0.3)
