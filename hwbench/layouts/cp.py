"""Context parallel: each rank has a share of every sequence; keys and values travel round a ring while attention is computed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

from ._models import attends, indivisible, is_recurrent
from ._replicas import averaged
from ._volumes import element_bytes, expert_bytes, passes, routing_means, stage_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost, Operator


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """cp - 1 sends of a rank's keys and values an attention and pass, hidden behind that pass, and the average of the gradients over cp.

    Backward their gradients go round too, and one hop further: home (Liu et al. 2023, arXiv:2310.01889). With dp > 1 the gradients are
    averaged over dp·cp ranks at once, which dp counts.
    """
    if layout.cp == 1:
        return ()
    rings = tuple(t for block in cost.blocks for op in block.operators if op.kind == "attention" for t in _ring(op, block, cost, layout))
    return rings if layout.dp > 1 else rings + _gradients(cost, layout) + routing_means(cost, layout, "cp")


def _ring(attention: Operator, block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    size = _keys_and_values_bytes(attention, cost) / (layout.cp * layout.tp)
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


def _keys_and_values_bytes(attention: Operator, cost: Cost) -> float:
    """Attention reads queries, keys and values and writes as much as it reads of queries, each once."""
    queries = element_bytes(cost) * attention.batch * (attention.m or 0) * (attention.k or 0)
    return attention.bytes - 2 * queries


def _gradients(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """Every rank of the ring has the same weights and other tokens, so their gradients are averaged like those of data parallel ranks."""
    if not cost.training:
        return ()
    size = stage_bytes(cost, layout) / layout.fsdp + expert_bytes(cost, layout) / layout.expert_shards
    why = "gradients, of which each rank saw a share of the sequence"
    return (Transfer(collective="all_reduce", axis="cp", ranks=layout.cp, message_bytes=size, count=1, overlaps="backward", why=why),)


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:
    """Each rank keeps its chunks of every sequence; attention goes round the ring, and modules are told where their tokens stand.

    Source and target of a model that has both are cut apart: the keys of its attention to the source go round as any others do.
    """
    from ._predicted import along, shared
    from ._ring import places, ring_attention

    cp = mesh["cp"]
    lengths = {x.shape[1] for x in along(step)}
    held = {n // cp.size(): (places(cp.get_local_rank(), cp.size(), n, step.inputs[0].device), n) for n in lengths}
    modules: list[Any] = [m for part in step.parts for m in part.modules()]
    for module in modules:
        if hasattr(module, "attend"):
            module.attend = partial(ring_attention, cp.get_group(), scale=getattr(module, "score_scale", None))
        if hasattr(module, "held"):
            module.held = held
    step = shared(step, held, cp.size())
    return step if layout.dp > 1 or layout.fsdp > 1 else averaged(step, mesh, layout)


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """What has no sequence that can be shared out."""
    if is_recurrent(cost):
        return "each step of a recurrent layer needs the one before: a sequence can't be shared out"
    if not any(attends(block) for block in cost.blocks):
        return "there is no attention whose sequence could be shared out"
    if config.get("dropout"):
        return f"dropout={config['dropout']}: the ring's attention has none"
    if uneven := indivisible(config, 2 * layout.cp, "seq_len", "source_len", "target_len"):
        return f"cp={layout.cp} cuts a sequence into {2 * layout.cp} chunks, which do not divide {uneven}"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
