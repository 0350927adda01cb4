"""Mean cross entropy of logits, on CPUs with less traffic than torch's own."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional

_CHUNK_ELEMENTS = 131_072
"""What the backward pass works on at a time, 512 KiB in fp32: a part of a core's cache."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log likelihood of int64 targets (n,) under logits (n, V), in fp32 at least.

    torch's backward pass on a CPU fills a matrix of zeros, then makes a second one. `_CpuCrossEntropy` turns the log-probabilities that the
    forward pass kept into the gradient where they lie. It is not for compilers, which fuse these passes themselves. Of logits that ranks
    have shares of the loss is a plain number, so that other terms can be added to it.
    """
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    if isinstance(wide, DTensor):
        shared: Any = functional.cross_entropy(wide, targets)
        whole: Tensor = shared.full_tensor()
        return whole
    if not wide.is_cpu or torch.compiler.is_compiling():
        return functional.cross_entropy(wide, targets)
    loss: Tensor = _CpuCrossEntropy.apply(wide, targets)  # type: ignore[no-untyped-call]  # torch has no types here
    return loss


class _CpuCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        known = logits.log_softmax(-1)
        ctx.save_for_backward(known, targets)
        ctx.spent = False
        return known.gather(1, targets.unsqueeze(1)).mean().neg_()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """upstream/n·(p − 1 at the target). RuntimeError for a second backward pass: the first one used up what was kept."""
        if ctx.spent:
            raise RuntimeError("a second backward pass through a loss whose log-probabilities are gone")
        ctx.spent = True
        known, targets = ctx.saved_tensors
        scale = upstream / len(known)
        rows = max(1, _CHUNK_ELEMENTS // known.shape[1])
        for part in known.split(rows):
            part.exp_().mul_(scale)
        return known.scatter_add_(1, targets.unsqueeze(1), -scale.expand(len(known), 1)), None
