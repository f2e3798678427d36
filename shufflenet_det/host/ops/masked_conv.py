"""Convolution at the cells of a mask alone, for guided anchoring
(https://arxiv.org/abs/1901.03278)."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Writes what the kernel covers at each of the mask's cells.

    Args:
        im: ``(1, C, H, W)``.
        mask_h_idx: rows of the output's cells, ``(n,)``.
        mask_w_idx: their columns, ``(n,)``.
        col: ``(C · kernel_h · kernel_w, n)``, overwritten.
        kernel_h: height of the kernel.
        kernel_w: its width.
        pad_h: rows of zeros above and below.
        pad_w: columns of zeros on the left and on the right.
    """
    height = im.size(2) + 2 * pad_h - kernel_h + 1
    columns = F.unfold(im, (kernel_h, kernel_w), padding=(pad_h, pad_w))
    columns = columns.view(len(col), height, -1)  # (C · kernel_h · kernel_w, H_out, W_out)
    col.copy_(columns[:, mask_h_idx, mask_w_idx])


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Writes ``col``, ``(C, n)``, into the mask's cells of ``im``, ``(1, C, H, W)``."""
    im[0, :, mask_h_idx, mask_w_idx] = col
