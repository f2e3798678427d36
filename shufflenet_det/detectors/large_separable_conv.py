"""Large separable convolution, which computes Light-Head R-CNN's thin feature map."""

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class LargeSeparableConv(BaseModule):
    """Large separable convolution (Light-Head R-CNN, arXiv:1711.07264, Sec. 3.2).

    It sums two paths: a k x 1 and then a 1 x k convolution (``col``), and the same in the other
    order (``row``). As in the authors' code, every convolution has a bias, there is no activation
    between them, and one ReLU follows the sum. Weights start from a Gaussian of standard deviation
    0.01, biases from 0.

    An H x W map costs ``2 * k * mid * (in + out) * H * W`` multiply-adds.

    The authors' code (``tools/train.py``) multiplies the gradients of these weights by 3, including
    that of the weight decay. With SGD, this equals a learning rate three times as large::

        optim_wrapper = dict(
            optimizer=dict(type='SGD', ...),
            paramwise_cfg=dict(custom_keys={'roi_head.thin_conv': dict(lr_mult=3)}))

    ``bias_decay_mult`` does not apply to the parameters of a custom key. For biases without decay,
    add keys such as ``'roi_head.thin_conv.col.0.bias': dict(lr_mult=3, decay_mult=0)``. With Adam,
    or with gradient clipping, a larger learning rate is not the same as a larger gradient.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int = 64,
        out_channels: int = 490,
        kernel_size: int = 15,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        """Build the four convolutions.

        Args:
            mid_channels: Channels between the two convolutions of a path: 64 in the paper's small
                setting, 256 in its large one.
            out_channels: Channels of the thin map: 490 = 10 * 7 * 7, ten for each bin of a RoI.
            kernel_size: k, odd, in cells of the input.
            init_cfg: mmengine's initialisation; None is that of the authors' code.
        """
        super().__init__(
            {"type": "Normal", "layer": "Conv2d", "std": 0.01} if init_cfg is None else init_cfg
        )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size!r}: must be a positive odd number")
        high, wide = (kernel_size, 1), (1, kernel_size)
        pad_high, pad_wide = (kernel_size // 2, 0), (0, kernel_size // 2)
        self.col = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, high, padding=pad_high),
            nn.Conv2d(mid_channels, out_channels, wide, padding=pad_wide),
        )
        self.row = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, wide, padding=pad_wide),
            nn.Conv2d(mid_channels, out_channels, high, padding=pad_high),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to the thin map (N, out, H, W), without negative values."""
        return F.relu(self.col(x) + self.row(x))
