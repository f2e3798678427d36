"""mmcv's synchronised batch normalisation against torch's over the whole batch."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

import shufflenet_det  # noqa: F401  # lets mmcv.ops be imported

# isort: split
from mmcv.ops.sync_bn import SyncBatchNorm


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("stats_mode", ["default", "N"])
def test_sync_bn_is_batch_normalisation(process_group, stats_mode):
    torch.manual_seed(0)
    theirs, torchs = SyncBatchNorm(4, stats_mode=stats_mode), nn.BatchNorm2d(4)
    torchs.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, 5, 6, requires_grad=True)
    grad = torch.randn(3, 4, 5, 6)
    results = []
    for layer in (theirs, torchs):
        output = layer(x * 2 + 1)
        grads = torch.autograd.grad(output, [x, layer.weight, layer.bias], grad)
        results.append((output, grads, layer.running_mean, layer.running_var))
    torch.testing.assert_close(*results)
