"""Pipelines carried out: a LanguageModel cut into stages, and torch.distributed.pipelining's schedules. Imports torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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

from hwbench.core.parallel import Step

from ._models import shares_tensor

_ONE_STAGE: dict[str, Any] = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}
_SEVERAL: dict[str, Any] = {"interleaved": ScheduleInterleaved1F1B, "zb": ScheduleInterleavedZeroBubble}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The ranks of a pipeline, how many stages the model has on them, dealt out in turn, and the order of their passes."""

    ranks: DeviceMesh
    stages: int
    schedule: str

    @property
    def mine(self) -> range:
        """The stages of this rank."""
        return range(self.ranks.get_local_rank(), self.stages, self.ranks.size())


class Stage(nn.Module):
    """Consecutive layers of a LanguageModel, with its embedding on the first stage and its head on the last; names stay the model's."""

    def __init__(self, model: nn.Module, stage: int, stages: int) -> None:
        super().__init__()
        layers: Any = model.layers
        each = len(layers) // stages
        self.embed: Any = model.embed if stage == 0 else None
        self.layers = nn.ModuleDict({str(i): layers[i] for i in range(stage * each, (stage + 1) * each)})
        self.head: Any = model.head if stage == stages - 1 else None

    def forward(self, x: Tensor, **rest: Tensor) -> Tensor:
        """Tokens (b, s) or the previous stage's (b, s, h), to (b, s, h) or what the head makes of it and of `rest`."""
        if self.embed is not None:
            x = self.embed(x)
        for layer in self.layers.values():
            x = layer(x)
        return x if self.head is None else self.head(x, *rest.values())


def cut(step: Step, pipeline: Pipeline) -> Step:
    """The step with this rank's stages instead of the model. Tied weights are then on two stages: their gradients are added up."""
    (model,) = step.parts
    ends: Any = model
    tied = shares_tensor(ends.embed, ends.head)
    step = replace(step, parts=tuple(Stage(model, stage, pipeline.stages) for stage in pipeline.mine), stages=pipeline.ranks.size())
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

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return step.loss(lambda *_: output, *shown, target)

    schedule = _schedule(step, pipeline, loss)
    first, last = 0 in pipeline.mine, pipeline.stages - 1 in pipeline.mine
    args = (tokens,) if first else ()
    named = {f"rest_{i}": x for i, x in enumerate(rest)} if last else {}

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


def _schedule(step: Step, pipeline: Pipeline, loss: Callable[[Tensor, Tensor], Tensor]) -> Any:
    device, group = step.inputs[0].device, pipeline.ranks.get_group()
    stages = [
        PipelineStage(part, stage, pipeline.stages, device, group=group) for part, stage in zip(step.parts, pipeline.mine, strict=True)
    ]
    if pipeline.schedule in _ONE_STAGE:
        return _ONE_STAGE[pipeline.schedule](stages[0], step.micro_batches, loss_fn=loss)
    return _SEVERAL[pipeline.schedule](stages, step.micro_batches, loss_fn=loss)
