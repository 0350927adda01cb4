"""One training step: compute, pipeline, communication and optimizer put together, as parts that add up.

    step = compute of the slowest stage · micro-batches + bubble + exposed communication + optimizer

Replicas work at the same time, so a step takes as long as one of them; what its collectives cannot hide is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.parallel import Transfer
from hwbench.core.prediction import Part, Prediction
from hwbench.core.profile import ClusterProfile
from hwbench.core.stages import dealt
from hwbench.core.workload import Block, Cost, Operator

from .communication import reach, transfer_time_s
from .compute import pass_time_s, peak_flops_per_s
from .memory import Recompute, kept_parameters, rank_memory
from .pipeline import bubble_slots


class Passes(NamedTuple):
    """Seconds of the forward and the backward pass, and of what recomputation repeats of the forward."""

    forward_s: float = 0.0
    backward_s: float = 0.0
    again_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All passes together."""
        return self.forward_s + self.backward_s + self.again_s

    def plus(self, other: Passes, times: float) -> Passes:
        """These passes and `times` the other ones."""
        return Passes(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


def predict_step(
    cost: Cost,
    layout: Layout,
    profile: ClusterProfile,
    *,
    transfers: tuple[Transfer, ...],
    micro_batches: int,
    recompute: Recompute = "none",
    framework: str | None = None,
) -> Prediction:
    """The predicted step of one model under one layout on one cluster.

    `cost` is what one data rank does, undivided, and it does it `micro_batches` times, each time as many micro-batches as `cost`
    accumulates. `transfers` is what one rank sends in a whole step, from the layouts' `communication`. UserError names a number that the
    profile lacks, or says that the model has fewer pieces than the pipeline has stages.
    """
    if micro_batches < 1:
        raise UserError(f"micro_batches={micro_batches}: expected a whole number of at least 1")
    stage, average = _stage_passes(cost, layout, profile, recompute)
    count = micro_batches * cost.accumulation
    compute = count * stage.total_s
    bubble = bubble_slots(layout) * average.total_s
    exposed = _exposed(transfers, layout, profile, count, stage)
    optimizer = _optimizer_s(cost, layout, profile)
    parts = _parts(count, stage, layout, bubble, exposed, optimizer)
    step = compute + bubble + sum(seconds for _, seconds in exposed) + optimizer
    flops = cost.flops * micro_batches * layout.data_ranks
    memory = rank_memory(cost, layout, micro_batches=count, recompute=recompute, process_bytes=profile.efficiency.process_bytes)
    return Prediction(
        layout=layout.text,
        step_time_s=step,
        parts=parts,
        low_s=None,
        high_s=None,
        basis=_basis(profile),
        memory=memory,
        memory_capacity_bytes=profile.accelerator.memory_bytes,
        flops_per_step=flops,
        tokens_per_step=cost.items * micro_batches * layout.data_ranks,
        mfu_fraction=flops / step / (peak_flops_per_s(profile, cost.dtype) * layout.world_size) if step > 0 else None,
        bottleneck=_bottleneck(parts, step),
        assumptions=_assumptions(profile, layout, recompute, framework),
    )


def rank_work_s(
    cost: Cost, layout: Layout, profile: ClusterProfile, transfers: tuple[Transfer, ...], micro_batches: int
) -> tuple[float, float]:
    """Seconds that an average rank computes and that it sends, in a step without recomputation; waiting for others is in neither.

    On CPUs, whose cores do both, this is a rank's CPU time. UserError names a number that the profile lacks.
    """
    _, average = _stage_passes(cost, layout, profile, "none")
    compute = micro_batches * cost.accumulation * average.total_s / layout.place + _optimizer_s(cost, layout, profile)
    return compute, sum(transfer_time_s(profile, layout, transfer) for transfer in transfers)


def _stage_passes(cost: Cost, layout: Layout, profile: ClusterProfile, recompute: Recompute) -> tuple[Passes, Passes]:
    """One micro-batch on the slowest stage, of those that a run would cut the model into, and on the average one."""
    passes = [(block, _block_passes(block, cost, layout, profile, recompute)) for block in cost.blocks]
    average = Passes()
    for block, one in passes:
        average = average.plus(one, block.count / layout.pp)
    if layout.pp == 1:
        return average, average
    pieces = [one for block, one in passes if block.operators for _ in range(block.count)]
    stages = dealt(cost, layout)
    ranks = [_together(pieces[i] for stage in stages[rank :: layout.pp] for i in stage) for rank in range(layout.pp)]
    return max(ranks, key=lambda one: one.total_s), average


def _together(some: Iterable[Passes]) -> Passes:
    total = Passes()
    for one in some:
        total = total.plus(one, 1.0)
    return total


def _block_passes(block: Block, cost: Cost, layout: Layout, profile: ClusterProfile, recompute: Recompute) -> Passes:
    forward = backward = again = 0.0
    for op in block.operators:
        once = _operator_s(op, op.flops, op.bytes, cost, layout, profile)
        forward += once
        if cost.training:
            # the backward of a product is two products of the forward's size
            halves = 2 if op.kind in ("matmul", "recurrent") and op.backward_flops > 0 else 1
            half = _operator_s(op, op.backward_flops / halves, op.backward_bytes / halves, cost, layout, profile)
            backward += halves * half
            if block.count > 1 and (recompute == "full" or (recompute == "selective" and op.kind == "attention")):
                again += once
    return Passes(forward, backward, again)


def _operator_s(op: Operator, flops: float, size_bytes: float, cost: Cost, layout: Layout, profile: ClusterProfile) -> float:
    divisor = float(layout.cp)
    divided = {"sequence": layout.sp, "loss": layout.loss == "parallel", "replicated": False}
    if divided.get(op.division, True):
        divisor *= layout.tp
    # one expert's tokens come from ep ranks, so its product is ep times larger
    product = flops / divisor / max(1, op.batch) * (layout.ep if op.division == "expert" else 1)
    return pass_time_s(profile, op, flops / divisor, size_bytes / divisor, product, cost.dtype)


def _exposed(
    transfers: tuple[Transfer, ...], layout: Layout, profile: ClusterProfile, micro_batches: int, stage: Passes
) -> list[tuple[Transfer, float]]:
    """What each transfer adds to the step: all of it, or what the pass it runs beside cannot hide."""
    room = {"forward": micro_batches * stage.forward_s, "backward": micro_batches * (stage.backward_s + stage.again_s)}
    exposed = []
    for transfer in transfers:
        total = transfer_time_s(profile, layout, transfer)
        if transfer.overlaps is None or not _hides(profile, layout, transfer):
            exposed.append((transfer, total))
            continue
        last = total / transfer.count if transfer.count >= 1 else total  # nothing is left to hide the last message behind
        hidden = min(room[transfer.overlaps], total - last)
        room[transfer.overlaps] -= hidden
        exposed.append((transfer, total - hidden))
    return exposed


def _hides(profile: ClusterProfile, layout: Layout, transfer: Transfer) -> bool:
    """Whether the tier that a transfer's group reaches works beside computing."""
    return transfer.ranks < 2 or reach(profile, layout, transfer).tier.hidden


def _optimizer_s(cost: Cost, layout: Layout, profile: ClusterProfile) -> float:
    if not cost.training or not cost.optimizer_operators:
        return 0.0
    share = kept_parameters(cost, layout, zero=layout.zero >= 1) / max(1, cost.parameters)
    return sum(pass_time_s(profile, op, op.flops * share, op.bytes * share, op.flops * share, "fp32") for op in cost.optimizer_operators)


def _parts(
    micro_batches: int, stage: Passes, layout: Layout, bubble: float, exposed: list[tuple[Transfer, float]], optimizer: float
) -> tuple[Part, ...]:
    parts = [
        Part(name="forward", time_s=micro_batches * stage.forward_s, why=f"{micro_batches} micro-batches through the slowest stage"),
        Part(name="backward", time_s=micro_batches * stage.backward_s),
        Part(name="recompute", time_s=micro_batches * stage.again_s),
        Part(name="pipeline bubble", time_s=bubble, why=f"pp={layout.pp}, vpp={layout.vpp}, {layout.schedule}"),
    ]
    for transfer, seconds in exposed:
        beside = f", the rest hidden behind the {transfer.overlaps} pass" if transfer.overlaps else ""
        why = f"{transfer.count:g} {transfer.collective} over {transfer.ranks} ranks of {transfer.axis}{beside}"
        parts.append(Part(name=f"{transfer.axis} communication", time_s=seconds, why=f"{why}; {transfer.why}" if transfer.why else why))
    parts.append(Part(name="optimizer", time_s=optimizer))
    return tuple(part for part in parts if part.time_s > 0)


def _basis(profile: ClusterProfile) -> str:
    if any(source.startswith("measured here") for source in profile.sources.values()):
        return "calibrated here"
    return "datasheet and published efficiency curves" if profile.efficiency.matmul else "datasheet"


def _bottleneck(parts: tuple[Part, ...], step: float) -> str:
    if not parts:
        return "nothing to do"
    sums: dict[str, float] = {}
    for part in parts:
        group = "compute" if part.name in ("forward", "backward", "recompute") else part.name
        sums[group] = sums.get(group, 0.0) + part.time_s
    name, seconds = max(sums.items(), key=lambda item: item[1])
    return f"{name}: {100 * seconds / step:.0f} % of the step"


def _assumptions(profile: ClusterProfile, layout: Layout, recompute: Recompute, framework: str | None) -> tuple[str, ...]:
    said = [f"recomputation: {recompute}", "experts evenly loaded" if layout.ep > 1 else "", f"framework: {framework or 'not said'}"]
    if not profile.efficiency.matmul:
        said.append("matrix products reach the documented default share of the datasheet's peak")
    if any(not tier.efficiency for tier in profile.tiers):
        said.append("collectives reach the documented default share of a tier's bandwidth")
    return tuple(text for text in said if text)
