"""What the planner answers: a step time made of parts that add up, a memory size, a ranked plan, a purchase, a serving cluster."""

from typing import Any

from hwbench.core.layout import Layout
from hwbench.core.profile import ClusterProfile
from hwbench.core.value import Value


class Part(Value):
    """A share of the step time, with the reason in words."""

    name: str
    time_s: float
    why: str = ""


class Memory(Value):
    """Peak bytes of the rank that needs most, by what they hold; the sum is what must fit."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    buffers_bytes: float

    @property
    def total_bytes(self) -> float:
        """Everything together."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes + self.buffers_bytes


class Prediction(Value):
    """The predicted step of one model under one layout on one cluster."""

    layout: str
    step_time_s: float
    parts: tuple[Part, ...]
    low_s: float | None
    """Lower end of the 90 % interval of the step time; None where nothing tells how sure it is."""
    high_s: float | None
    basis: str
    """What the numbers rest on: 'datasheet', 'calibrated here', and what was assumed."""
    memory: Memory
    memory_capacity_bytes: float | None
    flops_per_step: float
    tokens_per_step: int
    mfu_fraction: float | None
    bottleneck: str
    assumptions: tuple[str, ...] = ()


class Rejected(Value):
    """A layout or a cluster that can't do it, and why, with every number."""

    name: str
    reason: str


class PlanEntry(Value):
    """One way to do the step: the quickest of its degrees."""

    layout: Layout
    micro_batch: int
    recompute: str
    software: str
    """The training software that the prediction assumes."""
    prediction: Prediction


class Misfit(Value):
    """Layouts that were left out for one reason."""

    reason: str
    count: int
    """How many were cut here; degrees that don't divide are cut once, whatever their micro-batches would have been."""
    nearest: str
    """The one that came nearest, with its numbers."""


class Plan(Value):
    """How a model is best split over so many accelerators of one cluster: ranked, and why the rest was left out."""

    schema: int = 1
    model: str
    cluster: str
    accelerators: int
    nodes: int
    global_batch: int
    dtype: str
    entries: tuple[PlanEntry, ...]
    """The quickest of each combination of degrees, best first; empty where nothing fits."""
    tried: int
    fitted: int
    misfits: tuple[Misfit, ...]
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    profile: ClusterProfile
    """The cluster as it was planned with: what the delivered one is accepted by."""


class Offer(Value):
    """A supplier's quote for a cluster: so many nodes, for so much, after so long."""

    supplier: str
    price_usd: float
    delivery_s: float
    """From today to the first step on it."""


class Costs(Value):
    """What a run costs, by what it is for; dollars. The parts add up to `total_usd`."""

    rent_usd: float = 0.0
    hardware_usd: float = 0.0
    """The share of the purchase price that the run uses up: price · time / lifetime."""
    power_usd: float = 0.0
    outlay_usd: float
    """What has to be paid: rent, or the whole purchase, and the run's power. A budget is compared with this."""

    @property
    def total_usd(self) -> float:
        """What the run costs."""
        return self.rent_usd + self.hardware_usd + self.power_usd


class Progress(Value):
    """A long run with failures: what is written how often, and what share of the time is left for training."""

    fraction: float
    checkpoint_interval_s: float
    checkpoint_s: float
    restart_s: float
    job_mtbf_s: float


class Sizing(Value):
    """One cluster's answer to a deadline or a node count."""

    cluster: str
    model: str
    nodes: int
    accelerators: int
    layout: Layout
    micro_batch: int
    global_batch: int
    prediction: Prediction
    tokens: float
    train_time_s: float
    cost_usd: float | None
    energy_j: float | None
    meets_deadline: bool
    gaps: tuple[str, ...] = ()
    """What is unknown, with the key that would tell it, such as a price."""
    dtype: str = ""
    recompute: str = "none"
    energy_covers: str | None = None
    """What draws the power that `energy_j` counts."""
    goodput_fraction: float | None = None
    """Share of the time that makes progress despite failures; `train_time_s` holds it. None where failures were not counted."""
    why: tuple[str, ...] = ()
    """The choice of layout and of the number of nodes, in words."""
    notes: tuple[str, ...] = ()
    """What the cluster's profile says a reader must know."""
    software: str = ""
    """The training software that the prediction assumes."""
    costs: Costs | None = None
    """What `cost_usd` is made of; None where no price is known."""
    power_w: float | None = None
    """What the site must supply: nodes at full load times PUE."""
    co2_kg: float | None = None
    """Of `energy_j`, by the grid's figure; None without one."""
    progress: Progress | None = None
    offer: Offer | None = None
    """The supplier's quote that this sizing answers to."""
    deadline_probability: float | None = None
    """That it is done in time, from the prediction's interval."""
    corrected: bool = True
    """Whether software's overhead is known for such a model and device; otherwise a median over others stands for it, and its interval
    is wide."""


