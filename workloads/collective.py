"""Collectives over message sizes: all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, send_recv.

`message_bytes` is what nccl-tests calls the size: the whole buffer of all_reduce and broadcast, the gathered buffer of all_gather, the
input of reduce_scatter, one rank's send buffer of all_to_all, the message of send_recv. algbw = size / time; busbw = algbw times the
factor of `hwbench.analyse.collectives`. Needs a layout of at least two ranks.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from hwbench.core.errors import UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import element_bytes, need_positive

if TYPE_CHECKING:
    import torch


class Config(Value):
    """One collective at one size."""

    collective: Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv"] = "all_reduce"
    """send_recv passes a message to the next rank and takes one from the rank before."""
    message_bytes: int = 1 << 24
    """Size of the message, rounded down to whole elements for every rank."""


def cost(config: Config, dtype: str) -> Cost:
    """One message a call; what the network really carries depends on the algorithm, so only the message is counted."""
    need_positive(config, "message_bytes")
    if config.message_bytes < element_bytes(dtype):
        raise UserError(f"message_bytes={config.message_bytes}: less than one element of {dtype}")
    message = Operator(name=config.collective, kind="memory", flops=0.0, bytes=float(config.message_bytes))
    block = Block(name=config.collective, parameters=0, operators=(message,))
    return Cost(blocks=(block,), dtype=dtype, items=config.message_bytes, item_unit="byte")


def build(config: Config, context: Context) -> Kernel:
    """The buffers on the device; the default process group spans the ranks."""
    from . import _tensors

    dtype = _tensors.begin(context)
    cost(config, context.dtype)
    if context.world_size < 2:
        raise UserError("collective: one rank has nobody to talk to", hint="choose a layout of two ranks or more, such as --layout dp=2")
    ranks = context.world_size
    elements = max(1, int(config.message_bytes // element_bytes(context.dtype)) // ranks) * ranks
    call, result, expected = _operation(config.collective, elements, ranks, context.rank, dtype, context.device)

    def check() -> Check:
        """Every rank fills its message with its number, small enough to be exact in every dtype."""
        call()
        wrong = float((result.float() - expected.float()).abs().max())
        return Check(name=config.collective, error=wrong, tolerance=0.0, reference="closed form")

    return Kernel(run=call, check=check)


def _operation(
    name: str, elements: int, ranks: int, rank: int, dtype: "torch.dtype", device: "torch.device"
) -> "tuple[Callable[[], object], torch.Tensor, torch.Tensor]":
    """(call, the tensor that holds its result, what it must then hold)."""
    import torch
    import torch.distributed as dist

    def full(size: int, value: float) -> torch.Tensor:
        return torch.full((size,), value, dtype=dtype, device=device)

    part = elements // ranks
    numbers = torch.arange(ranks, dtype=dtype, device=device)
    out = full(elements, 0)
    if name == "all_reduce":  # the largest, not the sum: repeated calls in place must not grow
        mine = full(elements, rank)
        return lambda: dist.all_reduce(mine, op=dist.ReduceOp.MAX), mine, full(elements, ranks - 1)
    if name == "all_gather":
        mine = full(part, rank)
        return lambda: dist.all_gather_into_tensor(out, mine), out, numbers.repeat_interleave(part)
    if name == "reduce_scatter":
        mine, out = full(elements, rank), full(part, 0)
        return lambda: dist.reduce_scatter_tensor(out, mine), out, full(part, ranks * (ranks - 1) / 2)
    if name == "all_to_all":
        mine = full(elements, rank)
        return lambda: dist.all_to_all_single(out, mine), out, numbers.repeat_interleave(part)
    if name == "broadcast":
        mine = full(elements, rank)
        return lambda: dist.broadcast(mine, src=0), mine, full(elements, 0)
    mine = full(elements, rank)
    exchange = [dist.P2POp(dist.isend, mine, (rank + 1) % ranks), dist.P2POp(dist.irecv, out, (rank - 1) % ranks)]

    def send_recv() -> None:
        for request in dist.batch_isend_irecv(exchange):
            request.wait()

    return send_recv, out, full(elements, (rank - 1) % ranks)


WORKLOAD: Final = Workload(kind="collective", config=Config, cost=cost, build=build)
