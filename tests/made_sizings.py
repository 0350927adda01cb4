"""Sizings, plans and a serving answer made by hand: rented, bought by quotes, without prices, and none that can."""

import msgspec

from hwbench.core.layout import parse_layout
from hwbench.core.prediction import (
    Beats,
    Costs,
    Misfit,
    Offer,
    Option,
    Part,
    Plan,
    PlanEntry,
    Rejected,
    Sensitivity,
    Serving,
    ServingAnswer,
    Sizing,
    SizingAnswer,
)
from hwbench.core.registry import load_cluster
from tests.made_runs import sizing

DAY_S = 86400.0
PARTS = (
    Part(name="forward", time_s=2.9, why="12 micro-batches"), Part(name="backward", time_s=5.9), Part(name="tp communication", time_s=0.5),
    Part(name="dp communication", time_s=0.4), Part(name="pipeline bubble", time_s=0.3), Part(name="optimizer", time_s=0.01),
    Part(name="stragglers", time_s=0.4), Part(name="fixed", time_s=0.01), Part(name="something new", time_s=0.2),
)  # fmt: skip


def _sizing(cluster: str, nodes: int, scale: float, usd: float | None, days: float) -> Sizing:
    made = sizing(cluster, nodes=nodes, layout="dp=12,tp=8", scale=scale, usd=usd, days=days)
    parts = tuple(msgspec.structs.replace(part, time_s=scale * part.time_s) for part in PARTS)
    step_s = sum(part.time_s for part in parts)
    said = msgspec.structs.replace(made.prediction, parts=parts, step_time_s=step_s, low_s=0.9 * step_s, high_s=1.15 * step_s)
    costs = None if usd is None else Costs(rent_usd=usd, outlay_usd=usd)
    return msgspec.structs.replace(made, prediction=said, costs=costs, deadline_probability=0.61, power_w=390e3, co2_kg=165e3)


def _options(answer: tuple[Sizing, ...], *, priced: bool = True) -> tuple[Option, ...]:
    return tuple(
        Option(
            cluster=one.cluster, nodes=more * one.nodes, train_time_s=one.train_time_s / more**0.9,
            cost_usd=(one.cost_usd or 0) * more**0.1 if priced else None, energy_j=(one.energy_j or 0) * more**0.1, efficient=place == 0,
        )
        for place, one in enumerate(answer)
        for more in (1, 2, 4, 8)
    )  # fmt: skip


SENSITIVITIES = (
    Sensitivity(part="FLOP/s", key="accelerator.peak_flops_per_s.bf16", train_time_s=24.2 * DAY_S, change_fraction=-0.083),
    Sensitivity(part="memory", key="accelerator.memory_bytes", train_time_s=26.0 * DAY_S, change_fraction=-0.015),
    Sensitivity(part="network", key="tiers.network.bandwidth_bytes_per_s", train_time_s=26.3 * DAY_S, change_fraction=-0.004),
    Sensitivity(part="scale-up", key="tiers.nvlink.bandwidth_bytes_per_s", train_time_s=26.4 * DAY_S, change_fraction=0.0),
)


def rented() -> SizingAnswer:
    """Three clusters for rent: the first two are as good as each other, the third is late."""
    found = (_sizing("b200", 21, 1.0, 1.18e6, 26.4), _sizing("mi300x", 48, 1.1, 1.23e6, 27.9), _sizing("h100", 45, 1.05, 1.28e6, 41.0))
    return SizingAnswer(
        question={
            "model": "llama3-70b", "clusters": ["b200", "mi300x", "h100"], "tokens": 2e12, "deadline_s": 30 * DAY_S, "budget_usd": None,
            "node_mtbf_s": 3.6e7, "storage_bytes_per_s": 1e11, "pue": 1.3,
        },
        sizings=found,
        rejected=(Rejected(name="tiny", reason="needs 66.0 GB a rank, has 4.3 GB"),),
        ranked_by="cost",
        options=_options(found),
        sensitivities=SENSITIVITIES,
        beats=Beats(winner="b200", runner_up="mi300x", by="cost", probability=0.62, how="errors log-normal"),
    )  # fmt: skip