class Option(Value):
    """One cluster at one size: a point of time against cost against energy."""

    cluster: str
    nodes: int
    train_time_s: float
    cost_usd: float | None
    energy_j: float | None
    efficient: bool
    """Whether no other option is at least as good in everything that is known of all, and better in something."""


class Sensitivity(Value):
    """What a better part would bring: the training time with one figure of the recommended cluster 10 % higher, searched again."""

    part: str
    key: str
    train_time_s: float
    change_fraction: float
    """Of the training time; negative is quicker."""


class Beats(Value):
    """How sure it is that the first sizing is really better than the second, from their prediction intervals."""

    winner: str
    runner_up: str
    by: str
    """What is compared."""
    probability: float
    how: str


class SizingAnswer(Value):
    """All clusters that were asked for: those that can, best first, and those that can't."""

    question: dict[str, Any]
    sizings: tuple[Sizing, ...]
    rejected: tuple[Rejected, ...]
    ranked_by: str = ""
    """What makes the first sizing the best."""
    options: tuple[Option, ...] = ()
    """Clusters at several sizes, for the Pareto front."""
    sensitivities: tuple[Sensitivity, ...] = ()
    """Of the first sizing, the largest gain first."""
    beats: Beats | None = None
    """None with fewer than two sizings, or without intervals."""


class Serving(Value):
    """One cluster's answer to a serving load: how many accelerators, in replicas of so many, and what binds."""

    cluster: str
    model: str
    nodes: int
    accelerators: int
    dtype: str
    tp: int
    """Accelerators of one replica."""
    pp: int
    replicas: int
    batch: int
    """Sequences that a replica works on at a time."""
    users: int
    """Sequences in flight that all replicas together serve within the limits."""
    ttft_s: float
    """Time to the first token: the prompt, and the wait for one other prompt."""
    tpot_s: float
    """Time of each further token."""
    tokens_per_s: float
    """Output of all replicas together."""
    weights_bytes: float
    """Of one accelerator, as are the next two."""
    kv_bytes: float
    memory_capacity_bytes: float
    kv_bytes_per_token: float
    """Of one sequence's token, over the whole replica."""
    limit: str
    """What keeps a replica from serving more, in words."""
    cost_usd_per_hour: float | None
    usd_per_million_tokens: float | None
    power_w: float | None
    low_fraction: float
    high_fraction: float
    """The 90 % interval of both times, as factors."""
    why: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


class ServingAnswer(Value):
    """All clusters that can serve the load, best first, and those that can't."""

    question: dict[str, Any]
    servings: tuple[Serving, ...]
    rejected: tuple[Rejected, ...]
    ranked_by: str = ""


class Verdict(Value):
    """One promise of a plan against one measurement."""

    workload: str
    node: str
    """The host, or all of a group that measured together."""
    what: str
    promised: float
    """The slowest acceptable value, in `unit`."""
    measured: float
    low: float
    high: float
    """Of the measurement."""
    unit: str
    outcome: str
    """pass, fail or can't tell."""
    why: str


class Acceptance(Value):
    """A delivered cluster against the plan it was bought by."""

    cluster: str
    runs: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    nodes: dict[str, str]
    """Each node's outcome: the worst of its verdicts."""
    outcome: str
    missing: tuple[str, ...] = ()
    """What the plan promises and no run measured."""
