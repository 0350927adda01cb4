"""Context parallel: each rank has a share of every sequence; keys and values travel round a ring while attention is computed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

from ._models import attends, indivisible, is_recurrent, translates
from ._replicas import averaged
from ._volumes import element_bytes, expert_bytes, passes, routing_means, stage_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """cp - 1 sends of a rank's keys and values a block and pass, hidden behind that pass, and the average of the gradients over cp.

    Backward their gradients go round too, and one hop further: home (Liu et al. 2023, arXiv:2310.01889). With dp > 1 the gradients are
    averaged over dp·cp ranks at once, which dp counts.
    """
    if layout.cp == 1:
        return ()
    rings = tuple(t for block in cost.blocks if attends(block) for t in _ring(block, cost, layout))
    return rings if layout.dp > 1 else rings + _gradients(cost, layout) + routing_means(cost, layout, "cp")


def _ring(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    size = _keys_and_values_bytes(block, cost) / (layout.cp * layout.tp)
    yield _hops(block, cost, layout, size, "forward", layout.cp - 1)
    if cost.training:
        yield _hops(block, cost, layout, size, "backward", 2 * layout.cp - 1)


def _hops(block: Block, cost: Cost, layout: Layout, size: float, direction: Any, hops: int) -> Transfer:
    return Transfer(
        collective="send_recv",
        axis="cp",
        ranks=layout.cp,
        message_bytes=size,
        count=hops * passes(block, cost, layout),
        overlaps=direction,
        during=direction,
        why=f"keys and values of {block.name}, {direction} pass",
    )


def _keys_and_values_bytes(block: Block, cost: Cost) -> float:
    """Attention reads queries, keys and values and writes as much as it reads of queries, each once."""
    attention = next(op for op in block.operators if op.kind == "attention")
    queries = element_bytes(cost) * attention.batch * (attention.m or 0) * (attention.k or 0)
    return attention.bytes - 2 * queries


def _gradients(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """Every rank of the ring has the same weights and other tokens, so their gradients are averaged like those of data parallel ranks."""
    if not cost.training:
        return ()
    size = (stage_bytes(cost, layout) + expert_bytes(cost, layout)) / layout.fsdp
    why = "gradients, of which each rank saw a share of the sequence"
    return (Transfer(collective="all_reduce", axis="cp", ranks=layout.cp, message_bytes=size, count=1, overlaps="backward", why=why),)


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """Each rank keeps its chunks of every sequence; attention goes round the ring, and modules are told where their tokens stand."""
    from ._ring import places, ring_attention

    cp = mesh["cp"]
    length = step.inputs[0].shape[1]
    here = places(cp.get_local_rank(), cp.size(), length, step.inputs[0].device)
    attend = partial(ring_attention, cp.get_group())
    modules: list[Any] = [m for part in step.parts for m in part.modules()]
    for module in modules:
        if hasattr(module, "attend"):
            module.attend = attend
        if hasattr(module, "held"):
            module.held = (here, length)
    whole, renew = step.inputs, step.renew
    mine = tuple(x.index_select(1, here) for x in whole)

    def renewed() -> None:
        if renew is not None:
            renew()
            for share, x in zip(mine, whole, strict=True):
                share.copy_(x.index_select(1, here))

    step = replace(step, inputs=mine, renew=renewed if renew is not None else None)
    return step if layout.dp > 1 or layout.fsdp > 1 else averaged(step, mesh, layout)


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """What has no sequence that can be shared out."""
    if is_recurrent(cost):
        return "each step of a recurrent layer needs the one before: a sequence can't be shared out"
    if not any(attends(block) for block in cost.blocks):
        return "there is no attention whose sequence could be shared out"
    if translates(config):
        return "source and target are two sequences, and the ring carries the keys of one"
    if "masked_fraction" in config:
        return "the masked positions are drawn over the whole sequence, so that shares of it have different numbers of them to predict"
    if config.get("dropout"):
        return f"dropout={config['dropout']}: the ring's attention has none"
    if uneven := indivisible(config, 2 * layout.cp, "seq_len"):
        return f"cp={layout.cp} cuts a sequence into {2 * layout.cp} chunks, which do not divide {uneven}"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
