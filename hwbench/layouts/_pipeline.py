"""Pipelines carried out: a LanguageModel cut into stages, and torch.distributed.pipelining's schedules. Imports torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import (
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
)
from torch.distributed.tensor import DTensor

from hwbench.core import stages
from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.parallel import Step

from ._models import shares_tensor

_ONE_STAGE: dict[str, Any] = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}
_SEVERAL: dict[str, Any] = {"interleaved": ScheduleInterleaved1F1B, "zb": ScheduleInterleavedZeroBubble}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The ranks of a pipeline, the pieces of the model on each of its stages, which ranks have in turn, and the order of their passes."""

    ranks: DeviceMesh
    dealt: tuple[range, ...]
    schedule: str

    @property
    def stages(self) -> int:
        """How many stages the model has."""
        return len(self.dealt)

    @property
    def mine(self) -> range:
        """The stages of this rank."""
        return range(self.ranks.get_local_rank(), self.stages, self.ranks.size())


def over(ranks: DeviceMesh, step: Step, layout: Layout, schedule: str) -> Pipeline:
    """The pipeline over these ranks, its stages dealt out by what the step costs."""
    assert step.cost is not None, "a step that is cut says what it costs"
    return Pipeline(ranks=ranks, dealt=stages.dealt(step.cost, layout), schedule=schedule)


class Stage(nn.Module):
    """Consecutive pieces of a LanguageModel: its embedding on the first stage, layers, its head on the last. Names stay the model's.

    A module that is several layers fused gives those of them that are on this stage (`only`), where others are not.
    """

    def __init__(self, model: nn.Module, mine: range) -> None:
        super().__init__()
        known: Any = model
        places = _places(model)
        self.embed: Any = known.embed if 0 in mine else None
        self.layers = nn.ModuleDict()
        for name, group in groupby(places[max(0, mine.start - 1) : mine.stop - 1], key=itemgetter(0)):
            numbers, layer = [number for _, number in group], known.layers[int(name)]
            whole = len(numbers) == getattr(layer, "fused", 1)
            self.layers[name] = layer if whole else layer.only(range(numbers[0], numbers[-1] + 1))
        self.head: Any = known.head if len(places) + 1 in mine else None

    def forward(self, *state: Tensor, **rest: Tensor) -> Any:
        """Tokens (b, s), or what the stage before handed on, to what the next one gets, or the model's result.

        Tensors are sent as they lie, so that what goes on is contiguous and stands for itself, and so do gradients that go back.
        """
        given = tuple(_Contiguous.apply(x) if x.requires_grad else x for x in state)  # type: ignore[no-untyped-call]
        x: Any = given if len(given) > 1 else given[0]
        for piece in (self.embed, *self.layers.values(), self.head):
            if piece is not None:
                x = piece(x, *rest.values()) if getattr(piece, "takes_rest", False) else piece(x)
        if self.head is not None:
            return x
        return tuple(map(_sendable, x)) if isinstance(x, tuple) else _sendable(x)


def _places(model: nn.Module) -> list[tuple[str, int]]:
    """Each layer of a model: the name of the module it is in, and its number there."""
    layers: Any = model.get_submodule("layers")
    return [(str(i), number) for i, layer in enumerate(layers) for number in range(getattr(layer, "fused", 1))]


