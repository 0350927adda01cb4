"""Scaled dot-product attention, by each of torch's backends and flex_attention: forward, or forward and backward.

FLOPs are counted in full, causal or not, 4·s²·d a head forward and twice that backward (docs/workloads.md); `executed_fraction` holds
what the mask leaves.
"""

import functools
from collections.abc import Callable
from typing import Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Workload

from ._count import attention, element_bytes, need_divisor, need_positive


class Config(Value):
    """The shape of an attention and the backend that does it."""

    batch: int = 2
    """Sequences."""
    heads: int = 8
    """Query heads."""
    kv_heads: int = 8
    """Key and value heads: `heads` for multi-head, fewer for grouped-query, 1 for multi-query attention."""
    seq_len: int = 512
    """Positions of a sequence."""
    head_dim: int = 64
    """Width of a head."""
    causal: bool = True
    """Whether a position sees only itself and earlier ones."""
    backend: Literal["default", "math", "flash", "efficient", "cudnn", "flex"] = "default"
    """torch's choice, one of its implementations, or flex_attention, which is compiled and has no backward pass on a CPU."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradients of queries, keys and values are computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """One attention operator; an item is one position of one sequence (a token)."""
    need_positive(config, "batch", "heads", "kv_heads", "seq_len", "head_dim")
    need_divisor(config, "kv_heads", "heads")
    e, n = element_bytes(dtype), config.batch * config.seq_len
    backward = config.passes == "forward_backward"
    operator = attention(
        config.batch, config.heads, config.kv_heads, config.seq_len, config.head_dim, e, causal=config.causal, backward=backward
    )
    kept = operator.bytes + 4.0 * n * config.heads if backward else 0.0  # Q, K, V, O and an fp32 log-sum a query
    out = e * n * config.heads * config.head_dim
    block = Block(name="attention", parameters=0, operators=(operator,), activation_bytes=kept, output_bytes=out)
    return Cost(blocks=(block,), dtype=dtype, items=n, micro_batch=config.batch)


def build(config: Config, context: Context) -> Kernel:
    """Queries, keys and values as projections make them, (batch, position, head, width), on the device.

    UnavailableError, with torch's reason, where the device has no such backend for this shape and dtype.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    from . import _sdpa, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    backward = config.passes == "forward_backward"

    def some(heads: int) -> torch.Tensor:
        return torch.randn(config.batch, config.seq_len, heads, config.head_dim, device=context.device, dtype=dtype)

    inputs = [some(heads).requires_grad_(backward) for heads in (config.heads, config.kv_heads, config.kv_heads)]
    upstream = some(config.heads)

    @functools.cache
    def flex(length: int) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor, bool], torch.Tensor]:
        return _sdpa.flex(length, context.device, causal=config.causal)

    def step(backend: str, inputs: list[torch.Tensor], upstream: torch.Tensor) -> tuple[torch.Tensor, ...]:
        grouped = config.heads != config.kv_heads
        q, k, v = (t.transpose(1, 2) for t in inputs)
        if backend == "flex":
            out = flex(q.shape[2])(q, k, v, grouped).transpose(1, 2)
            return (out, *torch.autograd.grad(out, inputs, upstream)) if backward else (out,)
        with _sdpa.only(backend):
            out = sdpa(q, k, v, is_causal=config.causal, enable_gqa=grouped).transpose(1, 2)
            return (out, *torch.autograd.grad(out, inputs, upstream)) if backward else (out,)

    def check() -> Check:
        """Output and gradients of one sequence of at most 256 positions against plain math, as relative Euclidean distances.

        Probabilities and the products' operands are rounded to the dtype about four times on the way (P, O, dS, the result), sums
        are in fp32: a few u; fp32's own sums of 256 add up to √256·u. 32u covers both.
        """
        cut = config.seq_len if config.backend == "flex" else min(config.seq_len, 256)  # another length would be compiled anew
        part, given = [t.detach()[:1, :cut] for t in inputs], upstream[:1, :cut]
        found = step(config.backend, [t.clone().requires_grad_(backward) for t in part], given)
        wanted = step("math", [_tensors.exact(t).requires_grad_(backward) for t in part], _tensors.exact(given))
        error = _tensors.relative_distance(found, wanted)
        return Check(
            name="attention", error=error, tolerance=32 * _tensors.unit_roundoff(context.dtype), reference="float64 math on the CPU"
        )

    _sdpa.try_once(lambda: step(config.backend, inputs, upstream), config.backend, context)
    return Kernel(run=lambda: step(config.backend, inputs, upstream), check=check)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
