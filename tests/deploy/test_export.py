import pytest

from shufflenet_det.deploy import Detector, export
from shufflenet_det.deploy.verification import compare, photographs
from shufflenet_det.detector.sources import read_image

KINDS = ("ssdlite", "faster_rcnn", "nanodet_m", "nanodet_plus")


@pytest.mark.parametrize("kind", KINDS)
def test_the_boxes_are_those_of_pytorch(exported, kind):
    model, file = exported(kind)
    for runtime in ("onnxruntime", "openvino"):
        found = compare(model, Detector(file, runtime=runtime), photographs())
        assert found.boxes > 50
        assert found.unmatched <= 0.02 * found.boxes, runtime
        assert found.pixels < 0.5, runtime
        assert found.score < 1e-3, runtime


def test_what_cannot_be_exported_is_said_and_leaves_nothing(lively, tmp_path):
    model, _ = lively("faster_rcnn")
    with pytest.raises(ValueError, match=r"export it as \.onnx or \.xml"):
        export(model, None, tmp_path / "model.ncnn.param")
    with pytest.raises(ValueError, match="an exported model ends in"):
        export(model, None, tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def nanodet_weights(root):
    file = root.parent / "shared/weights/nanodet-plus-m_416_bn.safetensors"
    if not file.is_file():
        pytest.skip("the weights of NanoDet-Plus are not here")
    return file


def test_published_weights_find_the_same_on_photographs(root, nanodet_weights, tmp_path):
    data = root.parent / "shared/data/coco_mini/val2017"
    config = root / "configs/nanodet/nanodet_plus_m_416.py"
    model = export(str(config), nanodet_weights, tmp_path / "model.onnx")
    images = [read_image(path) for path in sorted(data.glob("*.jpg"))[:8]]
    found = compare(model, Detector(tmp_path / "model.onnx"), images)
    assert found.boxes > 100
    assert found.unmatched == 0
    assert found.pixels < 0.5
    assert found.score < 1e-3
