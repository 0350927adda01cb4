"""A training step on one process, written down plainly: what every layout is compared with. Imports torch and none of hwbench.run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hwbench.core.workload import Context, Training

STEPS, RATE, MOMENTUM = 3, 0.1, 0.9
CLIP_NORM = 0.05
"""Below what any of the models' gradients have, so that clipping does something."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training left behind."""

    losses: list[float]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    clip_factor: float


def train(build: Callable[[Context], Training], data_ranks: int, micro_batches: int) -> Trained:
    """Three steps of SGD with momentum over all data ranks' samples: micro-batch j is that of every data rank, joined."""
    contexts = [context(rank, data_ranks, micro_batches) for rank in range(data_ranks)]
    training = build(contexts[0])
    batches = [built.inputs for built in (training, *(build(one) for one in contexts[1:]))]
    chunked = [[x.chunk(training.accumulation) for x in inputs] for inputs in batches]
    joined = [
        tuple(torch.cat([inputs[i][j] for inputs in chunked]) for i in range(len(training.inputs))) for j in range(training.accumulation)
    ]
    module, losses = training.module, []
    before = copied(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=MOMENTUM)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = 0.0
        for inputs in joined:
            value: Any = training.loss(module, *inputs) / len(joined)
            value.backward()
            loss += float(value.detach())
        optimizer.step()
        losses.append(loss)
    norm = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
    return Trained(losses=losses, before=before, after=copied(module), clip_factor=float(CLIP_NORM / (norm + 1e-6)))


def context(rank: int, data_ranks: int, micro_batches: int) -> Context:
    """Where a data rank's step is built."""
    return Context(device=torch.device("cpu"), dtype="fp32", rank=rank, world_size=data_ranks, micro_batches=micro_batches)


def copied(module: torch.nn.Module) -> dict[str, Tensor]:
    """All parameters by name, tied ones under each of their names."""
    return {name: p.detach().clone() for name, p in module.named_parameters(remove_duplicate=False)}
