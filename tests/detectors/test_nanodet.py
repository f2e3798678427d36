"""NanoDet and NanoDet-Plus against published counts, written-out formulas and real weights."""

import copy
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
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
    """BatchNorm that does something, so that a mistake in its names or folding shows."""
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


@pytest.mark.parametrize(("side", "count"), [(320, 2125), (416, 3598)])
def test_points_are_at_whole_strides(side, count):
    points = build(config(PLUS)).bbox_head.prior_generator
    sizes = [(-(-side // stride),) * 2 for stride in (8, 16, 32, 64)]
    grid = points.grid_priors(sizes, device="cpu", with_stride=True)
    assert sum(map(len, grid)) == count
    for level, stride in zip(grid, (8, 16, 32, 64), strict=True):
        assert (level[:, 2] == stride).all()
        assert level[0, :2].tolist() == [0, 0]
        assert level[1, :2].tolist() == [stride, 0]


def test_the_ghost_block_is_what_the_paper_draws():
    block = GhostBlock(8, 4, kernel_size=5, norm_cfg={"type": "BN"}).eval()
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
    """The test's own table, by which files are made here, is right, too."""
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


def test_what_is_for_training_alone_is_left_out_of_inference():
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
    with pytest.raises(ValueError, match=r"1 of \d+ tensors are missing \(neck.reduce_layers.1"):
        detector.load_state_dict(state)


def test_fine_tuning_takes_all_but_what_computes_the_classes(tmp_path):
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


def test_estimated_statistics_leave_evaluation_and_fit_training():
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
