"""Embedding bags: sums or means of a table's rows by id (recommenders, bags of words), and the table's gradient, dense or sparse."""

from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.value import Value
from hwbench.core.workload import Block, Context, Cost, Kernel, Workload

from ._count import INDEX_BYTES, bag_lookup, element_bytes, need_positive

if TYPE_CHECKING:
    from torch import nn


class Config(Value):
    """A table and the bags of ids looked up in it."""

    vocabulary: int = 50_257
    """Rows of the table."""
    dim: int = 128
    """Width of a row."""
    bags: int = 1024
    """Results a step."""
    bag_size: int = 32
    """Ids of a bag."""
    mode: Literal["sum", "mean"] = "sum"
    """What is made of a bag's rows."""
    distribution: Literal["uniform", "zipf"] = "uniform"
    """How ids are drawn; zipf gives id i a probability in proportion to 1/(i + 1)."""
    gradient: Literal["dense", "sparse"] = "dense"
    """dense: a gradient as large as the table; sparse: a row for each id that occurred, repetitions apart."""
    passes: Literal["forward", "forward_backward"] = "forward_backward"
    """Whether the gradient of the table is computed too."""


def cost(config: Config, dtype: str) -> Cost:
    """Ids and rows in, results out; backward the results' gradients in and the table's gradient out. An item is a bag."""
    need_positive(config, "vocabulary", "dim", "bags", "bag_size")
    e, backward = element_bytes(dtype), config.passes == "forward_backward"
    operator = bag_lookup(config.bags, config.bag_size, config.vocabulary, config.dim, e, gradient=config.gradient if backward else "none")
    block = Block(
        name="embedding_bag",
        parameters=config.vocabulary * config.dim,
        operators=(operator,),
        activation_bytes=INDEX_BYTES * config.bags * config.bag_size if backward else 0.0,
        output_bytes=e * config.bags * config.dim,
    )
    return Cost(blocks=(block,), dtype=dtype, items=config.bags, item_unit="bag")


def module(config: Config) -> "nn.Module":
    """torch's own: int64 ids (bags, bag_size) to (bags, dim)."""
    from torch import nn

    return nn.EmbeddingBag(config.vocabulary, config.dim, mode=config.mode, sparse=config.gradient == "sparse")


def build(config: Config, context: Context) -> Kernel:
    """A table of normal numbers, ids and a gradient of the results, on the device.

    A bag adds `bag_size` rows of random signs and a row of the gradient those of its occurrences; the roundings of such a sum walk to
    about u of the sum of magnitudes, √c times u of the sum itself: 16u·√bag_size. Checked on 64 bags.
    """
    import torch

    from . import _kernels, _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    with torch.device(context.device):
        made = module(config).to(dtype)
        upstream = torch.randn(config.bags, config.dim, dtype=dtype)
    ids = _tensors.token_ids((config.bags, config.bag_size), config.vocabulary, config.distribution, context.device)
    return _kernels.of_module(
        "embedding_bag",
        context,
        made,
        [ids],
        upstream,
        flops=0.0,
        backward=config.passes == "forward_backward",
        part=_kernels.first_rows,
        roundings=16 * config.bag_size**0.5,
    )


WORKLOAD: Final = Workload(kind="kernel", config=Config, cost=cost, build=build)
