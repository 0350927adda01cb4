"""Three steps of plain gradient descent on one rank; prints the losses and the parameters as JSON.

python train_steps.py RANK WORLD_SIZE STORE. The whole batch is the same for every world size; a rank takes its share of it.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from hwbench.core.layout import Layout
from hwbench.core.workload import Check, Training
from hwbench.run.build import divide, training_step

BATCH, WIDTH = 8, 16


def main(rank: int, world_size: int, store: Path) -> None:
    """Train and print."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    torch.manual_seed(0)
    first = torch.nn.Linear(WIDTH, WIDTH)
    module = torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))
    if rank:
        with torch.no_grad():
            first.weight.zero_()  # the layout has to bring every rank to rank 0's weights
    torch.manual_seed(1)
    x, y = torch.randn(BATCH, WIDTH), torch.randn(BATCH, 1)
    share = slice(rank * BATCH // world_size, (rank + 1) * BATCH // world_size)
    training = Training(
        module=module,
        inputs=(x[share], y[share]),
        loss=lambda model, x, y: (model(x) - y).square().mean(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        check=lambda: Check(name="none", error=0.0, tolerance=0.0, reference="none"),
        clip_norm=0.5,
    )
    step = training_step(training, divide(module, Layout(dp=world_size), torch.device("cpu")))
    losses = torch.stack([step() for _ in range(3)])
    dist.all_reduce(losses)
    parameters = torch.cat([p.detach().flatten() for p in module.parameters()])
    print(json.dumps({"losses": (losses / world_size).tolist(), "parameters": parameters.tolist()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
