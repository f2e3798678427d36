import json

import cv2
import numpy as np
import pytest
from PIL import Image

from shufflenet_det.deploy import Detector
from shufflenet_det.deploy.verification import photographs

USE = """
import sys
from shufflenet_det.deploy import Detector
found = Detector(sys.argv[1])(sys.argv[2])
loaded = {name.partition(".")[0] for name in sys.modules}
print(len(found), sorted(loaded & {"torch", "torchvision", "mmengine", "mmdet", "mmcv"}))
"""


@pytest.fixture(scope="module")
def file(exported):
    return exported("ssdlite")[1]


def test_nothing_of_torch_is_imported(file, python, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), photographs()[0])
    done = python("-c", USE, file, tmp_path / "photo.png")
    number, loaded = done.stdout.split(maxsplit=1)
    assert int(number) > 10
    assert loaded.strip() == "[]"


def test_images_of_every_kind_are_the_same_image(file, tmp_path):
    detector = Detector(file, threads=1)
    bgr = photographs()[0]
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned right by a quarter
    Image.fromarray(np.rot90(rgb)).save(tmp_path / "turned.png", exif=exif)
    alpha = np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])
    images = [bgr, alpha, Image.fromarray(rgb), tmp_path / "photo.png", tmp_path / "turned.png"]
    first, *others = detector(images)
    assert len(first) > 10
    for other in others:
        np.testing.assert_allclose(other.xyxy, first.xyxy, atol=1e-3)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    as_colour = detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    np.testing.assert_array_equal(detector(grey).xyxy, as_colour.xyxy)


def test_boxes_are_best_first_named_and_inside(file):
    image = photographs()[1]
    found = Detector(file)(image)
    assert (np.diff(found.confidence) <= 0).all()
    assert set(found.data["class_name"]) <= {"bird", "cat", "dog"}
    height, width = image.shape[:2]
    assert (found.xyxy >= 0).all() and (found.xyxy <= [width, height] * 2).all()


def test_an_image_of_one_pixel(file):
    assert len(Detector(file)(np.zeros((1, 1, 3), np.uint8))) >= 0


def test_the_metadata_tell_how_the_model_was_tested(file):
    spec = Detector(file).spec
    assert spec["classes"] == ["bird", "cat", "dog"]
    assert (spec["input"]["height"], spec["input"]["width"]) == (320, 320)
    assert spec["input"]["mean"] == [123.675, 116.28, 103.53]
    assert spec["score_threshold"] == 0.02
    assert json.dumps(spec)


def test_boxes_without_nms_are_suppressed_beside_the_runtime(exported):
    inside = Detector(exported("ssdlite")[1])
    outside = Detector(exported("ssdlite", "all.onnx", nms=False)[1])
    for image in photographs():
        one, other = inside(image), outside(image)
        number = min(len(one), len(other), 50)
        np.testing.assert_allclose(other.xyxy[:number], one.xyxy[:number], atol=1e-2)
        np.testing.assert_array_equal(other.class_id[:number], one.class_id[:number])


def test_what_is_no_model_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        Detector(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match="an exported model ends in"):
        Detector(__file__)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="cannot read"):
        Detector(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="runs on onnxruntime or openvino"):
        Detector(file, runtime="ncnn")


def test_a_model_of_others_is_refused(tmp_path):
    import onnx

    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["image"], ["out"])
    graph = onnx.helper.make_graph([node], "other", [image], [out])
    model = onnx.helper.make_model(graph, ir_version=9)
    model.opset_import[0].version = 20
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="no metadata of shufflenet_det"):
        Detector(tmp_path / "other.onnx")


def test_a_runtime_that_is_not_installed_is_named(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        Detector(file)


def test_what_is_no_image_is_refused(file, tmp_path):
    detector = Detector(file)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.jpg"):
        detector(tmp_path / "text.jpg")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        detector(tmp_path / "gone.jpg")
