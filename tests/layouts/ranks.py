"""One resident rank of the equality table: trains each case that it is given, and compares every rank's parameters with one process's.

python ranks.py RANK WORLD_SIZE STORE: cases come as JSON lines on standard input; rank 0 answers each with a JSON line.
"""

import functools
import json
import sys
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from hwbench.core import codec, registry
from hwbench.core.layout import Layout, parse_layout
from hwbench.core.parallel import Split, Step, Transfer
from hwbench.core.workload import Cost, Training, Workload
from hwbench.run import build, stepping
from tests.layouts import reference
from tests.layouts.counting import Counting


def trained(workload: str, settings: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """The errors of three steps under a layout, and what was sent in the second: of use on rank 0."""
    rank = dist.get_rank()
    training = built(workload, settings, build.data_rank(layout, rank), layout)
    undivided = build.undivided(training, cost_of(workload, settings))
    optimizer = functools.partial(torch.optim.SGD, lr=reference.RATE, momentum=reference.MOMENTUM)
    device = training.inputs[0].device
    step = build.divide(replace(undivided, optimizer=optimizer), layout, device)
    run, losses, counting = stepping.training_step(step, None), [], Counting()
    for number in range(reference.STEPS):
        if number == reference.STEPS - 1:  # by then DistributedDataParallel has agreed on its buckets
            with counting:
                losses.append(float(run()))
        else:
            losses.append(float(run()))
    factor = clip_factor(step)
    found = everywhere((losses, whole(step, layout), factor, dict(counting.sent), padding(step, layout)))
    if rank:
        return {}
    return compared(workload, settings, layout, found)


def built(workload: str, settings: dict[str, Any], data_rank: int, layout: Layout) -> Training:
    """The workload's step for one data rank."""
    chosen = registry.load("workloads", workload, Workload)
    config = codec.convert(settings, chosen.config, source=workload)
    made = chosen.build(config, reference.context(data_rank, layout.data_ranks, layout.microbatches))
    assert isinstance(made, Training)
    return made


def cost_of(workload: str, settings: dict[str, Any]) -> Cost:
    """What the step costs, undivided."""
    chosen = registry.load("workloads", workload, Workload)
    return chosen.cost(codec.convert(settings, chosen.config, source=workload), "fp32")


def clip_factor(step: Step) -> float:
    """What clipping multiplies the last step's gradients with."""
    gradient = next(p.grad for part in step.parts for p in part.parameters() if p.grad is not None and local(p.grad).norm() > 0)
    before = float(local(gradient).norm())
    stepping.clipping(step, reference.CLIP_NORM)()
    return float(local(gradient).norm()) / before


def local(x: torch.Tensor) -> torch.Tensor:
    return x.to_local() if isinstance(x, DTensor) else x


def whole(step: Step, layout: Layout) -> dict[str, torch.Tensor]:
    """This rank's parameters by the model's names, put together from shares."""
    found = {}
    for part in step.parts:
        for name, p in part.named_parameters(remove_duplicate=False):
            full = p.full_tensor().detach() if isinstance(p, DTensor) else p.detach()
            for axis, dim in plain_shares(name, layout):
                shares = [torch.empty_like(full) for _ in range(getattr(layout, axis))]
                dist.all_gather(shares, full.contiguous(), group=group_of(axis, layout))
                full = torch.cat(shares, dim)
            found[name.removeprefix("module.").replace(".given.", ".")] = full.clone()
    return found


INNER = {"experts.gate": 2, "experts.up": 2, "experts.down": 1, "shared.gate.weight": 0, "shared.up.weight": 0, "shared.down.weight": 1}
"""The dimensions of a mixture's weights along which tensor parallelism divides them."""


def plain_shares(name: str, layout: Layout) -> list[tuple[str, int]]:
    """The axes that have left a rank a share of a mixture's weight, a plain tensor, and along which dimension."""
    inner = next((dim for end, dim in INNER.items() if name.endswith(end)), None)
    shares = [("tp", inner)] if layout.tp > 1 and inner is not None else []
    return [*shares, ("ep", 0)] if layout.ep > 1 and ".experts." in name else shares


@functools.cache
def group_of(axis: str, layout: Layout) -> Any:
    ranks = torch.arange(layout.world_size).view(-1, layout.ep, layout.cp, layout.tp)
    return DeviceMesh("cpu", ranks, mesh_dim_names=("others", "ep", "cp", "tp"))[axis].get_group()


def everywhere(value: Any) -> list[Any]:
    """Every rank's value, on rank 0."""
    found = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, found)
    return list(found or [])


@functools.lru_cache(maxsize=4)
def alone(workload: str, settings: str, data_ranks: int, micro_batches: int) -> reference.Trained:
    layout = Layout(dp=data_ranks, microbatches=micro_batches)
    return reference.train(lambda where: built(workload, json.loads(settings), where.rank, layout), data_ranks, micro_batches)


