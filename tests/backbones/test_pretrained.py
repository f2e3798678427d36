"""``init_cfg=dict(type='Pretrained', …)`` loads completely or raises and changes nothing."""

import urllib.error
import urllib.request

import networks
import pytest
import torch
from mmengine.model import PretrainedInit
from networks import V2_FACTORS
from test_shufflenet_v2 import NAMES, torchvisions_maps
from torchvision.models import get_model

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2

NAME = "torchvision://shufflenet_v2_x1_0.imagenet1k_v1"


def torchvision_model(factor=0.5):
    return networks.randomise(get_model(NAMES[factor], weights=None)).eval()


@pytest.fixture
def state():
    return torchvision_model().state_dict()


@pytest.fixture
def load(tmp_path):
    """Save something to a file and initialise a network from it."""

    def run(content, network=ShuffleNetV2, init_cfg=(), **kwargs):
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        arguments = {"widen_factor": 0.5} | kwargs
        init_cfg = {"type": "Pretrained", "checkpoint": str(path), **dict(init_cfg)}
        net = network(**arguments, init_cfg=init_cfg)
        net.init_weights()
        return net

    return run


def assert_loaded(net, state):
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("factor", V2_FACTORS)
def test_torchvisions_file_gives_torchvisions_maps(load, factor):
    model = torchvision_model(factor)
    net = load(model.state_dict(), widen_factor=factor, out_indices=(0, 1, 2, 3, 4)).eval()
    x = networks.images(1, 3, 64, 64)
    assert all(map(torch.equal, net(x), torchvisions_maps(model, x)))


@pytest.mark.parametrize("out_indices", networks.subsets(5))
def test_levels_that_are_not_built_are_passed_over(load, state, out_indices):
    assert_loaded(load(state, out_indices=out_indices), state)


