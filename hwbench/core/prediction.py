"""What the planner answers: a step time made of parts that add up, a memory size, and a ranked plan."""

from typing import Any

from hwbench.core.layout import Layout
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


class SizingAnswer(Value):
    """All clusters that were asked for: those that can, best first, and those that can't."""

    question: dict[str, Any]
    sizings: tuple[Sizing, ...]
    rejected: tuple[Rejected, ...]
    ranked_by: str = ""
    """What makes the first sizing the best."""
