"""Where a backbone computes in another way than the source: converted exactly, or refused."""

import pytest
import torch
from published_networks import (
    Tape,
    halves_v2,
    megvii_v1,
    megvii_v2,
    openmmlab_v1,
    paddle_names,
    pytorchcv_v1,
)

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import convert_file, load_pretrained, needed_arguments, read_weights
from shufflenet_det.weights.files import open_checkpoint

X = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PAPER_WIDTHS = {
    1: (24, (144, 288, 576)),
    2: (24, (200, 400, 800)),
    3: (24, (240, 480, 960)),
    4: (24, (272, 544, 1088)),
}
# megvii-model/ShuffleNet-Series ShuffleNetV1/network.py
MEGVII_WIDTHS = {
    (3, 0.5): (12, (120, 240, 480)),
    (3, 1.5): (24, (360, 720, 1440)),
    (3, 2.0): (48, (480, 960, 1920)),
    (8, 0.5): (16, (192, 384, 768)),
    (8, 1.0): (24, (384, 768, 1536)),
    (8, 1.5): (24, (576, 1152, 2304)),
    (8, 2.0): (48, (768, 1536, 3072)),
}


@pytest.fixture
def file(tmp_path):
    def save(tape):
        path = tmp_path / "weights.pth"
        torch.save(tape.state, path)
        return str(path)

    return save


def features(backbone, checkpoint):
    backbone = backbone.double()
    load_pretrained(backbone, checkpoint)
    with torch.no_grad():
        return backbone.eval()(X)


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() / b.abs().max() < 1e-10


def v1(groups, width, shuffle):
    return ShuffleNetV1(groups, width, shuffle, out_indices=(0, 1, 2, 3))


@pytest.mark.parametrize(
    ("groups", "width", "stem", "widths"),
    [(g, 1.0, *row) for g, row in PAPER_WIDTHS.items() if g != 4]
    + [(*key, *MEGVII_WIDTHS[key]) for key in ((3, 0.5), (3, 1.5), (3, 2.0), (8, 2.0))],
)
def test_the_authors_shuffle_becomes_the_papers(groups, width, stem, widths, file):
    tape = Tape(dtype=torch.float64)
    expected = megvii_v1(tape, X, groups, stem, widths)
    assert_close(features(v1(groups, width, "paper"), file(tape)), expected)


@pytest.mark.parametrize("source", (openmmlab_v1, pytorchcv_v1))
@pytest.mark.parametrize("groups", (1, 2, 3))
def test_the_papers_shuffle_becomes_the_authors(source, groups, file):
    tape = Tape(dtype=torch.float64)
    expected = source(tape, X, groups, *PAPER_WIDTHS[groups])
    if source is pytorchcv_v1:
        expected = [maps.flip(1) for maps in expected]
    assert_close(features(v1(groups, 1.0, "inverse"), file(tape)), expected)


@pytest.mark.parametrize(
    ("groups", "width", "stem", "widths"),
    [(4, 1.0, *PAPER_WIDTHS[4])]
    + [(*key, *MEGVII_WIDTHS[key]) for key in ((8, 0.5), (8, 1.0), (8, 1.5))],
)
def test_where_no_order_of_channels_exists_the_argument_is_named(groups, width, stem, widths, file):
    tape = Tape()
    megvii_v1(tape, X.float(), groups, stem, widths)
    with pytest.raises(ValueError, match=r"build ShuffleNetV1\(.*shuffle='inverse'\)"):
        load_pretrained(v1(groups, width, "paper"), file(tape))


@pytest.mark.parametrize(
    ("width", "widths"),
    [(0.5, (48, 96, 192)), (1.0, (116, 232, 464)), (1.5, (176, 352, 704)), (2.0, (244, 488, 976))],
)
def test_the_authors_v2_needs_its_own_layout(width, widths, file):
    tape = Tape()
    megvii_v2(tape, X.float(), widths, 2048 if width == 2.0 else 1024)
    with pytest.raises(ValueError, match=rf"build ShuffleNetV2\(.*{width}, layout='paper'\)"):
        load_pretrained(ShuffleNetV2(width), file(tape))


def test_a_converted_file_says_what_its_network_is(file, tmp_path):
    tape = Tape(dtype=torch.float64)
    expected = megvii_v1(tape, X, 3, 12, (120, 240, 480))
    converted = str(tmp_path / "converted.pth")
    weights = convert_file(file(tape), converted)
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


def test_images_follow_a_converted_file(file, tmp_path):
    tape = Tape()
    megvii_v2(tape, X.float(), (48, 96, 192), 1024)
    converted = str(tmp_path / "converted.pth")
    convert_file(file(tape), converted)
    images = {"mean": [0, 0, 0], "std": [1, 1, 1], "bgr_to_rgb": False}
    assert read_weights(converted).images.data_preprocessor() == images
    assert open_checkpoint(converted).stated[""] == {
        "type": "ShuffleNetV2",
        "arguments": {"widen_factor": 0.5, "layout": "paper"},
        "data_preprocessor": images,
    }


@pytest.mark.parametrize(
    ("source", "arguments", "name", "order"),
    [
        (megvii_v1, (3, 12, (120, 240, 480)), "classifier.0", 1),
        (openmmlab_v1, (3, *PAPER_WIDTHS[3]), "head.fc", 1),
        (pytorchcv_v1, (3, 12, (120, 240, 480)), "output", -1),
    ],
)
def test_the_classifier_fits_the_features(source, arguments, name, order, file):
    tape = Tape(dtype=torch.float64)
    last = source(tape, X, *arguments)[-1].mean((2, 3))
    logits = tape.linear(last, name, 10)
    classifier = read_weights(file(tape)).classifier
    ours = last.flip(1) if order < 0 else last
    assert_close([ours @ classifier["weight"].T + classifier["bias"]], [logits])


def test_paddle_s_transposed_classifier_is_turned(file):
    tape = Tape(dtype=torch.float64, norm="paddle")
    names = paddle_names("._conv", "._batch_norm")
    last = halves_v2(tape, X, (48, 96, 192), 1024, names)[-1].mean((2, 3))
    logits = tape.linear(last, "_fc", 10)
    tape.state["_fc.weight"] = tape.state["_fc.weight"].T.contiguous()
    classifier = read_weights(file(tape)).classifier
    assert_close([last @ classifier["weight"].T + classifier["bias"]], [logits])