def bought() -> SizingAnswer:
    """Two suppliers' offers: paid on delivery, then power."""
    answer = rented()
    made = tuple(
        msgspec.structs.replace(
            one,
            offer=Offer(supplier=supplier, price_usd=usd, delivery_s=days * DAY_S),
            costs=Costs(hardware_usd=0.03 * usd, power_usd=4e4, outlay_usd=usd + 4e4),
            cost_usd=0.03 * usd + 4e4,
        )
        for one, supplier, usd, days in zip(answer.sizings, ("Alpha", "Beta", "Gamma"), (16e6, 14.5e6, 9e6), (20, 1, 60), strict=True)
    )
    named = tuple(
        Option(
            cluster=f"{one.offer.supplier if one.offer else ''}: {one.cluster}", nodes=one.nodes, train_time_s=one.train_time_s,
            cost_usd=one.cost_usd, energy_j=one.energy_j, efficient=True,
        )
        for one in made
    )  # fmt: skip
    question = answer.question | {"deadline_s": 60 * DAY_S, "budget_usd": 15e6}
    return msgspec.structs.replace(answer, question=question, sizings=made, options=named, rejected=())


def unpriced() -> SizingAnswer:
    """Nobody gave a price; software's share of the second is a general one."""
    answer = rented()
    found = tuple(
        msgspec.structs.replace(one, costs=None, cost_usd=None, corrected=one.cluster != "mi300x", deadline_probability=None)
        for one in answer.sizings[:2]
    )
    question = answer.question | {"deadline_s": None}
    return msgspec.structs.replace(
        answer, question=question, sizings=found, options=_options(found, priced=False), sensitivities=(), beats=None, rejected=()
    )


def none_can() -> SizingAnswer:
    """No cluster can."""
    return msgspec.structs.replace(rented(), sizings=(), options=(), sensitivities=(), beats=None)


def plan(*, entries: int = 10) -> Plan:
    """A plan of so many entries; the second can't be told from the first."""
    said = rented().sizings[0].prediction
    layouts = ("dp=32,tp=2,pp=2,cp=2,zero=1,schedule=interleaved,vpp=4,microbatches=16", "fsdp=256", "dp=64,tp=4", "dp=2,fsdp=128")
    made = tuple(
        PlanEntry(
            layout=parse_layout(layouts[index % len(layouts)]), micro_batch=1, recompute="none", software="Megatron-LM",
            prediction=msgspec.structs.replace(said, step_time_s=(1 + 0.01 * index) * said.step_time_s),
        )
        for index in range(entries)
    )  # fmt: skip
    return Plan(
        model="llama3-70b", cluster="dgx-h100", accelerators=256, nodes=32, global_batch=512, dtype="bf16", entries=made, tried=14187,
        fitted=6452, misfits=(Misfit(reason="more memory than the 74.5 GiB of an accelerator", count=7735, nearest="dp=8: 3 GiB short"),),
        gaps=("node.price_usd_per_hour",), profile=load_cluster("dgx-h100"),
    )  # fmt: skip


def serving() -> ServingAnswer:
    """One cluster that can serve the load, one that can't."""
    one = Serving(
        cluster="b200", model="llama3-70b", nodes=1, accelerators=4, dtype="bf16", tp=4, pp=1, replicas=1, batch=200, users=200,
        ttft_s=0.13, tpot_s=0.047, tokens_per_s=4269.0, weights_bytes=35.3e9,
        kv_bytes=41.1e9, memory_capacity_bytes=180e9, kv_bytes_per_token=327680.0,
        limit="the number of users", cost_usd_per_hour=40.0, usd_per_million_tokens=2.6, power_w=14300.0, low_fraction=0.75,
        high_fraction=1.6, why=("weights take 131 GiB",), gaps=("serving was not fitted to measurements",),
    )  # fmt: skip
    question = {"model": "llama3-70b", "users": 200, "ttft_s": 2.0, "tpot_s": 0.05}
    return ServingAnswer(question=question, servings=(one,), rejected=(Rejected(name="tiny", reason="too small"),), ranked_by="cost")
