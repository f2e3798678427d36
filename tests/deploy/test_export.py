import json

import cv2
import mmcv
import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession
from torch import nn

from shufflenet_det.cli import run_tool
from shufflenet_det.data.warp import fit
from shufflenet_det.deploy import Detector, export, onnx_model, quantization
from shufflenet_det.deploy.network import head_levels
from shufflenet_det.deploy.pipeline import Preprocessing
from shufflenet_det.deploy.runtime.engines import openvino_core
from shufflenet_det.deploy.verification import compare, photographs
from shufflenet_det.detector.sources import read_image


def test_the_boxes_are_those_of_pytorch(exported, assert_same, kind):
    model, file = exported(kind)
    for runtime in ("onnxruntime", "openvino"):
        assert_same(model, Detector(file, runtime=runtime), photographs()[:2])


RESIZES = {
    "stretch": {"resize": "stretch", "height": 300, "width": 320},
    "keep": {"resize": "keep", "scale": [333, 200]},
    "warp": {"resize": "warp", "height": 320, "width": 416, "keep_ratio": False},
    "letterbox": {"resize": "warp", "height": 416, "width": 416, "keep_ratio": True},
}


class First(nn.Module):
    def forward(self, parts):
        return parts[0]


@pytest.mark.parametrize("name", RESIZES)
def test_images_are_resized_as_by_opencv(name):
    spec = RESIZES[name]
    rest = {"channels": "RGB", "mean": [0] * 3, "std": [1] * 3, "pad_divisor": 1, "pad_value": 0}
    preprocessing = nn.Sequential(Preprocessing({**spec, **rest}), First())
    file = onnx_model.trace(preprocessing, ["x"]).SerializeToString()
    session = InferenceSession(file)
    core = openvino_core()
    compiled = core.compile_model(core.read_model(file), "CPU")
    for image in photographs():
        if spec["resize"] == "keep":
            expected = mmcv.imrescale(image, tuple(spec["scale"]))
        elif spec["resize"] == "stretch":
            expected = cv2.resize(image, (320, 300))
        else:
            size = spec["width"], spec["height"]
            matrix = fit(image.shape[1::-1], size, spec["keep_ratio"])
            expected = cv2.warpPerspective(image, matrix, size)
        for (found,) in (session.run(None, {"image": image}), compiled(image).values()):
            apart = np.abs(found[0].transpose(1, 2, 0) - expected)
            assert apart.max() <= 1
            assert np.count_nonzero(apart) < 1e-4 * apart.size


@pytest.mark.parametrize("kind", ["faster_rcnn", "ssdlite"])
def test_boxes_without_nms_are_suppressed_beside_the_runtime(exported, kind):
    inside = Detector(exported(kind)[1])
    outside = Detector(exported(kind, "all.onnx", nms=False)[1])
    for image in photographs():
        one, other = inside(image)[:50], outside(image)[:50]
        assert len(one) > 10
        np.testing.assert_allclose(other.xyxy, one.xyxy, atol=1e-2)
        np.testing.assert_array_equal(other.class_id, one.class_id)


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    """A folder of ten images."""
    folder = tmp_path_factory.mktemp("images")
    whole = photographs()[0]
    for i in range(10):
        cv2.imwrite(str(folder / f"{i}.png"), whole[4 * i : 4 * i + 128, i : i + 128])
    return folder


