"""Weights of a network with another shuffle are converted exactly, or refused."""

import pytest
import torch
from published_networks import (
    V1_WIDTHS,
    V2_WIDTHS,
    Tape,
    assert_close,
    halves_v2,
    image,
    megvii_v1,
    megvii_v2,
    openmmlab_v1,
    paddle_names,
    pytorchcv_v1,
)

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import convert_file, load_pretrained, needed_arguments, read_weights
from shufflenet_det.weights.files import open_checkpoint

X = image()


def v1(groups, width, shuffle):
    return ShuffleNetV1(groups, width, shuffle, out_indices=(0, 1, 2, 3))


EXACT = [(1, 1.0), (2, 1.0), (3, 0.5), (3, 1.0), (3, 1.5), (3, 2.0), (8, 2.0)]


@pytest.mark.parametrize(("groups", "width"), EXACT)
def test_the_authors_shuffle_becomes_the_papers(groups, width, save, features):
    tape = Tape(dtype=torch.float64)
    expected = megvii_v1(tape, X, groups, *V1_WIDTHS[groups, width])
    assert_close(features(v1(groups, width, "paper"), save(tape)), expected)


@pytest.mark.parametrize("source", (openmmlab_v1, pytorchcv_v1))
@pytest.mark.parametrize("groups", (1, 2, 3))
def test_the_papers_shuffle_becomes_the_authors(source, groups, save, features):
    tape = Tape(dtype=torch.float64)
    expected = source(tape, X, groups, *V1_WIDTHS[groups, 1.0])
    if source is pytorchcv_v1:
        expected = [maps.flip(1) for maps in expected]
    assert_close(features(v1(groups, 1.0, "inverse"), save(tape)), expected)


@pytest.mark.parametrize(("groups", "width"), [(4, 1.0), (8, 0.5), (8, 1.0), (8, 1.5)])
def test_the_refusal_names_the_argument_if_no_conversion_exists(groups, width, save):
    tape = Tape()
    megvii_v1(tape, X.float(), groups, *V1_WIDTHS[groups, width])
    with pytest.raises(ValueError, match=r"build ShuffleNetV1\(.*shuffle='inverse'\)"):
        load_pretrained(v1(groups, width, "paper"), save(tape))


@pytest.mark.parametrize(("width", "widths"), V2_WIDTHS.items())
def test_the_authors_v2_needs_its_own_layout(width, widths, save):
    tape = Tape()
    megvii_v2(tape, X.float(), widths, 2048 if width == 2.0 else 1024)
    with pytest.raises(ValueError, match=rf"build ShuffleNetV2\(.*{width}, layout='paper'\)"):
        load_pretrained(ShuffleNetV2(width), save(tape))


def test_a_converted_file_states_its_network(save, features, tmp_path):
    tape = Tape(dtype=torch.float64)
    expected = megvii_v1(tape, X, 3, 12, (120, 240, 480))
    converted = str(tmp_path / "converted.pth")
    weights = convert_file(save(tape), converted)
    arguments = {"groups": 3, "widen_factor": 0.5, "shuffle": "inverse"}
    assert needed_arguments(weights) == arguments == needed_arguments(read_weights(converted))
    state = torch.load(converted, weights_only=True)
    backbone = ShuffleNetV1(**arguments, out_indices=(0, 1, 2, 3)).double().eval()
    assert state.keys() == backbone.state_dict().keys()
    backbone.load_state_dict(state)
    with torch.no_grad():
        assert_close(backbone(X), expected)
    # Another shuffle is noticed, and converted.
    assert_close(features(v1(3, 0.5, "paper"), converted), expected)


def test_a_converted_file_states_its_preprocessing(save, tmp_path):
    tape = Tape()
    megvii_v2(tape, X.float(), (48, 96, 192), 1024)
    converted = str(tmp_path / "converted.pth")
    convert_file(save(tape), converted)
    images = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False}
    assert read_weights(converted).images.data_preprocessor() == images
    assert open_checkpoint(converted).stated[""] == {
        "type": "ShuffleNetV2",
        "arguments": {"widen_factor": 0.5, "layout": "paper"},
        "data_preprocessor": images,
    }


@pytest.mark.parametrize(
    ("source", "width", "name", "order"),
    [
        (megvii_v1, 0.5, "classifier.0", 1),
        (openmmlab_v1, 1.0, "head.fc", 1),
        (pytorchcv_v1, 0.5, "output", -1),
    ],
)
def test_the_classifier_fits_the_features(source, width, name, order, save):
    tape = Tape(dtype=torch.float64)
    last = source(tape, X, 3, *V1_WIDTHS[3, width])[-1].mean((2, 3))
    logits = tape.linear(last, name, 10)
    classifier = read_weights(save(tape)).classifier
    ours = last.flip(1) if order < 0 else last
    assert_close([ours @ classifier["weight"].T + classifier["bias"]], [logits])


def test_paddles_classifier_is_transposed(save):
    tape = Tape(dtype=torch.float64, norm="paddle")
    names = paddle_names("._conv", "._batch_norm")
    last = halves_v2(tape, X, (48, 96, 192), 1024, names)[-1].mean((2, 3))
    logits = tape.linear(last, "_fc", 10)
    tape.state["_fc.weight"] = tape.state["_fc.weight"].T.contiguous()
    classifier = read_weights(save(tape)).classifier
    assert_close([last @ classifier["weight"].T + classifier["bias"]], [logits])
