"""Call torchvision's compiled kernels, or functions that PyTorch differentiates."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision  # noqa: F401  # registers torch.ops.torchvision
from torch import Tensor


def compute_dtype(tensor: Tensor, cuda_half: bool = False) -> torch.dtype:
    """The dtype to compute in: float64 for float64, otherwise float32.

    With ``cuda_half``, float16 on CUDA stays float16, as in mmcv, for ops whose CUDA kernel in
    torchvision supports it. torchvision's CPU kernels lack float16, bfloat16, or both.
    """
    half = cuda_half and tensor.is_cuda and tensor.dtype == torch.float16
    return tensor.dtype if half or tensor.dtype == torch.float64 else torch.float32


def kernel(name: str, dtype: torch.dtype, *args: Any) -> Any:
    """Call ``torch.ops.torchvision.<name>`` with floating-point tensors cast to ``dtype``.

    The first argument must be a tensor. Autocast is disabled, because torchvision would otherwise
    compute in float32.
    """
    cast = (
        arg.to(dtype) if isinstance(arg, Tensor) and arg.is_floating_point() else arg
        for arg in args
    )
    with torch.no_grad(), torch.autocast(args[0].device.type, enabled=False):
        return getattr(torch.ops.torchvision, name)(*cast)


def forward(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Call a PyTorch ``function(*inputs)`` in ``compute_dtype``, without autocast."""
    dtype = compute_dtype(inputs[0])
    with torch.autocast(inputs[0].device.type, enabled=False):
        return function(*(tensor.to(dtype) for tensor in inputs))


def gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of ``function(*inputs)`` for each input, computed in ``compute_dtype``."""
    dtype = compute_dtype(grad_output)
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    with torch.enable_grad(), torch.autocast(grad_output.device.type, enabled=False):
        output = function(*leaves)
        return torch.autograd.grad(output, leaves, grad_output.to(dtype), materialize_grads=True)