def compared(workload: str, settings: dict[str, Any], layout: Layout, found: list[Any]) -> dict[str, Any]:
    """The largest errors over all ranks: of the loss, relative; of parameters, relative to how far training moved each; of clipping."""
    wanted = alone(workload, json.dumps(settings), layout.data_ranks, layout.microbatches)
    pairs = zip(*(rank[0] for rank in found), strict=True)
    losses = [sum(values) * layout.stages / len(found) for values in pairs]
    loss_error = max(abs(a - b) / abs(b) for a, b in zip(losses, wanted.losses, strict=True))
    moved = {name: float((wanted.after[name] - wanted.before[name]).abs().max()) for name in wanted.after}
    least = 1e-3 * max(moved.values())
    errors = {
        (rank, name): distance(value.view_as(wanted.after[name]), wanted.after[name]) / max(moved[name], least)
        for rank, (_, parameters, *_) in enumerate(found)
        for name, value in parameters.items()
    }
    seen = {name for _, name in errors}
    worst = max(errors, key=lambda key: errors[key])
    return {
        "loss": loss_error,
        "parameters": errors[worst],
        "worst": f"{worst[1]} of rank {worst[0]}",
        "missing": sorted(set(wanted.after) - seen),
        "clip": max(abs(rank[2] / wanted.clip_factor - 1) for rank in found),
        "sent": {kind: sum(rank[3].get(kind, 0) for rank in found) / len(found) for kind in set().union(*(rank[3] for rank in found))},
        "predicted": padded(predicted(workload, settings, layout), layout, sum(rank[4] for rank in found) / len(found)),
    }


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference beyond two units in the last place: what three updates of a number near 1 lose that each move it by little."""
    rounding = 2 * torch.finfo(wanted.dtype).eps * wanted.abs()
    return float(((found - wanted).abs() - rounding).max().clamp(min=0))


def predicted(workload: str, settings: dict[str, Any], layout: Layout) -> dict[str, float]:
    """Bytes by collective that an average rank sends in a step, as the layouts' `communication` says."""
    cost = cost_of(workload, settings)
    total: dict[str, float] = {}
    for axis in layout.axes():
        for transfer in registry.load("layouts", axis, Split).communication(cost, layout):
            sent = transfer.count * transfer.message_bytes * average(transfer, layout)
            total[transfer.collective] = total.get(transfer.collective, 0.0) + sent
    return total


def padding(step: Step, layout: Layout) -> float:
    """Bytes by which FSDP rounds up the rows of parameters that its ranks can't share evenly: `communication` knows no shapes."""
    parameters = [p for part in step.parts for p in part.parameters()]
    return float(sum(-rows(p, layout) % sharing(p) * 4 * p.shape[1:].numel() for p in parameters))


def sharing(parameter: torch.Tensor) -> int:
    """Ranks among which FSDP has sharded a parameter's rows."""
    if not isinstance(parameter, DTensor):
        return 1
    placed = dict(zip(parameter.device_mesh.mesh_dim_names or (), parameter.placements, strict=True))
    return next((parameter.device_mesh[axis].size() for axis in ("fsdp", "shards") if axis in placed and placed[axis].is_shard(0)), 1)


def rows(parameter: torch.Tensor, layout: Layout) -> int:
    """Rows of a parameter that FSDP's ranks have to share: what tensor parallelism has left of them."""
    names = (parameter.device_mesh.mesh_dim_names or ()) if isinstance(parameter, DTensor) else ()
    divided = isinstance(parameter, DTensor) and "tp" in names and parameter.placements[names.index("tp")].is_shard(0)
    return parameter.shape[0] // (layout.tp if divided else 1)


def padded(sizes: dict[str, float], layout: Layout, more: float) -> dict[str, float]:
    """Bytes with a padding that goes wherever weights do."""
    kept = layout.pp > 1
    times = {"all_gather": 2 if layout.reshard and not kept else 1, "reduce_scatter": 1}
    return {kind: size + more * times.get(kind, 0) * (1 if kept else layout.microbatches) for kind, size in sizes.items()}


def average(transfer: Transfer, layout: Layout) -> float:
    """An average rank's share of what the busiest one of a pipeline sends: the last stage sends nothing on, the first nothing back."""
    if transfer.axis not in ("pp", "place"):
        return 1.0
    stages = layout.stages * layout.vpp
    return (stages - 1) / stages if transfer.collective == "send_recv" else transfer.ranks / layout.stages


def main(rank: int, world_size: int, store: str) -> None:
    """Answer cases until there are no more."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    for line in sys.stdin:
        case = json.loads(line)
        answer = trained(case["workload"], case["settings"], parse_layout(case["layout"]))
        if rank == 0:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
