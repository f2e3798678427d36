"""Published weights through ``init_cfg``, ``load_from`` and a run's config."""

import urllib.error
import urllib.request

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.model import PretrainedInit
from mmengine.runner import save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from published_networks import Tape, assert_close, image, megvii_v1
from torchvision.models import shufflenet_v2_x0_5

from shufflenet_det.backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception
from shufflenet_det.training import load_run_config
from shufflenet_det.weights import find_record, load_pretrained, needed_arguments, read_weights

X = image()


def pretrained(path, **kwargs):
    return {"init_cfg": {"type": "Pretrained", "checkpoint": str(path), **kwargs}}


@pytest.fixture
def authors(tmp_path):
    """A file of the authors' V1 g=3 0.5x by its published name, and its network's features."""
    tape = Tape(dtype=torch.float64)
    features = megvii_v1(tape, X, 3, 12, (120, 240, 480))
    path = tmp_path / "Group3" / "models" / "0.5x.pth.tar"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"module.{k}": v for k, v in tape.state.items()}}, path)
    return path, features


@pytest.mark.parametrize("shuffle", ["inverse", "paper"])
def test_init_cfg_takes_the_authors_file(shuffle, authors):
    path, expected = authors
    backbone = ShuffleNetV1(3, 0.5, shuffle, **pretrained(path)).double()
    backbone.init_weights()
    with torch.no_grad():
        features = backbone.eval()(X)
    assert_close(features, expected[1:])


@pytest.mark.parametrize("in_list", [False, True])
def test_the_type_may_be_a_class_and_the_config_in_a_list(in_list, tmp_path, caplog):
    state = ShuffleNetV2(0.5).state_dict()
    torch.save(dict(state), tmp_path / "own.pth")
    init_cfg = {"type": PretrainedInit, "checkpoint": str(tmp_path / "own.pth")}
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    backbone = ShuffleNetV2(0.5, init_cfg=[init_cfg] if in_list else init_cfg)
    backbone.init_weights()
    logger.removeHandler(caplog.handler)
    assert all(torch.equal(tensor, state[key]) for key, tensor in backbone.state_dict().items())
    assert f"{len(state)} of {len(state)} tensors from {tmp_path / 'own.pth'}" in caplog.text


