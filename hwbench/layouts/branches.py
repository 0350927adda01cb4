"""Operator parallel: independent products of one input (queries and keys, gate and up) at once on different ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hwbench.core.parallel import Split, Step, Transfer

from ._volumes import element_bytes, passes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.layout import Layout
    from hwbench.core.workload import Block, Cost, Operator

MOST = 2
"""Ranks that every group of independent products can keep busy: gate and up are two."""


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """A broadcast of each branch's result from the rank that computed it; backward an all_reduce of the gradient of their common input."""
    if layout.branches == 1:
        return ()
    return tuple(transfer for block in cost.blocks for transfer in _block(block, cost, layout))


def _block(block: Block, cost: Cost, layout: Layout) -> Iterator[Transfer]:
    products = [op for op in block.operators if op.division == "column" and op.kind == "matmul"]
    results = sum(_elements(op, op.n) for op in products)
    inputs = sum(_elements(op, op.k) for op in products if not op.name.endswith("up"))  # gate and up have one
    for what, size, direction in (("results", results, "forward"), ("gradients of the input", inputs, "backward")):
        if size and (cost.training or direction == "forward"):
            yield Transfer(
                collective="broadcast" if direction == "forward" else "all_reduce",
                axis="branches",
                ranks=layout.branches,
                message_bytes=size * element_bytes(cost),
                count=passes(block, cost, layout),
                during="forward" if direction == "forward" else "backward",
                why=f"{what} of {block.name}'s branches",
            )


def _elements(product: Operator, width: int | None) -> float:
    return float((product.m or 0) * (width or 0))


def split(step: Step, mesh: DeviceMesh, layout: Layout) -> Step:  # noqa: ARG001  # every layout has these arguments
    """Each rank keeps the weights of its own branches, computes them, and gets the others' results."""
    from ._branching import branched

    return branched(step, mesh["branches"])


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:  # noqa: ARG001  # every layout has these arguments
    """Models whose products all wait for each other, and more ranks than there are branches."""
    if "kv_heads" not in config:
        return "it has no independent products of one input: queries, keys and values are one product, and its MLP is up and down"
    if layout.branches > MOST:
        return f"gate and up, queries and keys with values: {MOST} branches of about the same size, not {layout.branches}"
    others = [axis for axis in ("dp", "fsdp", "tp", "pp", "cp", "ep", "place") if getattr(layout, axis) > 1]
    if others:
        return f"branches beside {others[0]} would leave ranks with different parameters, which {others[0]} takes to be alike"
    return ""


LAYOUT: Final = Split(communication=communication, split=split, refusal=refusal)
