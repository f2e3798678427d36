"""The steps of mmcv's synchronised batch normalisation; mmcv calls ``all_reduce`` between them.

Shapes: input, output, their gradients and ``norm`` ``(N, C, H · W)``; all others ``(C,)``.
Statistics are float32, as in mmcv.
"""

from torch import Tensor

_DIMS = (0, 2)


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Write the mean of each channel."""
    mean.copy_(input.float().mean(_DIMS))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the variance of each channel around ``mean``."""
    var.copy_((input.float() - mean[:, None]).square().mean(_DIMS))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Write ``std``, the normalised input (``norm``), and this scaled and shifted (``output``).

    The running statistics are updated, with the unbiased variance.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    scaled = norm if weight is None or bias is None else norm * weight[:, None] + bias[:, None]
    output.copy_(scaled)
    if running_mean is not None and running_var is not None:
        count = input.numel() // input.size(1) * group_size
        unbiased = var * (count / (count - 1)) if count > 1 else var
        running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
        running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Write the gradients of weight and bias, summed over the cells of this process."""
    grad_weight.copy_((grad_output.float() * norm).sum(_DIMS))
    grad_bias.copy_(grad_output.float().sum(_DIMS))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Write the gradient of the input, including the gradient through the statistics."""
    count = norm.numel() // norm.size(1)
    through = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_((grad_output.float() - through) * (weight / std)[:, None])
