"""Embedding lookup: rows of a table by token id, and the gradient of the table, dense or sparse.

It does no arithmetic worth counting: the figure is bytes per second. Uniform ids touch the whole table; Zipf ids are what text does, where
caches hold the frequent words.
"""

from typing import Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Workload

from ._count import element_bytes, lookup, need_positive


class Config(Value):
    """A table and the tokens looked up in it."""

    vocabulary: int = 50_257
    """Rows of the table."""
    dim: int = 768
    """Width of a row."""
    tokens: int = 8192
    """Lookups a step."""
    distribution: Literal["uniform", "zipf"] = "uniform"
    """How ids are drawn; zipf gives id i a probability in proportion to 1/(i + 1)."""
    gradient: Literal["dense", "sparse"] = "dense"
    """dense: a gradient as large as the table; sparse: a row for each token, repetitions apart."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradient of the table is computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """Rows read and written; backward reads the rows' gradient and writes the whole table's, or those rows again with their ids."""
    need_positive(config, "vocabulary", "dim", "tokens")
    e = element_bytes(dtype)
    backward = config.passes == "forward_backward"
    operator = lookup(config.tokens, config.vocabulary, config.dim, e, backward=backward, sparse=config.gradient == "sparse")
    table = Block(
        name="embedding", parameters=config.vocabulary * config.dim, operators=(operator,), output_bytes=config.tokens * config.dim * e
    )
    return Cost(blocks=(table,), dtype=dtype, items=config.tokens)


def build(config: Config, context: Context) -> Kernel:
    """The table, the ids and a gradient of the rows, on the device."""
    import torch
    from torch.nn.functional import embedding

    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    backward = config.passes == "forward_backward"
    table = torch.randn(config.vocabulary, config.dim, device=context.device, dtype=dtype, requires_grad=backward)
    ids = _tensors.token_ids((config.tokens,), config.vocabulary, config.distribution, context.device)
    upstream = torch.randn(config.tokens, config.dim, device=context.device, dtype=dtype)

    def run() -> tuple[torch.Tensor, ...]:
        rows = embedding(ids, table, sparse=config.gradient == "sparse")
        return (rows, *torch.autograd.grad(rows, table, upstream)) if backward else (rows,)

    def check() -> Check:
        """Forward copies, so it is exact. A row of the gradient adds the gradients of its c occurrences. They have random signs: the k-th
        partial sum is about √k and its rounding √k·u, so that c roundings walk to √(Σk)·u ≈ 0.7c·u; relative to the sum of
        magnitudes, 0.8c, that is about u whatever c is. 16u is allowed for the worst of many elements. Eight columns are looked at.
        """
        rows, *gradients = run()
        copied = torch.equal(rows, table.detach()[ids])
        if not (copied and gradients):
            return Check(name="embedding", error=0.0 if copied else float("inf"), tolerance=0.0, reference="the table's own rows")
        columns = _tensors.spread(config.dim, 8)
        where, given = ids.cpu(), _tensors.exact(upstream[:, columns])
        wanted, magnitude = (torch.zeros(config.vocabulary, len(columns), dtype=torch.float64) for _ in range(2))
        wanted.index_add_(0, where, given)
        magnitude.index_add_(0, where, given.abs())
        error = (_tensors.exact(gradients[0].to_dense()[:, columns]) - wanted).abs() / magnitude.clamp_min(1e-300)
        tolerance = 16 * _tensors.unit_roundoff(context.dtype)
        return Check(name="embedding", error=float(error.max()), tolerance=tolerance, reference="float64 on the CPU")

    return Kernel(run=run, check=check)


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