def test_int8_is_of_the_network_and_leaves_the_last_layers(exported, many_images, monkeypatch):
    monkeypatch.setattr(quantization, "MIN_IMAGES", 10)
    _, file = exported("ssdlite", "int8.onnx", int8=many_images)
    graph = onnx.load(file).graph
    by_output = {out: node for node in graph.node for out in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    quantized = [node for node in convs if node.input[1] in by_output]  # weights too
    assert len(convs) - len(quantized) == 13  # the first, and scores and deltas of six levels
    weights = {value.name: value for value in graph.initializer}
    scales = [weights[by_output[node.input[1]].input[1]] for node in quantized]
    assert all(len(scale.dims) == 1 for scale in scales)  # one for each channel
    own = [node for node in graph.node if node.name.startswith(("/image/", "/boxes/"))]
    assert own and not [node for node in own if "Quantize" in node.op_type]
    for runtime in ("onnxruntime", "openvino"):
        assert len(Detector(file, runtime=runtime)(photographs()[0])) > 50


def test_half_keeps_boxes_and_scores_in_float32(exported):
    model, file = exported("nanodet_plus", "half.onnx", half=True)
    graph = onnx.load(file).graph
    types = {value.data_type for value in graph.initializer if len(value.dims) == 4}
    assert onnx.TensorProto.FLOAT16 in types
    assert {out.type.tensor_type.elem_type for out in graph.output} == {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    assert compare(model, Detector(file), photographs()).score < 0.1


def test_verify_prints_the_metrics_of_both(exported, tmp_path, capsys):
    model, file = exported("ssdlite")
    folder = file.parent
    (tmp_path / "val").mkdir()
    images, annotations = [], []
    for i, image in enumerate(photographs()):
        cv2.imwrite(str(tmp_path / "val" / f"{i}.png"), image)
        height, width = image.shape[:2]
        images.append({"id": i, "file_name": f"{i}.png", "height": height, "width": width})
        found = model(image)
        for j, (box, label) in enumerate(zip(found.xyxy[:5], found.class_id[:5], strict=True)):
            x, y, x2, y2 = map(float, box)
            where = {"bbox": [x, y, x2 - x, y2 - y], "area": (x2 - x) * (y2 - y), "iscrowd": 0}
            ids = {"id": 5 * i + j + 1, "image_id": i, "category_id": int(label)}
            annotations.append({**where, **ids})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(model.classes)]
    (tmp_path / "val.json").write_text(json.dumps(content))
    arguments = [folder / "config.py", folder / "last.pth", tmp_path / "model.xml"]
    assert not run_tool("export", [*map(str, arguments), "--verify", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "openvino: 0.00 points of mAP less than PyTorch" in printed
    assert "COCO metrics, PyTorch's first: mAP" in printed
    assert len(Detector(tmp_path / "model.xml")(photographs()[0])) == len(model(photographs()[0]))


def test_mistakes_are_one_sentence_and_leave_nothing(lively, tmp_path, capsys):
    folder = lively("ssdlite")[1]
    (tmp_path / "few").mkdir()
    cv2.imwrite(str(tmp_path / "few" / "0.png"), photographs()[0])
    out = tmp_path / "out" / "model.onnx"
    config, weights = folder / "config.py", folder / "last.pth"
    other = lively("nanodet_plus")[1] / "last.pth"
    for sentence, *arguments in (
        ("has 1 images: calibration needs 100", config, weights, out, "--int8", tmp_path / "few"),
        ("no such folder of images", config, weights, out, "--int8", tmp_path / "gone"),
        ("exclude each other", config, weights, out, "--half", "--int8", tmp_path / "few"),
        ("support --int8", config, weights, out.with_suffix(".pt2"), "--int8", tmp_path / "few"),
        ("does not fit", config, other, out),
        ("gone.pth", config, tmp_path / "gone.pth", out),
        ("gone.json", config, weights, out, "--verify", tmp_path / "gone.json"),
        ("an exported model ends in", config, weights, out.with_suffix(".bin")),
    ):
        assert run_tool("export", [*map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert "Traceback" not in error
        assert not out.parent.exists() or not list(out.parent.iterdir())
    with pytest.raises(ValueError, match="Linear cannot be exported"):
        head_levels(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"FasterRCNN as \.onnx or \.xml"):
        export(lively("faster_rcnn")[0], None, tmp_path / "model.ncnn.param")


def test_an_export_that_fails_leaves_the_old_file(lively, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("the converter fails")

    monkeypatch.setattr(onnx_model, "build", fail)
    (tmp_path / "model.onnx").write_text("old")
    with pytest.raises(RuntimeError):
        export(lively("ssdlite")[0], None, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "file", "runtimes"),
    [
        ("nanodet_plus_m_416", "model.onnx", ("onnxruntime", "openvino")),
        ("nanodet_plus_m_416", "model.param", ("ncnn",)),
        ("nanodet_m_416", "model.param", ("ncnn",)),
    ],
)
def test_published_weights_find_the_same(root, tmp_path, assert_same, name, file, runtimes):
    stem = name.replace("_m_", "-m_").replace("_plus", "-plus")
    weights = root.parent / f"shared/weights/{stem}_bn.safetensors"
    data = root.parent / "shared/data/coco_mini/val2017"
    if not weights.is_file() or not data.is_dir():
        pytest.skip("the published weights or the photographs are absent")
    model = export(root / f"configs/nanodet/{name}.py", weights, tmp_path / file)
    images = [read_image(path) for path in sorted(data.glob("*.jpg"))[:8]]
    for runtime in runtimes:
        exported = Detector(tmp_path / file, runtime=runtime)
        assert_same(model, exported, images, boxes=100, unmatched=0)
