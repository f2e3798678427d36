"""A network is recognised by its convolutions, under any names, or refused."""

import importlib
import multiprocessing
import os

import pytest
import torch
from published_networks import (
    Tape,
    assert_close,
    halves_v2,
    image,
    megvii_v1,
    megvii_v2,
    torchvision_names,
)
from torch.nn.utils.fusion import fuse_conv_bn_weights

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.weights import (
    call,
    convert_file,
    load_pretrained,
    needed_arguments,
    read_weights,
    redirect_load_from,
    title,
)

X = image()
WIDTHS = (48, 96, 192)
LEAKY = {"type": "LeakyReLU", "negative_slope": 0.1}


@pytest.fixture(scope="module")
def authors():
    """The authors' V2 0.5x: its tensors and its features."""
    tape = Tape(dtype=torch.float64)
    return tape.state, megvii_v2(tape, X, WIDTHS, 1024)


@pytest.fixture(scope="module")
def torchvisions():
    tape = Tape()
    halves_v2(tape, X.float(), WIDTHS, 1024, torchvision_names())
    return tape.state


STAGES = [(2, 0, 4), (3, 4, 12), (4, 12, 16)]


def by_stages(key):
    """FastestDet's form: features.4.x becomes stage3.0.x."""
    if not key.startswith("features."):
        return key
    _, number, rest = key.split(".", 2)
    stage, begin, _ = next(s for s in STAGES if s[1] <= int(number) < s[2])
    return f"stage{stage}.{int(number) - begin}.{rest}"


def unknown_words(key):
    """No word of the authors' is left."""
    for old, new in (
        ("first_conv", "entry"),
        ("features", "blocks"),
        ("branch_main", "long"),
        ("branch_proj", "short"),
        ("conv_last", "exit"),
    ):
        key = key.replace(old, new)
    return key


RENAMED = {
    "by stages": by_stages,
    "unknown prefix": lambda key: f"student.net.body.{key}",
    "unknown words": unknown_words,
}


@pytest.mark.parametrize("renamed", RENAMED)
def test_names_do_not_matter(renamed, authors, save, features):
    state, expected = authors
    path = save({RENAMED[renamed](key): tensor for key, tensor in state.items()})
    assert_close(features(ShuffleNetV2(0.5, "paper", out_indices=(0, 1, 2, 3, 4)), path), expected)


@pytest.mark.parametrize("words", [("one", "two", "xyz"), ("last", "middle", "point")])
def test_an_alphabetical_order_of_layers_is_refused(words, authors, save, features):
    """A safetensors file keeps no order: that the first word is the first layer is a guess."""
    names = dict(zip(("branch_main.0", "branch_main.3", "branch_main.5"), words, strict=True))
    norms = dict(zip(("branch_main.1", "branch_main.4", "branch_main.6"), words, strict=True))

    def renamed(key):
        key = unknown_words(key).replace("long", "branch_main")
        for old, word in (*names.items(), *norms.items()):
            kind = "conv" if old in names else "norm"
            key = key.replace(f"{old}.", f"long.{word}.{kind}.")
        return key

    state = {renamed(key): tensor for key, tensor in authors[0].items()}
    backbone = ShuffleNetV2(0.5, "paper")
    with pytest.raises(ValueError, match="alphabetical order"):
        load_pretrained(backbone, save(dict(sorted(state.items()))))
    assert_close(features(backbone, save(state)), authors[1][1:4])


def test_the_backbone_of_a_detector_is_found(authors, save, features):
    state, expected = authors
    other = {"head.0.weight": torch.rand(9, 96, 1, 1), "neck.0.weight": torch.rand(96, 192, 1, 1)}
    path = save(other | {f"body.{key}": tensor for key, tensor in state.items()} | other)
    assert_close(features(ShuffleNetV2(0.5, "paper"), path), expected[1:4])


