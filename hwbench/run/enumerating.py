"""Every layout of so many ranks that is worth a measurement: all ways to share the ranks among axes, and each axis' own choices. Pure."""

from collections.abc import Iterator

from msgspec.structs import replace

from hwbench.core import registry
from hwbench.core.errors import UserError
from hwbench.core.layout import Layout

_DEGREES = ("dp", "fsdp", "tp", "pp", "cp")
_MICROBATCHES_A_STAGE = 2
"""Micro-batches of a pipeline a stage: enough to fill it, few enough that every rank's batch can be divided so."""


def enumerated(world_size: int) -> tuple[Layout, ...]:
    """Layouts of exactly so many ranks, over the axes that are installed; which of them a workload can run under is not asked here."""
    known = registry.names("layouts")
    axes = [axis for axis in _DEGREES if axis in known]
    if world_size == 1:
        return ()
    found = [layout for plain in _shared(world_size, axes, Layout()) for layout in _choices(plain, set(known))]
    return tuple(layout for layout in dict.fromkeys(found) if layout.world_size == world_size)


def _shared(ranks: int, axes: list[str], layout: Layout) -> Iterator[Layout]:
    """All ways to make `ranks` the product of these axes' degrees."""
    if not axes:
        if ranks == 1:
            yield layout
        return
    for degree in range(1, ranks + 1):
        if ranks % degree == 0:
            yield from _shared(ranks // degree, axes[1:], replace(layout, **{axes[0]: degree}))


def _choices(layout: Layout, known: set[str]) -> Iterator[Layout]:
    """A layout and what else its axes offer: schedules of a pipeline, sequence parallelism, a divided optimizer, experts on data ranks."""
    if layout.pp > 1:
        layout = replace(layout, microbatches=_MICROBATCHES_A_STAGE * layout.pp)
    yield layout
    if layout.pp == layout.world_size > 1:
        yield replace(layout, schedule="gpipe")
        yield replace(layout, schedule="interleaved", vpp=2)
        yield replace(layout, schedule="zb")
    if layout.tp > 1:
        yield replace(layout, sp=True)
    if layout.dp == layout.world_size and "zero" in known:
        yield replace(layout, zero=1)
    if layout.fsdp == layout.world_size:
        yield replace(layout, reshard=False)
    if "ep" in known:
        for experts in range(2, layout.data_ranks + 1):
            try:
                yield replace(layout, ep=experts)
            except UserError:
                continue  # does not divide the data ranks