def test_a_detectors_initialisation_keeps_the_backbones_weights(tmp_path):
    detector = {
        "type": "RetinaNet",
        "backbone": {"type": "ShuffleNetV2", "widen_factor": 0.5},
        "neck": {"type": "FPN", "in_channels": [48, 96, 192], "out_channels": 8, "num_outs": 5},
        "bbox_head": {"type": "RetinaHead", "num_classes": 2, "in_channels": 8, "feat_channels": 8},
    }
    state = MODELS.build(detector).state_dict()
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "detector.pth")
    detector["backbone"] |= pretrained(tmp_path / "detector.pth")
    second = MODELS.build(detector)
    second.init_weights()
    for key, tensor in second.backbone.state_dict().items():
        assert torch.equal(tensor, state[f"backbone.{key}"])


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no network here"),
        urllib.error.HTTPError("http://x", 403, "forbidden here", {}, None),
        TimeoutError("timed out here"),
        ConnectionResetError("reset here"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_impossible_download_says_what_to_do(error, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise error

    for module in (urllib.request, torch.hub):
        monkeypatch.setattr(module, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "torchvision://shufflenet_v2_x1_0.imagenet1k_v1"
    with pytest.raises(ConnectionError) as raised:
        ShuffleNetV2(1.0, **pretrained(name)).init_weights()
    for part in (name, "here", "model.backbone.init_cfg.checkpoint=", "init_cfg=None"):
        assert part in str(raised.value)
    assert not list(tmp_path.rglob("*.pth*"))


CHILD = """
_base_ = '{root}/configs/faster_rcnn_shufflenetv1_coco.py'
model = dict(
    data_preprocessor={preprocessor},
    backbone=dict(widen_factor=0.5, shuffle='inverse', init_cfg=dict(checkpoint='{checkpoint}')),
    neck=dict(in_channels=[120, 240, 480]))
"""


@pytest.mark.parametrize(
    ("preprocessor", "warned"),
    [("dict(_delete_=True, type='DetDataPreprocessor', pad_size_divisor=32)", 0), ("dict()", 1)],
    ids=["left open", "stated"],
)
def test_a_config_gets_the_preprocessing_of_its_weights(
    preprocessor, warned, authors, root, tmp_path, warnings
):
    path = tmp_path / "config.py"
    path.write_text(CHILD.format(root=root, preprocessor=preprocessor, checkpoint=authors[0]))
    cfg = load_run_config(str(path), splits=())
    images = {key: cfg.model.data_preprocessor[key] for key in ("mean", "std", "bgr_to_rgb")}
    assert (images == find_record("megvii/v1_g3_0.5x").images.data_preprocessor()) == (not warned)
    assert warnings() == []
    backbone = {k: v for k, v in cfg.model.backbone.items() if k != "type"}
    ShuffleNetV1(**backbone).init_weights()
    assert sum("were trained on" in warning for warning in warnings()) == warned


@pytest.mark.parametrize("save", [torch.save, save_checkpoint], ids=["torch", "mmengine"])
def test_a_detectors_checkpoint_states_its_shuffle(save, tmp_path):
    first = ShuffleNetV1(3, 0.5, "inverse", out_indices=(0, 1, 2, 3)).double()
    detector = torch.nn.ModuleDict({"backbone": first, "neck": torch.nn.Conv2d(3, 3, 1)})
    save({"state_dict": get_state_dict(detector), "meta": {}}, str(tmp_path / "epoch_1.pth"))
    weights = read_weights(str(tmp_path / "epoch_1.pth"))
    assert weights.computes == {"shuffle": "inverse", "stem_act": True}
    second = ShuffleNetV1(3, 0.5, "paper", out_indices=(0, 1, 2, 3)).double()
    load_pretrained(second, str(tmp_path / "epoch_1.pth"))
    with torch.no_grad():
        assert_close(second.eval()(X), first.eval()(X))


V2_VARIANTS = [
    {"extra_depthwise": True},
    {"se_reduction": 2},
    {"residual": True},
    {"stage_repeats": (2, 4, 2)},
    {"depth": 50, "widen_factor": 1.0},
]
VARIANTS = [
    *((ShuffleNetV2, {"layout": "torchvision", **variant}) for variant in V2_VARIANTS),
    *((ShuffleNetV2, {"layout": "paper", **variant}) for variant in V2_VARIANTS),
    (ShuffleNetV1, {"bottleneck_ratio": 2}),
    (ShuffleNetV1, {"se_reduction": 8}),
    (ShuffleNetV1, {"stage_repeats": (3, 8, 4)}),
    (ShuffleNetV1, {"stem_channels": 24}),
    (ShuffleNetV1, {"shuffle": "none"}),
    (ShuffleNetV1, {"stem_act": False}),
]


@pytest.mark.parametrize(("network", "variant"), VARIANTS)
def test_weights_of_a_variant_load_into_it_and_are_refused_elsewhere(network, variant, tmp_path):
    path = str(tmp_path / "own.pth")
    trained, same = (network(**{"widen_factor": 0.5, **variant}) for _ in range(2))
    torch.save(trained.state_dict(), path)
    load_pretrained(same, path)
    for key, tensor in same.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[key])
    plain = network(widen_factor=0.5, **{k: v for k, v in variant.items() if k == "layout"})
    with pytest.raises(ValueError, match="nothing was loaded") as raised:
        load_pretrained(plain, path)
    name, value = next(item for item in variant.items() if item[0] != "layout")
    assert f"{name}={value!r}" in str(raised.value)


@pytest.mark.parametrize(
    "arguments", [{"extra_depthwise": True}, {"se_reduction": 2}, {"residual": True}]
)
def test_variants_are_not_converted_between_layouts(arguments, tmp_path):
    path = str(tmp_path / "own.pth")
    torch.save(ShuffleNetV2(0.5, "paper", **arguments).state_dict(), path)
    with pytest.raises(ValueError, match=r"layout='paper'.*exchanged in another way"):
        load_pretrained(ShuffleNetV2(0.5, "torchvision", **arguments), path)


def test_a_v1_with_squeeze_and_excitation_is_converted(tmp_path):
    path = str(tmp_path / "own.pth")
    first = ShuffleNetV1(3, 0.5, "inverse", se_reduction=4).double()
    torch.save(first.state_dict(), path)
    second = ShuffleNetV1(3, 0.5, "paper", se_reduction=4).double()
    load_pretrained(second, path)
    with torch.no_grad():
        assert_close(second.eval()(X), first.eval()(X))


def test_the_default_of_the_v1_config_is_openmmlabs_file(root):
    cfg = load_run_config(str(root / "configs/faster_rcnn_shufflenetv1_coco.py"), splits=())
    record = find_record(cfg.model.backbone.init_cfg.checkpoint)
    assert record.name == "openmmlab/v1_g3_1.0x" and record.can_be_fetched


def test_a_new_network_needs_no_line_in_the_loader(tmp_path):
    class Wide(ShuffleNetV2):
        pass

    torch.save(Wide(0.5).state_dict(), tmp_path / "own.pth")
    load_pretrained(Wide(0.5), str(tmp_path / "own.pth"))
    assert read_weights(str(tmp_path / "own.pth")).network == "Wide"


OTHERS = [(network, factor) for network in (MobileNetV1, Xception) for factor in network.WIDTHS]


@pytest.mark.parametrize(("network", "factor"), OTHERS)
def test_network_and_classifier_are_recognised_without_metadata(network, factor, tmp_path):
    first, second = network(factor), network(factor)
    state = {f"backbone.{key}": tensor for key, tensor in first.state_dict().items()}
    head = {
        "head.fc.weight": torch.rand(10, first.out_channels[-1]),
        "head.fc.bias": torch.rand(10),
    }
    torch.save({"meta": {}, "state_dict": state | head}, tmp_path / "own.pth")
    weights = read_weights(str(tmp_path / "own.pth"))
    assert weights.network == network.__name__
    assert needed_arguments(weights) == {"widen_factor": factor}
    assert torch.equal(weights.classifier["weight"], head["head.fc.weight"])
    load_pretrained(second, str(tmp_path / "own.pth"))
    for key, tensor in second.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[key])


@pytest.mark.parametrize(
    ("trained", "backbone", "sentence"),
    [
        (MobileNetV1(0.25), MobileNetV1(), "MobileNetV1(widen_factor=0.25), not MobileNetV1(widen"),
        (Xception(0.5), MobileNetV1(), "Xception(widen_factor=0.5), not MobileNetV1("),
        (MobileNetV1(), ShuffleNetV2(), "MobileNetV1(widen_factor=1.0), not ShuffleNetV2("),
        (
            shufflenet_v2_x0_5(),
            Xception(0.5),
            "ShuffleNetV2(widen_factor=0.5, layout='torchvision')",
        ),
    ],
)
def test_the_refusal_names_the_network_of_the_file(trained, backbone, sentence, tmp_path):
    torch.save(dict(trained.state_dict()), tmp_path / "own.pth")
    with pytest.raises(ValueError, match="nothing was loaded") as raised:
        load_pretrained(backbone, str(tmp_path / "own.pth"))
    assert f"build {sentence}" in str(raised.value)
