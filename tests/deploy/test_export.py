import pytest

from shufflenet_det.deploy import Detector
from shufflenet_det.deploy.verification import compare, photographs

SINGLE_STAGE = ("ssdlite", "shufflenetv1", "retinanet")
KINDS = (*SINGLE_STAGE, "faster_rcnn")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_boxes_are_those_of_pytorch(exported, kind, runtime):
    model, file = exported(kind)
    found = compare(model, Detector(file, runtime=runtime), photographs())
    assert found.boxes > 50
    assert found.unmatched <= 0.01 * found.boxes
    assert found.pixels < 0.5
    assert found.score < 1e-3
