"""Ring attention (Liu et al. 2023, arXiv:2310.01889): keys and values travel round the ranks while attention is computed block by block.

A sequence is cut into twice as many chunks as there are ranks, and rank r has chunks r and 2R − 1 − r, so that under a causal mask every
rank has as much to do (Llama 3, arXiv:2407.21783, section 3.3.2). The blocks' results are joined by their log-sums, as in flash attention.
Imports torch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import P2POp, ProcessGroup

from ._attention import block_backward, block_forward


def places(rank: int, ranks: int, length: int, device: torch.device) -> Tensor:
    """Positions in the sequence of the tokens that a rank has: its two chunks, int64 (length / ranks,)."""
    chunk = length // (2 * ranks)
    return torch.cat([torch.arange(first * chunk, (first + 1) * chunk, device=device) for first in (rank, 2 * ranks - 1 - rank)])


def ring_attention(
    group: ProcessGroup,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    scale: float | None = None,
) -> Tensor:
    """torch's scaled_dot_product_attention over a sequence of which each rank has its `places`: (b, H, s, d), keys (b, K, s, d).

    A mask is added to the scores: (1, H, s, all keys), and has a gradient.
    """
    assert dropout_p == 0.0, "cp refuses dropout"
    assert enable_gqa or q.shape[1] == k.shape[1], "each head has a key, unless grouped"
    bias = None if attn_mask is None else attn_mask.squeeze(0)
    out: Tensor = _Ring.apply(q, k, v, bias, is_causal, scale, group)  # type: ignore[no-untyped-call]  # torch has no types here
    return out


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float | None, group: ProcessGroup
    ) -> Tensor:
        held = torch.stack((k, v))
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        wide = q.dtype if q.dtype.itemsize >= 4 else torch.float32
        out, log_sum = torch.zeros_like(q), q.new_full(q.shape[:-1], float("-inf"), dtype=wide)
        for hop in range(ranks):
            moving = _Moving(held, group) if hop < ranks - 1 else None
            queries, keys, masked = _visible(rank, (rank - hop) % ranks, q.shape[2], causal)
            there = _columns(bias, (rank - hop) % ranks, ranks)
            here = None if bias is None else bias[:, :, there]
            part, part_sum = block_forward(
                q[:, :, queries], held[0][:, :, keys], held[1][:, :, keys], causal=masked, scale=scale, bias=here
            )
            _join(out[:, :, queries], log_sum[:, :, queries], part, part_sum)
            held = moving.arrived() if moving else held
        ctx.save_for_backward(q, k, v, bias, out, log_sum)
        ctx.causal, ctx.scale, ctx.group = causal, scale, group
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, None, None, None]:
        """Keys and values go round once more, and their gradients behind them, all the way home."""
        q, k, v, bias, out, log_sum = ctx.saved_tensors
        group, held = ctx.group, torch.stack((k, v))
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        d_q, d_held, d_bias = torch.zeros_like(q), torch.zeros_like(held), None if bias is None else torch.zeros_like(bias)
        coming: _Moving | None = None
        for hop in range(ranks):
            moving = _Moving(held, group) if hop < ranks - 1 else None
            queries, keys, masked = _visible(rank, (rank - hop) % ranks, q.shape[2], ctx.causal)
            rows = (slice(None), slice(None), queries)
            there = _columns(bias, (rank - hop) % ranks, ranks)
            here = None if bias is None else bias[:, :, there]
            *part, part_bias = block_backward(
                d_out[rows],
                q[rows],
                held[0][:, :, keys],
                held[1][:, :, keys],
                out[rows],
                log_sum[rows],
                causal=masked,
                scale=ctx.scale,
                bias=here,
            )
            if d_bias is not None and part_bias is not None:
                d_bias[:, :, there] = part_bias
            d_q[rows] += part[0]
            d_held = coming.arrived() if coming else d_held
            d_held[:, :, :, keys] += torch.stack(part[1:])
            coming = _Moving(d_held, group)
            held = moving.arrived() if moving else held
        assert coming is not None
        d_k, d_v = coming.arrived().unbind()
        return d_q, d_k, d_v, d_bias, None, None, None


def _columns(bias: Tensor | None, source: int, ranks: int) -> Tensor | None:
    """The columns of a bias that belong to a rank's keys."""
    return None if bias is None else places(source, ranks, bias.shape[2], bias.device)


def _visible(rank: int, source: int, length: int, causal: bool) -> tuple[slice, slice, bool]:
    """Which of a rank's queries see which of the source's keys, and whether the block on the diagonal needs a mask.

    Keys of an earlier rank: its first chunk comes before all our queries, its second behind them. Of a later rank: both its chunks lie
    between our two.
    """
    everything, half = slice(None), length // 2
    if not causal or rank == source:
        return everything, everything, causal
    return (everything, slice(half), False) if source < rank else (slice(half, None), everything, False)


def _join(out: Tensor, log_sum: Tensor, part: Tensor, part_sum: Tensor) -> None:
    """Add a block's result to what is there, in place: weights are shares of the softmax's denominator."""
    total = torch.logaddexp(log_sum, part_sum)
    out.mul_((log_sum - total).exp().unsqueeze(-1)).add_(part * (part_sum - total).exp().unsqueeze(-1))
    log_sum.copy_(total)


class _Moving:
    """A tensor on its way to the next rank of the ring, while the previous rank's comes in."""

    def __init__(self, tensor: Tensor, group: ProcessGroup) -> None:
        self._sent, self._coming = tensor.contiguous(), torch.empty_like(tensor, memory_format=torch.contiguous_format)
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        after, before = (dist.get_global_rank(group, place % ranks) for place in (rank + 1, rank - 1))
        sides = [P2POp(dist.isend, self._sent, after, group), P2POp(dist.irecv, self._coming, before, group)]
        self._works = dist.batch_isend_irecv(sides)

    def arrived(self) -> Tensor:
        """What the previous rank sent, when it is there."""
        for work in self._works:
            work.wait()
        return self._coming
