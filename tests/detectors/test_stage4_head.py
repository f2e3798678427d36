"""Faster R-CNN's C4 form: stage 4 on RoIs is the backbone's, with its weights and settings."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from torch import nn

import shufflenet_det.detectors  # noqa: F401  # registers the detector
from shufflenet_det.papers.published import COCO_ROWS

BACKBONES = {
    "V1": {"type": "ShuffleNetV1", "groups": 3, "widen_factor": 0.5},
    "V1, inverse": {"type": "ShuffleNetV1", "groups": 8, "widen_factor": 0.5, "shuffle": "inverse"},
    "V2": {"type": "ShuffleNetV2", "widen_factor": 0.5, "layout": "paper"},
    "V2*": {"type": "ShuffleNetV2", "widen_factor": 0.5, "extra_depthwise": True},
    "MobileNetV1": {"type": "MobileNetV1", "widen_factor": 0.25},
    "Xception": {"type": "Xception", "widen_factor": 0.5},
}
CLASSES = 4


def whole(name, **settings):
    """The backbone up to stage 4, with stage 3 beside it."""
    return MODELS.build({**BACKBONES[name], "out_indices": (2, 3), **settings})


def randomise(module):
    """Weights and statistics that no initialisation gives."""
    torch.manual_seed(1)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.9)
    return module


@pytest.fixture(params=BACKBONES)
def name(request):
    return request.param


@pytest.fixture
def checkpoint(name, tmp_path):
    """The file of a whole backbone, and that backbone."""
    network = randomise(whole(name))
    path = tmp_path / "backbone.pth"
    torch.save(network.state_dict(), path)
    return path, network.eval()


def head_of(name, **settings):
    backbone = {**BACKBONES[name], "out_indices": (2,), "frozen_stages": 2, **settings}
    head = MODELS.build({"type": "Stage4Head", "backbone": backbone})
    head.init_weights()
    return head


def test_pretrained_weights_of_stage_4_are_loaded_and_compute_the_same(name, checkpoint):
    path, network = checkpoint
    head = head_of(name, init_cfg={"type": "Pretrained", "checkpoint": str(path)}).eval()
    with torch.no_grad():
        stage3, stage4 = network(torch.rand(2, 3, 64, 64))
        assert torch.equal(head(stage3), stage4)


def test_fourteen_cells_become_seven(name):
    (c3, c4) = whole(name).out_channels
    assert head_of(name)(torch.rand(2, c3, 14, 14)).shape == (2, c4, 7, 7)


def test_only_stage_4_is_kept_and_it_learns_with_frozen_stages_below(name):
    head = head_of(name)
    kept = [key for key in whole(name).state_dict() if key.startswith("stage4.")]
    assert list(head.state_dict()) == kept
    assert all(p.requires_grad for p in head.parameters())


def test_with_cp_runs_the_units_of_stage_4_again_in_the_backward_pass(name):
    calls, grads = [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        head = head_of(name, with_cp=with_cp).train()
        count = []
        for unit in head.stage4.children():
            unit.register_forward_pre_hook(lambda *_, count=count: count.append(None))
        (c3, _) = whole(name).out_channels
        x = torch.rand(2, c3, 14, 14, generator=torch.Generator().manual_seed(0))
        head(x).square().sum().backward()
        calls.append(len(count))
        grads.append([p.grad for p in head.parameters()])
    assert calls == [len(head.stage4), 2 * len(head.stage4)]
    assert all(map(torch.equal, *grads))


@pytest.mark.parametrize("norm_eval", [True, False])
def test_batchnorm_keeps_its_mode_as_in_the_backbone(name, norm_eval):
    head = head_of(name, norm_eval=norm_eval)
    norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.training for m in norms} == {True}  # as built
    assert head.train() is head
    assert {m.training for m in norms} == {not norm_eval}
    head.eval()
    assert {m.training for m in norms} == {False}


def test_random_initialisation_is_the_backbones(name):
    head = head_of(name, init_cfg={"type": "Constant", "layer": "Conv2d", "val": 0.25})
    convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert convs
    assert all((m.weight == 0.25).all() for m in convs)


def c4(name, **backbone):
    c3, c4 = whole(name).out_channels
    cfg = Config.fromfile(COCO_ROWS["v1/shufflenet_1x_600"].config).model
    cfg.backbone = ConfigDict(**BACKBONES[name], out_indices=(2,), **backbone)
    cfg.rpn_head.in_channels = cfg.roi_head.bbox_roi_extractor.out_channels = c3
    cfg.roi_head.bbox_head.in_channels = c4
    cfg.roi_head.bbox_head.num_classes = CLASSES
    cfg.train_cfg.rcnn.sampler.num = 16
    cfg.test_cfg.rpn.max_per_img = 8
    cfg.test_cfg.rcnn.score_thr = 0.0
    return cfg


def batch():
    return demo_mm_inputs(2, [(3, 128, 160), (3, 160, 128)], [2, 0], CLASSES)


def test_a_step_gives_every_parameter_a_gradient_and_prediction_gives_boxes(name):
    torch.manual_seed(0)
    detector = MODELS.build(c4(name))
    detector.init_weights()
    detector.train()
    data = detector.data_preprocessor(batch(), training=True)
    loss, _ = detector.parse_losses(detector(**data, mode="loss"))
    loss.backward()
    assert loss.isfinite()
    assert not [k for k, p in detector.named_parameters() if p.grad is None]
    detector.eval()
    with torch.no_grad():
        results = detector.test_step(batch())
    assert all(len(result.pred_instances) for result in results)


def test_the_detector_loads_a_file_into_both_of_its_parts(name, checkpoint):
    path, network = checkpoint
    detector = MODELS.build(c4(name, init_cfg={"type": "Pretrained", "checkpoint": str(path)}))
    detector.init_weights()
    own = detector.state_dict()
    for key, tensor in network.state_dict().items():
        place = "roi_head.shared_head" if key.startswith("stage4.") else "backbone"
        assert torch.equal(own[f"{place}.{key}"], tensor), key


@pytest.mark.parametrize("out_indices", [(2, 3), (3,), None])
def test_a_backbone_that_does_not_end_at_stage_3_is_refused(out_indices):
    cfg = c4("V2")
    cfg.backbone.pop("out_indices")
    if out_indices is not None:
        cfg.backbone.out_indices = out_indices
    with pytest.raises(ValueError, match=r"backbone.out_indices=.*: must be \(2, \)"):
        MODELS.build(cfg)


def test_another_packages_backbone_is_refused():
    cfg = c4("V2")
    cfg.backbone = ConfigDict(type="ResNet", depth=18, out_indices=(2,))
    with pytest.raises(ValueError, match=r"backbone.type='ResNet': must be of shufflenet_det"):
        MODELS.build(cfg)


def test_the_detector_changes_no_config():
    cfg = c4("V2")
    before = cfg.backbone.to_dict()
    assert "shared_head" not in cfg.roi_head
    MODELS.build(cfg)
    assert cfg.backbone.to_dict() == before
    assert "shared_head" not in cfg.roi_head
