"""Memory and cache latency by a pointer chase: the time of a load whose address is the value of the load before.

Lines lie 64 bytes apart and are linked into one random cycle, so that no prefetcher guesses the next one. For working sets beyond the reach
of the translation buffers the figure includes page walks, as it does for every program that uses memory that way.
"""

from typing import Final

from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.value import Value
from hwbench.core.workload import Block, Check, Context, Cost, Kernel, Operator, Workload

from ._count import need_positive
from ._memory import Pages, empty

LINE_BYTES: Final = 64
"""The distance of two cells: a cache line on nearly every CPU; where lines are longer (128 on POWER, 256 on s390) some loads hit."""


class Config(Value):
    """One chase."""

    working_set_bytes: int = 1 << 28
    """Memory the chase visits, all of it before any of it again."""
    hops: int = 1 << 19
    """Loads a call."""
    pages: Pages = "system"
    """system: what malloc gets; huge: transparent huge pages, with which far fewer loads need a page walk."""


def cost(config: Config, dtype: str) -> Cost:
    """A line a hop; an item is a load, so step time over items is the latency."""
    need_positive(config, "hops")
    if config.working_set_bytes < 2 * LINE_BYTES:
        raise UserError(f"working_set_bytes={config.working_set_bytes}: expected at least two lines of {LINE_BYTES} bytes")
    chase = Operator(name="chase", kind="memory", flops=0.0, bytes=float(config.hops * LINE_BYTES))
    return Cost(blocks=(Block(name="chase", parameters=0, operators=(chase,)),), dtype=dtype, items=config.hops, item_unit="load")


def build(config: Config, context: Context) -> Kernel:
    """The linked cells; each call goes on where the one before ended."""
    import numpy as np

    from . import _native

    if context.device.type != "cpu":
        raise UnavailableError(f"latency: the chase runs on CPUs, not on {context.device.type}")
    cost(config, context.dtype)
    link, chase = _native.pointer_chase()
    lines, step = config.working_set_bytes // LINE_BYTES, LINE_BYTES // 8
    cells = empty(lines * step, np.int64, config.pages)
    link(cells, lines, step, context.seed)
    here = 0

    def run() -> int:
        nonlocal here
        here = chase(cells, here, config.hops)
        return here

    def check() -> Check:
        """One cycle through all lines is back where it began after that many hops, and not before half of them."""
        wrong = float(chase(cells, 0, lines) != 0) + float(lines > 2 and chase(cells, 0, lines // 2) == 0)
        return Check(name="one cycle", error=wrong, tolerance=0.0, reference="closed form")

    return Kernel(run=run, check=check)


WORKLOAD: Final = Workload(kind="ceiling", config=Config, cost=cost, build=build)
