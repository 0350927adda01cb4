"""Pipeline parallel: consecutive layers on different ranks; micro-batches flow through them one behind the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwbench.core.parallel import Split, Transfer

from ._volumes import boundary_bytes

if TYPE_CHECKING:
    from hwbench.core.layout import Layout
    from hwbench.core.workload import Cost


def communication(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """A send and a receive of the block's output for each micro-batch, its gradient on the way back, `vpp` times under interleaving.

    Nothing hides them here (Narayanan et al. 2021, arXiv:2104.04473, section 4.1). The message is the largest output of a block that
    repeats: the layers, at whose borders a pipeline is cut.
    """
    if layout.pp == 1:
        return ()
    size = max((boundary_bytes(block, layout) for block in cost.blocks if block.count > 1), default=0.0)
    count = float(layout.microbatches * layout.vpp)
    forward = Transfer(
        collective="send_recv", axis="pp", ranks=layout.pp, message_bytes=size, count=count, why="activations to the next stage"
    )
    backward = Transfer(
        collective="send_recv", axis="pp", ranks=layout.pp, message_bytes=size, count=count, why="their gradients to the previous stage"
    )
    return (forward, backward) if cost.training else (forward,)


LAYOUT: Final = Split(communication=communication)
