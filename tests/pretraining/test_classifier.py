"""The classifier: torchvision's logits, and checkpoints that are a detector's ``init_cfg``."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import get_state_dict, save_checkpoint
from random_parts import randomise
from torch import nn
from torch.nn import functional as F
from torchvision.models import get_model

from shufflenet_det import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception
from shufflenet_det.pretraining import ImageClassifier, load_pretrain_config
from shufflenet_det.pretraining.runs import model_of
from shufflenet_det.weights import load_pretrained, read_weights

TORCHVISIONS = {0.5: "x0_5", 2.0: "x2_0"}
BGR = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": False}
VARIANTS = [
    pytest.param(ShuffleNetV1, {"widen_factor": 0.25, "shuffle": "inverse"}, 3, id="v1"),
    pytest.param(
        ShuffleNetV1, {"groups": 8, "widen_factor": 0.5, "se_reduction": 4}, 3, id="v1-se"
    ),
    pytest.param(ShuffleNetV2, {"widen_factor": 0.5, "layout": "torchvision"}, 4, id="v2"),
    pytest.param(
        ShuffleNetV2,
        {"widen_factor": 0.5, "layout": "paper", "extra_depthwise": True},
        4,
        id="v2star-paper",
    ),
    pytest.param(MobileNetV1, {"widen_factor": 0.25}, 3, id="mobilenet"),
    pytest.param(Xception, {"widen_factor": 0.5}, 3, id="xception"),
]


def small(num_classes=3, **kwargs):
    return ImageClassifier(ShuffleNetV2(0.5, out_indices=(4,)), num_classes, **kwargs)


@pytest.fixture(scope="module", params=TORCHVISIONS)
def twins(request, tmp_path_factory):
    """torchvision's network, and our classifier with its weights."""
    theirs = get_model(f"shufflenet_v2_{TORCHVISIONS[request.param]}", weights=None)
    randomise(theirs).eval()
    path = tmp_path_factory.mktemp("torchvision") / "weights.pth"
    torch.save(theirs.state_dict(), path)
    ours = ImageClassifier(ShuffleNetV2(request.param, out_indices=(4,)), dropout=0.2)
    load_pretrained(ours.backbone, str(path))
    ours.head.fc.load_state_dict(read_weights(str(path)).classifier)
    return theirs, ours.eval()


def test_dropout_is_active_in_training_only():
    head = small(dropout=0.5).head
    maps = torch.rand(2, 1024, 2, 2)
    assert not torch.equal(head(maps), head(maps))
    head.eval()
    assert torch.equal(head(maps), head(maps))


@pytest.mark.parametrize("size", [(224, 224), (97, 65)])
def test_logits_are_torchvisions(twins, size):
    theirs, ours = twins
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, logits = theirs(x), ours(x)
    assert logits.shape == (1, 1000)
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing):
    """As in the authors' code: 1 - e of the correct class and e of the mean over all classes."""
    model = randomise(small(label_smoothing=smoothing)).eval()
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 2, 1, 2])
    log_p = F.log_softmax(model(x), dim=1)
    right = log_p[torch.arange(4), labels]
    expected = -((1 - smoothing) * right + smoothing * log_p.mean(dim=1)).mean()
    torch.testing.assert_close(model(x, labels, mode="loss")["loss"], expected)


def test_the_linear_layer_starts_small_and_its_bias_is_optional():
    model = small(num_classes=1000, bias=False)
    model.init_weights()
    assert model.head.fc.bias is None
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    biased = small()
    biased.init_weights()
    assert biased.head.fc.bias.eq(0).all()


@pytest.mark.parametrize("flipped", [True, False])
def test_the_preprocessor_takes_bgr_images(flipped):
    mean, std = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    model = small(data_preprocessor={**BGR, "bgr_to_rgb": flipped})
    bgr = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    data = model.data_preprocessor({"inputs": bgr, "data_samples": torch.tensor([0, 1])})
    expected = (bgr.flip(1) if flipped else bgr).float()
    expected = (expected - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(data["inputs"], expected)


@pytest.mark.parametrize("network", [ShuffleNetV1, ShuffleNetV2])
def test_a_backbone_without_its_last_level_is_refused(network):
    with pytest.raises(ValueError, match=r"out_indices=\(1, 2\): .* stage4.* would not be built"):
        ImageClassifier(network(widen_factor=0.5, out_indices=(1, 2)))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode='los': must be"):
        small()(torch.zeros(1, 3, 64, 64), mode="los")


@pytest.mark.parametrize(("network", "arguments", "last"), VARIANTS)
def test_a_checkpoint_is_a_detectors_init_cfg(network, arguments, last, tmp_path):
    backbone = {"type": network.__name__, **arguments, "out_indices": (last,)}
    model = randomise(ImageClassifier(backbone, 3, data_preprocessor=BGR))
    path = str(tmp_path / "epoch_1.pth")
    save_checkpoint({"meta": {}, "state_dict": get_state_dict(model)}, path)
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    detectors = MODELS.build(
        {"type": network.__name__, **arguments, "out_indices": (1, 2, 3), "init_cfg": init_cfg}
    )
    detectors.init_weights()
    trained = model.backbone.state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in detectors.state_dict().items())


@pytest.mark.parametrize(("network", "arguments", "last"), VARIANTS)
def test_an_evaluation_builds_the_network_of_the_checkpoint(
    network, arguments, last, tmp_path, config
):
    backbone = network(**arguments, out_indices=(last,))
    model = randomise(ImageClassifier(backbone, 3, bias=False, data_preprocessor=BGR)).eval()
    path = str(tmp_path / "epoch_1.pth")
    save_checkpoint({"meta": {}, "state_dict": get_state_dict(model)}, path)
    weights = read_weights(path)
    again = MODELS.build(model_of(weights, load_pretrain_config(config).model)).eval()
    again.backbone.init_weights()
    again.head.fc.load_state_dict(weights.classifier)
    assert again.images == model.images
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("wrap", [lambda m: m, ExponentialMovingAverage, nn.DataParallel])
def test_a_checkpoint_records_its_preprocessing_and_classifier(wrap, tmp_path):
    model = randomise(small(data_preprocessor=BGR))
    torch.save(wrap(model).state_dict(), tmp_path / "weights.pth")
    weights = read_weights(str(tmp_path / "weights.pth"))
    assert weights.images.data_preprocessor() == BGR
    assert weights.classifier.keys() == {"weight", "bias"}
    assert torch.equal(weights.classifier["weight"], model.head.fc.weight)