def test_without_evidence_the_backbone_or_an_argument_decides(authors, save, tmp_path, warnings):
    path = save({unknown_words(key): tensor for key, tensor in authors[0].items()})
    load_pretrained(ShuffleNetV2(0.5, "paper"), path)
    (warning,) = warnings()
    assert "layout='paper'" in warning and "'torchvision'" in warning
    with pytest.raises(ValueError, match=r"layout='torchvision'.* or .*layout='paper'.*--as"):
        convert_file(path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
    with pytest.raises(ValueError, match="--as inverse"):
        convert_file(path, tmp_path / "out.pth", taken_as="inverse")
    convert_file(path, tmp_path / "out.pth", taken_as="paper")
    assert read_weights(str(tmp_path / "out.pth")).computes["layout"] == "paper"


def folded(state):
    """BatchNorm folded into the convolutions by torch's own function."""
    out, keys = {}, list(state)
    for key in [key for key in keys if state[key].ndim == 4]:
        conv = key.removesuffix(".weight")
        names = [k.removesuffix(".running_mean") for k in keys if k.endswith(".running_mean")]
        norm = names[[k for k in keys if state[k].ndim == 4].index(key)]
        mean, var, scale, bias = (
            state[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        weight, added = fuse_conv_bn_weights(state[key], None, mean, var, 1e-5, scale, bias)
        out |= {f"{conv}.weight": weight, f"{conv}.bias": added}
    return {key: tensor.detach() for key, tensor in out.items()}


def test_folded_batchnorm_is_read_exactly_and_named(authors, save, features):
    state, expected = authors
    path = save(folded(state))
    assert "with BatchNorm folded" in title(read_weights(path))
    assert_close(features(ShuffleNetV2(0.5, "paper"), path), expected[1:4])


KEY = "stage3.2.branch2.0.weight"
NOT_WHOLE = {
    "1 missing": lambda s: {k: v for k, v in s.items() if k != KEY},
    "1 missing (stage3.2.branch2.1.bias": lambda s: {
        k: v for k, v in s.items() if k != "stage3.2.branch2.1.bias"
    },
    "1 left over (stage3.9.weight": lambda s: s | {"stage3.9.weight": torch.ones(1)},
    "1 of another shape": lambda s: s | {KEY: torch.ones(2, 3, 1, 1)},
    "missing (stage4": lambda s: {k: v for k, v in s.items() if not k.startswith("stage4")},
    "holds no": lambda s: {k: s[k] for k in ("conv1.0.weight", "stage2.0.branch1.0.weight")},
    "quantised": lambda s: {
        k: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8) if v.ndim == 4 else v
        for k, v in s.items()
    },
}


@pytest.mark.parametrize("problem", NOT_WHOLE)
def test_incomplete_files_are_neither_loaded_nor_converted(problem, torchvisions, save, tmp_path):
    path = save(NOT_WHOLE[problem](torchvisions))
    with pytest.raises(ValueError, match=r"weights\.pth"):
        convert_file(path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
    with pytest.raises(ValueError, match=r"weights\.pth") as raised:
        load_pretrained(ShuffleNetV2(0.5), path)
    assert problem in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "beside", [{}, {"model.fpn.w": torch.ones(1)}, {"model.fc.weight": torch.rand(9, 1024)}]
)
def test_torchvisions_names_below_model_backbone_are_not_nanodets(
    beside, torchvisions, save, warnings
):
    path = save({f"model.backbone.{k}": v for k, v in torchvisions.items()} | beside)
    weights = read_weights(path)
    assert "NanoDet" not in weights.source.title
    load_pretrained(ShuffleNetV2(0.5), path)
    assert warnings() == []


def test_a_converted_file_states_its_activation(torchvisions, save, tmp_path, warnings):
    state = {f"backbone.{k}": v for k, v in torchvisions.items() if "conv5" not in k}
    path = save(state | {"head.gfl_cls.0.weight": torch.rand(112, 96, 1, 1)})
    out = str(tmp_path / "out.safetensors")
    arguments = needed_arguments(convert_file(path, out))
    assert arguments == {"widen_factor": 0.5, "layout": "torchvision", "act_cfg": LEAKY}
    load_pretrained(ShuffleNetV2(**arguments), out)
    assert warnings() == []
    load_pretrained(ShuffleNetV2(0.5), out)
    (warning,) = warnings()
    assert call("act_cfg=dict", LEAKY) in warning


@pytest.mark.parametrize(
    ("options", "random"),
    [
        ({"se_reduction": 2}, "branch2.7.fc1.weight"),
        ({"extra_depthwise": True}, "extra_depthwise.0.weight"),
        ({"norm_cfg": {"type": "GN", "num_groups": 2}}, ""),
        ({"conv_cfg": {"type": "DCNv2"}}, "conv_offset.weight"),
    ],
)
def test_not_strict_loads_what_fits_and_lists_the_rest(
    options, random, torchvisions, save, warnings
):
    importlib.import_module("mmcv.ops")  # registers DCNv2
    path = save(torchvisions | {"fc.weight": torch.rand(10, 1024)})
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    with pytest.raises(ValueError, match="nothing was loaded"):
        ShuffleNetV2(0.5, **options, init_cfg=init_cfg).init_weights()
    net = ShuffleNetV2(0.5, **options, init_cfg=init_cfg | {"strict": False})
    net.init_weights()
    fitting = {k: v for k, v in net.state_dict().items() if k in torchvisions}
    assert all(torch.equal(v, torchvisions[k]) for k, v in fitting.items())
    kept = [k for k in net.state_dict() if k not in fitting and "num_batches" not in k]
    assert all(random in key for key in kept[:1])
    assert all(any(key in text for text in warnings()) for key in kept)


@pytest.mark.parametrize("names", ["as published", "unknown words"])
def test_not_strict_works_with_any_names(names, authors, save, warnings):
    rename = RENAMED.get(names, str)
    path = save({rename(key): tensor for key, tensor in authors[0].items()})
    net = ShuffleNetV2(0.5, "paper", extra_depthwise=True)
    load_pretrained(net, path, strict=False)
    (listed,) = [text for text in warnings() if "random values" in text]
    missing = [key for key in net.state_dict() if "extra_depthwise" in key and "num_b" not in key]
    assert f"{len(missing)} of {len(net.state_dict())} tensors keep" in listed
    assert all(key in listed for key in missing)


def test_not_strict_still_refuses_another_network(authors, save):
    with pytest.raises(ValueError, match=r"build ShuffleNetV2\(.*layout='paper'"):
        load_pretrained(ShuffleNetV2(0.5), save(authors[0]), strict=False)


def test_a_renamed_file_of_the_authors_sets_or_contradicts_a_runs_images(tmp_path, warnings):
    tape = Tape()
    megvii_v1(tape, X.float(), 3, 12, (120, 240, 480))
    path = str(tmp_path / "mine.pth")
    torch.save(tape.state, path)
    for stated, warned in (({}, 0), ({"mean": [1, 2, 3], "std": [1, 1, 1]}, 1)):
        backbone = {"type": "shufflenet_det.ShuffleNetV1", "widen_factor": 0.5}
        model = {"type": "RetinaNet", "backbone": backbone, "data_preprocessor": dict(stated)}
        cfg = {"load_from": path, "model": model}
        assert redirect_load_from(cfg)
        init_cfg = cfg["model"]["backbone"]["init_cfg"]
        ShuffleNetV1(3, 0.5, "inverse", init_cfg=init_cfg).init_weights()
        assert sum("bgr_to_rgb" in text for text in warnings()) == warned
        assert stated or model["data_preprocessor"]["std"] == [1.0, 1.0, 1.0]


def test_a_detectors_checkpoint_states_its_images(torchvisions, save, tmp_path, warnings):
    images = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": True}
    first = ShuffleNetV2(0.5)
    load_pretrained(first, save(torchvisions), images=images)
    detector = torch.nn.ModuleDict({"backbone": first, "neck": torch.nn.Conv2d(3, 3, 1)})
    path = save({"state_dict": detector.state_dict()}, "epoch_1.pth")
    model = {"type": "RetinaNet", "backbone": {}, "data_preprocessor": images | {"mean": [0, 0, 0]}}
    assert not redirect_load_from({"load_from": path, "model": model})
    assert "were trained on" in warnings()[0]


def _load(rank, folder, url):
    os.environ.update(TORCH_HOME=str(folder / "home"), OMP_NUM_THREADS="1")
    torch.distributed.init_process_group(
        "gloo", init_method=(folder / "meeting").as_uri(), rank=rank, world_size=2
    )
    net = ShuffleNetV2(0.5, init_cfg={"type": "Pretrained", "checkpoint": url})
    net.init_weights()
    torch.save(net.state_dict(), folder / f"{rank}.pth")
    torch.distributed.destroy_process_group()


def test_two_processes_start_from_a_url(torchvisions, save, tmp_path):
    save(torchvisions)
    url = (tmp_path / "weights.pth").as_uri()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_load, args=(rank, tmp_path, url)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list((tmp_path / "home").rglob("*weights.pth"))) == 1
    for rank in (0, 1):
        state = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert all(torch.equal(v, torchvisions[k]) for k, v in state.items())


def test_urls_with_the_same_file_name_are_two_files(torchvisions, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for i, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.pth"
        torch.save({k: v + i for k, v in torchvisions.items()}, path)
        net = ShuffleNetV2(0.5)
        load_pretrained(net, path.as_uri())
        assert torch.equal(net.conv1[0].weight, torchvisions["conv1.0.weight"] + i)


def test_file_names_do_not_matter(torchvisions, save):
    for name in ("shufflenetv2_lr1.5x.pth", "shufflenetv2_x0.5-f707e7126e.pth", "0.5x.pth.tar"):
        load_pretrained(ShuffleNetV2(0.5), save(torchvisions, name))
