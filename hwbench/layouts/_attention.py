"""Attention of a block of queries to a block of keys, with the log-sums that join blocks. Imports torch.

CPUs have torch's flash operator, and CUDA devices theirs for 16-bit elements; elsewhere the block's scores are written out, and wherever
they have a bias (H, s, t) with a gradient, which no flash operator has. Scores are times `scale`, 1/√d where that is None.
"""

import torch
from torch import Tensor

_flash = torch.ops.aten


def block_forward(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float | None = None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(b, H, s, d) queries, (b, K, t, d) keys and values, K dividing H: the result (b, H, s, d) and log-sums (b, H, s) in fp32 at least."""
    k, v = _repeated(k, q), _repeated(v, q)
    if q.is_cpu and bias is None:
        out, log_sum = _flash._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
        return out, log_sum
    if q.is_cuda and q.dtype.itemsize == 2 and bias is None:
        out, log_sum = _flash._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, scale=scale)[:2]
        return out, log_sum
    return written_out(q, k, v, causal=causal, scale=scale, bias=bias)


def block_backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    *,
    causal: bool,
    scale: float | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The block's gradients of q, k, v and the bias, given the whole result and the log-sums over all keys."""
    wide_k, wide_v, d_bias = _repeated(k, q), _repeated(v, q), None
    if q.is_cpu and bias is None:
        made = _flash._scaled_dot_product_flash_attention_for_cpu_backward(d_out, q, wide_k, wide_v, out, log_sum, 0.0, causal, scale=scale)
    elif q.is_cuda and q.dtype.itemsize == 2 and bias is None:
        none = torch.empty(0, dtype=torch.int32, device=q.device)
        seed = torch.zeros(2, dtype=torch.uint64, device=q.device)  # of dropout, which there is none of
        made = _flash._scaled_dot_product_flash_attention_backward(
            d_out, q, wide_k, wide_v, out, log_sum, none, none, q.shape[2], k.shape[2], 0.0, causal, seed, seed[:0], scale=scale
        )
    else:
        *made, d_bias = written_out_backward(d_out, q, wide_k, wide_v, out, log_sum, causal=causal, scale=scale, bias=bias)
    d_q, d_k, d_v = made
    return d_q, _summed(d_k, k), _summed(d_v, v), None if bias is None else d_bias


def _repeated(k: Tensor, q: Tensor) -> Tensor:
    """Each key head once for every query head of its group."""
    return k if k.shape[1] == q.shape[1] else k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)


def _summed(gradient: Tensor, k: Tensor) -> Tensor:
    """The gradients of a key head's copies added up."""
    return gradient if gradient.shape == k.shape else gradient.view(*k.shape[:2], -1, *k.shape[2:]).sum(2)


def written_out(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, scale: float | None = None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition: softmax(q·kᵀ/√d)·v and the logarithm of the softmax's denominator. All s·t scores are in memory at once.

    A query that sees no key of the block has a result of 0 and −∞.
    """
    scores = _scores(q, k, causal=causal, scale=scale, bias=bias)
    log_sum = scores.logsumexp(-1)
    known = log_sum.unsqueeze(-1).clamp(min=torch.finfo(scores.dtype).min)
    return ((scores - known).exp().to(v.dtype) @ v), log_sum


def written_out_backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    *,
    causal: bool,
    scale: float | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients from probabilities that the log-sums over all keys give (Dao et al. 2022, arXiv:2205.14135, appendix B.4).

    The last is the bias's: (H, s, t), summed over samples.
    """
    p = (_scores(q, k, causal=causal, scale=scale, bias=bias) - log_sum.unsqueeze(-1)).exp()
    d_v = p.to(d_out.dtype).transpose(-1, -2) @ d_out
    d_p = (d_out @ v.transpose(-1, -2)).to(p.dtype)
    d_scores = (p * (d_p - (d_out * out).sum(-1, keepdim=True))).to(q.dtype)
    d_products = d_scores * _factor(q, scale)
    return d_products @ k, d_products.transpose(-1, -2) @ q, d_v, d_scores.sum(0)


def _factor(q: Tensor, scale: float | None) -> float:
    return float(q.shape[-1] ** -0.5) if scale is None else scale


def _scores(q: Tensor, k: Tensor, *, causal: bool, scale: float | None, bias: Tensor | None) -> Tensor:
    scores: Tensor = (q @ k.transpose(-1, -2)) * _factor(q, scale)
    scores = scores if scores.dtype.itemsize >= 4 else scores.float()
    scores = scores if bias is None else scores + bias
    if not causal:
        return scores
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, float("-inf"))
