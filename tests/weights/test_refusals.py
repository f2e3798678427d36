"""Weights that cannot be loaded exactly are refused with the reason, and nothing is loaded."""

import os
import random
import zipfile

import numpy as np
import pytest
import torch
from published_networks import (
    Tape,
    halves_v2,
    jaxony_v1,
    megvii_v1,
    openmmlab_v1,
    pytorchcv_names,
    torchvision_names,
)

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import load_pretrained, read_weights
from shufflenet_det.weights.files import save_tensors

X = torch.rand(1, 3, 32, 32)
V1_HALF = (3, 12, (120, 240, 480))
V2_HALF = ((48, 96, 192), 1024)


def made(source, *arguments, **kwargs):
    tape = Tape()
    source(tape, X, *arguments, **kwargs)
    return tape.state


@pytest.fixture(scope="module")
def megvii():
    return made(megvii_v1, *V1_HALF)


@pytest.fixture(scope="module")
def torchvision_state():
    state = made(halves_v2, *V2_HALF, torchvision_names())
    return state | {"fc.weight": torch.rand(10, 1024), "fc.bias": torch.rand(10)}


@pytest.fixture
def refusal(tmp_path):
    """The error of a backbone for a checkpoint; the backbone must not change."""

    def refused(state, backbone, name="weights.pth", error=ValueError):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        before = {key: value.clone() for key, value in backbone.state_dict().items()}
        with pytest.raises(error) as caught:
            load_pretrained(backbone, str(path))
        after = backbone.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
        assert name in str(caught.value)
        return str(caught.value)

    return refused


AUTHORS = "these weights are the authors' V1 g=3 0.5x: build ShuffleNetV1(groups=3, "
AUTHORS += "widen_factor=0.5, shuffle='inverse')"


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: ShuffleNetV1(3, 1.0, "inverse"),
        lambda: ShuffleNetV1(8, 0.5, "inverse"),
        lambda: ShuffleNetV1(3, 1.0, "inverse", out_indices=(1,)),
        lambda: ShuffleNetV1(3, 1.0, "inverse", out_indices=(0,)),
        lambda: ShuffleNetV2(0.5),
    ],
    ids=["width", "groups", "width of few levels", "width of the stem", "network"],
)
def test_another_network_is_named_with_its_arguments(backbone, megvii, refusal):
    assert AUTHORS in refusal(megvii, backbone())


def test_equal_shapes_of_another_layout_are_not_enough(torchvision_state, refusal):
    """The authors' V2 and torchvision's have the same widths, but are different networks."""
    stated = "build ShuffleNetV2(widen_factor=1.0, layout='torchvision')"
    state = made(halves_v2, (116, 232, 464), 1024, torchvision_names())
    state["fc.weight"] = torch.rand(10, 1024)
    assert stated in refusal(state, ShuffleNetV2(1.0, "paper"))


def test_the_refusal_names_the_layout_of_own_weights(refusal):
    state = dict(ShuffleNetV2(1.0, "paper").state_dict())
    stated = "build ShuffleNetV2(widen_factor=1.0, layout='paper'), not"
    assert stated in refusal(state, ShuffleNetV2(1.0, out_indices=(1,)))


def test_channels_move_through_batchnorm_only(refusal, tmp_path):
    norm_cfg = {"type": "GN", "num_groups": 3}
    arguments = {"widen_factor": 0.25, "shuffle": "inverse", "norm_cfg": norm_cfg}
    state = ShuffleNetV1(3, 0.25, "inverse", norm_cfg=norm_cfg, out_indices=(1,)).state_dict()
    save_tensors(state, tmp_path / "stated.pth", {"type": "ShuffleNetV1", "arguments": arguments})
    backbone = ShuffleNetV1(3, 0.25, norm_cfg=norm_cfg, out_indices=(1,))
    stated = torch.load(tmp_path / "stated.pth", weights_only=True)
    assert "BatchNorm" in refusal(stated, backbone)


def test_equal_shapes_of_another_shuffle_are_not_enough(refusal):
    """With eight groups at half width, every tensor of the authors' fits the paper's network."""
    state = made(megvii_v1, 8, 16, (192, 384, 768))
    assert "shuffle='inverse'" in refusal(state, ShuffleNetV1(8, 0.5, "paper"))


@pytest.mark.parametrize("value", (float("nan"), float("inf"), float("-inf")))
def test_values_that_are_not_finite_are_refused(value, megvii, refusal):
    key = "features.9.branch_main_1.4.running_var"
    damaged = {k: v.clone() for k, v in megvii.items()}
    damaged[key][5] = value
    assert f"{key} is not finite" in refusal(damaged, ShuffleNetV1(3, 0.5, "inverse"))


def test_missing_and_left_over_tensors(megvii, refusal):
    backbone = ShuffleNetV1(3, 0.5, "inverse")
    fewer = {k: v for k, v in megvii.items() if not k.startswith("features.7.branch_main_2.1")}
    assert "missing (stage3.3.expand.1.weight" in refusal(fewer, backbone)
    more = megvii | {"features.16.branch_main_1.0.weight": torch.ones(1)}
    assert "left over (features.16.branch_main_1.0.weight)" in refusal(more, backbone)


def test_weights_with_batchnorm_do_not_fit_groupnorm(torchvision_state, refusal):
    refusal(torchvision_state, ShuffleNetV2(0.5, norm_cfg={"type": "GN", "num_groups": 2}))