class _Contiguous(torch.autograd.Function):
    """The tensor itself, whose gradient is made contiguous: recurrent layers and transposed inputs have others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004  # torch calls it with both
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> Tensor:  # noqa: ARG004
        return dx.contiguous()


def _sendable(x: Tensor) -> Tensor:
    """The tensor contiguous and no view of another one: zero-bubble schedules cut results from their graph where they stand."""
    return x.clone(memory_format=torch.contiguous_format) if x._is_view() or not x.is_contiguous() else x


def cut(step: Step, pipeline: Pipeline) -> Step:
    """The step with this rank's stages instead of the model. Tied weights are then on two stages: their gradients are added up.

    UserError for a model of other pieces than its cost has.
    """
    (model,) = step.parts
    ends: Any = model
    counted, found = pipeline.dealt[-1].stop, len(_places(model)) + 2
    if counted != found:
        raise UserError(f"a pipeline cuts a model as its cost says, which has {counted} pieces; embedding, layers and head are {found}")
    tied = shares_tensor(ends.embed, ends.head)
    parts = tuple(Stage(model, pipeline.dealt[stage]) for stage in pipeline.mine)
    step = replace(step, parts=parts, stages=pipeline.ranks.size())
    return _settling(step, pipeline, ends) if tied else step


def _settling(step: Step, pipeline: Pipeline, model: Any) -> Step:
    """The tied weight's gradient added up over the first and the last stage; its norm counts half on each."""
    ends = _ends(pipeline.ranks)
    (name,) = (n for n, p in model.head.named_parameters() if any(p is q for q in model.embed.parameters()))
    owner = model.head.get_submodule(name.rpartition(".")[0])
    first = next(m for m in model.embed.modules() if any(p is owner.weight for p in m.parameters(recurse=False)))
    mine = {0: first, pipeline.stages - 1: owner}
    holders = [mine[stage] for stage in pipeline.mine if stage in mine]

    @torch.no_grad()
    def complete() -> None:
        for module in holders:
            gradient = module.weight.grad
            dist.all_reduce(gradient.to_local() if isinstance(gradient, DTensor) else gradient, group=ends)

    return replace(step, settle=(*step.settle, complete), spread=(*step.spread, *((module, "weight", 0.5) for module in holders)))


def _ends(ranks: DeviceMesh) -> Any:
    """The group of the first and the last rank of this rank's pipeline. Every rank of the job makes all such groups, in the same order."""
    pipelines: list[list[int]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(pipelines, ranks.mesh.tolist())
    mine = None
    for members in sorted({tuple(members) for members in pipelines}):
        group = dist.new_group([members[0], members[-1]])
        mine = group if members == tuple(ranks.mesh.tolist()) else mine
    return mine


def scheduled(step: Step, pipeline: Pipeline) -> Callable[[], Tensor]:
    """All micro-batches through the pipeline; the mean loss where the last stage is, 0 elsewhere."""
    tokens, *rest, targets = step.inputs
    shown = [x[: len(x) // step.micro_batches] for x in step.inputs[:-1]]

    def loss(output: Any, target: Tensor) -> Tensor:
        return step.loss(lambda *_: output, *shown, target)

    schedule = _schedule(step, pipeline, loss)
    first, last = 0 in pipeline.mine, pipeline.stages - 1 in pipeline.mine
    args = (tokens,) if first else ()
    named = {f"rest_{i}": x for i, x in enumerate(rest)}

    def run() -> Tensor:
        losses: list[Tensor] = []
        schedule.step(*args, target=targets if last else None, losses=losses, return_outputs=False, **named)
        return torch.stack(losses).mean().detach() if last else torch.zeros((), device=tokens.device)

    return run


def one_after_the_other(step: Step, pipeline: Pipeline) -> Callable[[], Tensor]:
    """Each micro-batch through all stages and back before the next one starts; the mean loss where the last stage is, 0 elsewhere."""
    chunks = list(zip(*(x.chunk(step.micro_batches) for x in step.inputs), strict=True))
    alone = [scheduled(replace(step, inputs=inputs, micro_batches=1), pipeline) for inputs in chunks]

    def run() -> Tensor:
        losses = [passes() for passes in alone]
        for part in step.parts:
            for p in part.parameters():
                if p.grad is not None and len(alone) > 1:
                    p.grad /= len(alone)
        return torch.stack(losses).mean()

    return run


def _schedule(step: Step, pipeline: Pipeline, loss: Callable[[Any, Tensor], Tensor]) -> Any:
    device, group = step.inputs[0].device, pipeline.ranks.get_group()
    parts = [
        PipelineStage(part, stage, pipeline.stages, device, group=group) for part, stage in zip(step.parts, pipeline.mine, strict=True)
    ]
    if pipeline.schedule in _ONE_STAGE:
        return _ONE_STAGE[pipeline.schedule](parts[0], step.micro_batches, loss_fn=loss)
    return _SEVERAL[pipeline.schedule](parts, step.micro_batches, loss_fn=loss)
