"""Which tokens and targets a rank has that has a share of every sequence, and what its loss counts for. Imports torch.

The gradients of such ranks are averaged, and so are their losses. Where targets stand at every position, all ranks have as many; elsewhere
a rank's mean is weighted by how many of all targets it has.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwbench.core.parallel import Step

_ELSEWHERE = -1
"""Stands in a rank's targets for those that other ranks have."""


def along(step: Step) -> tuple[Tensor, ...]:
    """The inputs whose second dimension is that of positions: all, or where few are predicted the tokens alone."""
    return step.inputs if step.predicted == "all" else step.inputs[:1]


def shared(step: Step, held: Mapping[int, tuple[Tensor, int]], ranks: int) -> Step:
    """The step with this rank's share of every sequence, and the targets that stand there; batches that are renewed too.

    `held` has, by the length of a share, its positions, int64, and the length of the whole.
    """
    whole, renew = step.inputs, step.renew
    inputs = _share(step, held, ranks)

    def renewed() -> None:
        assert renew is not None
        renew()
        for mine, new in zip(inputs, _share(replace(step, inputs=whole), held, ranks), strict=True):
            mine.copy_(new)

    return replace(step, inputs=inputs, loss=_counted(step, held, ranks), renew=renewed if renew else None)


def _share(step: Step, held: Mapping[int, tuple[Tensor, int]], ranks: int) -> tuple[Tensor, ...]:
    mine = tuple(x.index_select(1, held[x.shape[1] // ranks][0]) for x in along(step))
    if step.predicted != "given":
        return (*mine, *step.inputs[len(mine) :])
    _, positions, targets = step.inputs
    here, _ = held[mine[0].shape[1]]
    return (*mine, positions, targets.where(torch.isin(positions, here), _ELSEWHERE))


def _counted(step: Step, held: Mapping[int, tuple[Tensor, int]], ranks: int) -> Callable[..., Tensor]:
    """The loss of this rank's targets, of which the mean over ranks is that of all."""
    loss = step.loss
    if step.predicted == "all":
        return loss
    if step.predicted == "given":
        return _by_count(loss, ranks)
    here, length = held[step.inputs[0].shape[1] // ranks]
    position = 0 if step.predicted == "first" else length - 1
    weight = float(ranks) if bool((here == position).any()) else 0.0
    return lambda *given: loss(*given) * weight


def _by_count(loss: Callable[..., Tensor], ranks: int) -> Callable[..., Tensor]:
    """The loss of a rank's own targets, times their number over an equal share of all. Where there are none one stands in, of no weight."""

    def weighted(module: nn.Module, *inputs: Any) -> Tensor:
        *given, targets = inputs
        mine = targets[targets != _ELSEWHERE]
        value: Tensor = loss(module, *given, mine if len(mine) else targets.new_zeros(1)) * (ranks * len(mine) / targets.numel())
        return value

    return weighted