def test_a_bias_does_not_replace_a_missing_batchnorm(refusal):
    state = made(jaxony_v1, 3, 24, (240, 480, 960))
    lost = "stage3.ShuffleUnit_Stage3_2.bn_after_depthwise"
    state = {k: v for k, v in state.items() if not k.startswith(lost)}
    message = refusal(state, ShuffleNetV1(3, 1.0, stem_act=False))
    assert "stage3.2.depthwise" in message


def test_keys_in_a_wrong_order_are_refused(megvii, refusal):
    keys = list(megvii)
    random.Random(0).shuffle(keys)
    shuffled = dict(zip(keys, megvii.values(), strict=True))
    assert "nothing was loaded" in refusal(shuffled, ShuffleNetV1(3, 0.5, "inverse"))
    swapped = dict(megvii)
    first, second = "features.0.branch_main_1.0.weight", "features.4.branch_main_1.0.weight"
    swapped[first], swapped[second] = megvii[second], megvii[first]
    message = refusal(swapped, ShuffleNetV1(3, 0.5, "inverse"))
    assert "stage2.0.compress.0 (30, 12, 1, 1)" in message or "nothing was loaded" in message


def test_several_backbones_need_a_prefix(torchvision_state, tmp_path, refusal):
    both = {f"{who}.{k}": v + (who == "teacher") for who in ("student", "teacher")
            for k, v in torchvision_state.items()}  # fmt: skip
    message = refusal(both, ShuffleNetV2(0.5))
    assert "'student.'" in message and "prefix" in message
    backbone, path = ShuffleNetV2(0.5), str(tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="ShuffleNet below 'pupil'"):
        load_pretrained(backbone, path, prefix="pupil")
    load_pretrained(backbone, path, prefix="teacher")
    key = "stage4.3.branch2.5.weight"
    assert torch.equal(backbone.state_dict()[key], torchvision_state[key] + 1)


def test_another_kind_of_network_is_refused(refusal):
    state = {"conv1.weight": torch.rand(64, 3, 7, 7), "layer1.0.conv1.weight": torch.rand(64, 64)}
    message = refusal(state, ShuffleNetV2(0.5))
    assert "holds no ShuffleNet that" in message and "conv1.weight" in message


def test_unknown_widths_are_refused(refusal):
    state = made(openmmlab_v1, 3, 24, (252, 504, 1008))
    message = refusal(state, ShuffleNetV1(3, 1.0))
    assert "holds no ShuffleNet that" in message


def test_the_refusal_names_the_width_of_the_stem(refusal):
    state = made(openmmlab_v1, 3, 36, (360, 720, 1440))  # the authors' stem has 24 channels
    assert "widen_factor=1.5, stem_channels=36" in refusal(state, ShuffleNetV1(3, 1.5))


def test_the_refusal_names_a_stem_without_activation(refusal):
    state = made(jaxony_v1, 3, 24, (240, 480, 960))
    assert "stem_act=False" in refusal(state, ShuffleNetV1(3, 1.0))


@pytest.mark.parametrize("layout", ("torchvision", "paper"))
def test_the_refusal_names_pytorchcvs_pooling(layout, refusal):
    state = made(halves_v2, *V2_HALF, pytorchcv_names(), pad=0)
    assert "layout='pytorchcv'" in refusal(state, ShuffleNetV2(0.5, layout))


def test_the_refusal_names_the_width_of_conv5(refusal):
    state = made(halves_v2, (48, 96, 192), 1553, torchvision_names())
    message = refusal(state, ShuffleNetV2(0.5, out_indices=(4,)))
    assert "conv5.0.weight is (1553, 192, 1, 1)" in message
    assert "conv5_channels=1553)" in message


class Malicious:
    """Makes a folder when it is unpickled by a loader that runs code."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("wrapped", (False, True))
@pytest.mark.parametrize("old_format", (False, True))
def test_code_in_a_file_is_not_run(wrapped, old_format, torchvision_state, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "weights.pth"
    content = {"state_dict": torchvision_state, "meta": Malicious(str(trap))}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    if wrapped:
        inner, path = path, tmp_path / "weights.pth.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inner, "weights.pth")
    with pytest.raises(ValueError, match=rf"{path.name}.*was not opened.*run code"):
        load_pretrained(ShuffleNetV2(0.5), str(path))
    assert not trap.exists()


@pytest.mark.parametrize("old_format", (False, True))
def test_truncated_files(old_format, torchvision_state, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision_state, path, _use_new_zipfile_serialization=not old_format)
    whole = path.read_bytes()
    for part in (0, 1, 4, 100, len(whole) // 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:part])
        with pytest.raises(ValueError, match=r"weights\.pth.*was not opened"):
            read_weights(str(path))


@pytest.mark.parametrize("content", (b"", b"<html>no such page</html>", bytes(range(256))))
def test_other_content_is_refused(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth.*was not opened"):
        read_weights(str(path))


@pytest.mark.parametrize("content", ({}, {"state_dict": {}}, {"epoch": 3}, [1, 2], 5), ids=repr)
def test_files_without_tensors_are_refused(content, refusal):
    assert "holds no tensors by name" in refusal(content, ShuffleNetV2(0.5))


def test_formats_of_other_programs_are_named(tmp_path):
    np.savez(tmp_path / "ShuffleNetV2-1x.npz", **{"conv1/W": np.ones(3)})
    with pytest.raises(ValueError, match="SAME"):
        read_weights(str(tmp_path / "ShuffleNetV2-1x.npz"))
    (tmp_path / "ShuffleNetV2_x1_0_pretrained.pdparams").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"paddle\.load"):
        read_weights(str(tmp_path / "ShuffleNetV2_x1_0_pretrained.pdparams"))
