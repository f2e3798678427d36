"""Convolution at the cells of a mask only, for guided anchoring (https://arxiv.org/abs/1901.03278).

Shapes: ``im`` ``(1, C, H, W)``; ``mask_h_idx`` and ``mask_w_idx`` ``(n,)``, rows and columns of the
output cells.
"""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor, **sizes: int
) -> None:
    """Write the input under the kernel at each cell of the mask, ``(C · kernel's cells, n)``."""
    kernel, pad = ((sizes[f"{name}_h"], sizes[f"{name}_w"]) for name in ("kernel", "pad"))
    height = im.size(2) + 2 * pad[0] - kernel[0] + 1
    columns = F.unfold(im, kernel, padding=pad).view(len(col), height, -1)  # (…, H_out, W_out)
    col.copy_(columns[:, mask_h_idx, mask_w_idx])


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, **sizes: int
) -> None:
    """Write ``col``, ``(C, n)``, to the mask's cells of ``im``."""
    im[0, :, mask_h_idx, mask_w_idx] = col
