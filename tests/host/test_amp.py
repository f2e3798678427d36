"""``--amp`` on the CPU and with a GPU."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from matplotlib import cbook
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import OPTIM_WRAPPERS
from PIL import Image
from torch import nn

from shufflenet_det import ShuffleNetV2
from shufflenet_det.host import amp


class Recording(BaseModel):
    """Records the dtype of its layer's output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, inputs, mode="tensor"):
        out = self.layer(inputs)
        self.computed_in = out.dtype
        return {"loss": out.float().square().mean()}


def enabled(**kwargs):
    cfg = ConfigDict(type="OptimWrapper", optimizer={"type": "SGD", "lr": 0.1}, **kwargs)
    amp.enable(cfg)
    return cfg


def test_the_cpu_computes_in_bfloat16_and_keeps_float32_weights(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = Recording()
    cfg = enabled(clip_grad={"max_norm": 35})
    assert cfg.clip_grad.max_norm == 35
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cfg.pop("optimizer")
    wrapper = OPTIM_WRAPPERS.build(cfg, default_args={"optimizer": optimizer})
    before = model.layer.weight.clone()
    model.train_step({"inputs": torch.ones(1, 3, 8, 8)}, wrapper)
    assert model.computed_in == torch.bfloat16
    assert model.layer.weight.dtype == torch.float32
    assert not torch.equal(model.layer.weight, before)
    model(torch.ones(1, 3, 8, 8))
    assert model.computed_in == torch.float32


def test_a_gpu_gets_mmengines_wrapper_with_loss_scaling(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = enabled()
    assert (cfg.type, cfg.loss_scale) == ("AmpOptimWrapper", "dynamic")


@pytest.mark.parametrize("gpu", [False, True])
def test_the_rest_of_the_config_is_unchanged(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert enabled().optimizer == {"type": "SGD", "lr": 0.1}


def test_the_forward_pass_runs_under_autocast_of_the_device_in_use(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(amp, "get_device", lambda: "mps")
    monkeypatch.setattr(torch, "autocast", lambda *args: asked.append(args) or nullcontext())
    optimizer = torch.optim.SGD(Recording().parameters(), lr=0.1)
    with amp.Bfloat16OptimWrapper(optimizer=optimizer).optim_context(Recording()):
        pass
    assert asked == [("mps", torch.bfloat16)]


@pytest.fixture
def photograph():
    """(1, 3, 160, 192), float32."""
    with Image.open(cbook.get_sample_data("grace_hopper.jpg")) as image:
        pixels = torch.from_numpy(np.array(image.resize((192, 160))))
    return pixels.permute(2, 0, 1)[None].float().sub(114).div(58)


def test_only_autocast_keeps_depthwise_convolutions_in_float32(photograph):
    network = ShuffleNetV2(0.5)
    plain = copy.deepcopy(network).eval()(photograph)
    kept = copy.deepcopy(amp.keep_depthwise_in_float32(network))
    kinds = {}
    for module in kept.modules():
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if module.groups > 1 else "others"
            module.register_forward_hook(
                lambda *args, kind=kind: kinds.setdefault(kind, set()).add(args[2].dtype)
            )
    with torch.autocast("cpu", torch.bfloat16):
        maps = kept.train()(photograph)
    assert kinds == {"depthwise": {torch.float32}, "others": {torch.bfloat16}}
    sum(m.float().square().mean() for m in maps).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in kept.parameters())
    assert not any(p.grad is not None for p in network.parameters())
    torch.testing.assert_close(network.eval()(photograph), plain)
    assert network.state_dict().keys() == kept.state_dict().keys()
