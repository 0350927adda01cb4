"""Attention of one new token over a long KV cache, as in decoding: it reads the cache, so its figure is bytes per second. Forward only."""

from typing import Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, need_divisor, need_positive


class Config(Value):
    """The sequences that are decoded and their cache."""

    batch: int = 4
    """Sequences decoded at once."""
    heads: int = 16
    """Query heads."""
    kv_heads: int = 4
    """Key and value heads: `heads` for multi-head, fewer for grouped-query, 1 for multi-query attention."""
    cache_len: int = 2048
    """Positions in the cache, the new one included."""
    head_dim: int = 64
    """Width of a head."""
    backend: Literal["default", "math", "flash", "efficient", "cudnn"] = "default"
    """torch's choice, or one of its implementations."""


def cost(config: Config, dtype: str) -> Cost:
    """Two products of a query with the cache, 4·L·d a head; keys and values are read once for all heads of a group. An item is a token."""
    need_positive(config, "batch", "heads", "kv_heads", "cache_len", "head_dim")
    need_divisor(config, "kv_heads", "heads")
    e, per_position = element_bytes(dtype), config.batch * config.head_dim
    size = e * per_position * (2 * config.heads + 2 * config.kv_heads * config.cache_len)
    operator = Operator(
        name="attention",
        kind="attention",
        flops=4.0 * per_position * config.heads * config.cache_len,
        bytes=size,
        m=1,
        n=config.cache_len,
        k=config.head_dim,
        batch=config.batch * config.heads,
        division="heads",
        function="decode_attention",
    )
    block = Block(name="attention", parameters=0, operators=(operator,), output_bytes=e * per_position * config.heads)
    return Cost(blocks=(block,), dtype=dtype, items=config.batch, micro_batch=config.batch)


def build(config: Config, context: Context) -> Kernel:
    """One query a sequence and a cache of normal numbers, (batch, head, position, width), on the device.

    UnavailableError, with torch's reason, where the device has no such backend for this shape and dtype.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    from . import _sdpa, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)

    def some(heads: int, length: int) -> torch.Tensor:
        return torch.randn(config.batch, heads, length, config.head_dim, device=context.device, dtype=dtype)

    q, k, v = some(config.heads, 1), some(config.kv_heads, config.cache_len), some(config.kv_heads, config.cache_len)
    grouped = config.heads != config.kv_heads

    def run() -> torch.Tensor:
        with _sdpa.only(config.backend):
            return sdpa(q, k, v, enable_gqa=grouped)

    def check() -> Check:
        """All of it against softmax(qKᵀ/√d)V. Probabilities are rounded to the dtype, sums are in fp32: 32u as for `attention`."""
        wide = [_tensors.exact(t) for t in (q, k, v)]
        keys, values = (t.repeat_interleave(config.heads // config.kv_heads, 1) for t in wide[1:])
        wanted = torch.softmax(wide[0] @ keys.transpose(2, 3) / config.head_dim**0.5, -1) @ values
        error = _tensors.relative_distance([run()], [wanted])
        tolerance = 32 * _tensors.unit_roundoff(context.dtype)
        return Check(name="decode_attention", error=error, tolerance=tolerance, reference="float64 formula on the CPU")

    _sdpa.try_once(run, config.backend, context)
    return Kernel(run=run, check=check)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