@pytest.mark.parametrize("prefix", ["backbone.", "module.", "module.backbone."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_usual_prefixes_are_seen_through(load, state, prefix, wrapped):
    content = {prefix + k: v for k, v in state.items()}
    if "backbone" in prefix:
        content[prefix.replace("backbone", "neck") + "conv.weight"] = torch.ones(1)
    content = {"state_dict": content, "meta": {}} if wrapped else content
    assert_loaded(load(content), state)


@pytest.mark.parametrize("prefix", ["student.net", "student.net."])
def test_a_prefix_can_be_given(load, state, prefix):
    content = {f"student.net.{k}": v for k, v in state.items()}
    content |= {f"teacher.{k}": v + 1 for k, v in state.items()}
    assert_loaded(load(content, init_cfg={"prefix": prefix}), state)


def test_the_type_may_be_a_class_and_the_config_in_a_list(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    cfg = {"type": PretrainedInit, "checkpoint": str(tmp_path / "a.pth")}
    for init_cfg in (cfg, [cfg]):
        net = ShuffleNetV2(0.5, init_cfg=init_cfg)
        net.init_weights()
        assert_loaded(net, state)


@pytest.mark.parametrize(
    ("network", "kwargs"),
    [
        (ShuffleNetV1, {"groups": 3, "shuffle": "inverse"}),
        (ShuffleNetV2, {"layout": "paper", "widen_factor": 1.0}),
        (ShuffleNetV2, {"norm_cfg": {"type": "GN", "num_groups": 2}}),
    ],
)
def test_our_own_weights_load(load, network, kwargs):
    arguments = {"widen_factor": 0.5} | kwargs
    state = networks.randomise(network(**arguments)).state_dict()
    assert_loaded(load(state, network, **kwargs), state)


def test_a_whole_detectors_weights_load_and_stay(tmp_path, state):
    from mmdet.registry import MODELS

    path = tmp_path / "detector.pth"
    backbone = {"type": "ShuffleNetV2", "widen_factor": 0.5}
    detector = {
        "type": "RetinaNet",
        "backbone": backbone,
        "neck": {"type": "FPN", "in_channels": [48, 96, 192], "out_channels": 8, "num_outs": 5},
        "bbox_head": {"type": "RetinaHead", "num_classes": 2, "in_channels": 8, "feat_channels": 8},
    }
    first = MODELS.build(detector)
    networks.randomise(first.backbone)
    torch.save({"state_dict": first.state_dict(), "meta": {}}, path)
    backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
    second = MODELS.build(detector)
    second.init_weights()
    assert networks.same(second.backbone.state_dict(), first.backbone.state_dict())


def test_batch_counters_may_be_missing(load, state):
    """Files older than torch 0.4.1 have none."""
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert_loaded(load(old), state)


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


KEY = "stage3.2.branch2.0.weight"
UNFIT = {
    "missing": lambda s: without(s, KEY),
    "left over": lambda s: s | {"stage3.9.weight": torch.ones(1)},
    "another shape": lambda s: s | {KEY: torch.ones(2, 3)},
}


@pytest.mark.parametrize("problem", UNFIT)
def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(tmp_path, state, problem):
    path = tmp_path / "unfit.pth"
    torch.save(UNFIT[problem](state), path)
    net = ShuffleNetV2(0.5, init_cfg={"type": "Pretrained", "checkpoint": str(path)})
    before = networks.copied(net.state_dict())
    with pytest.raises(ValueError) as raised:
        net.init_weights()
    key = "stage3.9.weight" if problem == "left over" else KEY
    for part in ("unfit.pth", "ShuffleNetV2", problem, key, "nothing was loaded"):
        assert part in str(raised.value)
    assert networks.same(net.state_dict(), before)


@pytest.mark.parametrize(
    ("network", "kwargs"),
    [
        (ShuffleNetV1, {}),
        (ShuffleNetV2, {"widen_factor": 1.0}),
        (ShuffleNetV2, {"norm_cfg": {"type": "GN", "num_groups": 2}}),
    ],
    ids=["network", "width", "norm"],
)
def test_weights_of_another_network_are_refused(load, state, network, kwargs):
    with pytest.raises(ValueError, match="nothing was loaded"):
        load(state, network, **kwargs)


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0])
def test_torchvisions_weights_do_not_fit_the_papers_layout(load, factor):
    with pytest.raises(ValueError, match=r"layout='torchvision'.*stage2\.0\.branch1\.2\.weight"):
        load(torchvision_model(factor).state_dict(), widen_factor=factor, layout="paper")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"meta": {}}, [1, 2]], ids=repr)
def test_files_without_weights_are_refused(load, content):
    with pytest.raises(ValueError, match=r"weights\.pth"):
        load(content)


def test_a_missing_file_is_named():
    net = ShuffleNetV2(0.5, init_cfg={"type": "Pretrained", "checkpoint": "no/such.pth"})
    with pytest.raises(FileNotFoundError, match=r"no/such\.pth"):
        net.init_weights()


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no network here"),
        urllib.error.HTTPError("http://x", 403, "forbidden here", {}, None),
        TimeoutError("timed out here"),
        ConnectionResetError("reset here"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_impossible_download_says_what_to_do(monkeypatch, tmp_path, error):
    def refuse(*args, **kwargs):
        raise error

    for module in (urllib.request, torch.hub):
        monkeypatch.setattr(module, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    net = ShuffleNetV2(1.0, init_cfg={"type": "Pretrained", "checkpoint": NAME})
    before = networks.copied(net.state_dict())
    with pytest.raises(ConnectionError) as raised:
        net.init_weights()
    message = str(raised.value)
    for part in (NAME, "here", "model.backbone.init_cfg.checkpoint=", "init_cfg=None"):
        assert part in message
    assert networks.same(net.state_dict(), before)


def test_what_was_loaded_is_logged(load, state, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        net = load(state)
    finally:
        logger.removeHandler(caplog.handler)
    count = len(net.state_dict())
    assert f"{count} of {count}" in caplog.text
    assert "weights.pth" in caplog.text
