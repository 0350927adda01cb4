"""A cluster as the planner sees it: capacities, peak rates, efficiency curves and network tiers, a source for every number.

One TOML file a cluster in cluster_profiles/, or one that `hwbench calibrate` wrote from a run here. A number nobody could source is absent,
and the command that needs it says so; it never falls back to another device's.
"""

from hwbench.core.value import Value


class CurvePoint(Value):
    """Efficiency of operations of one size. `size` is FLOPs of a matrix product, bytes of a memory operation or a message."""

    size: float
    fraction: float
    """Achieved rate over the profile's peak, 0..1."""


class Accelerator(Value):
    """One device, or one CPU's share that a rank gets."""

    name: str
    vendor: str
    memory_bytes: float | None = None
    memory_bandwidth_bytes_per_s: float | None = None
    peak_flops_per_s: dict[str, float] = {}
    """Dense rates by dtype (fp32, tf32, fp16, bf16, fp8, fp4 …); sparse figures are halved, and the source says so."""
    power_w: float | None = None
    """Board power at full load (TDP)."""


class Node(Value):
    """One machine of the cluster."""

    accelerators: int
    power_w: float | None = None
    """The whole node at full load; None where only the accelerators' own is known."""
    price_usd_per_hour: float | None = None
    """Rent of a node; the user's input unless an example names page and date."""
    memory_bytes: float | None = None
    cpus: str | None = None


class Tier(Value):
    """One level of the network, the innermost first: a collective over so many accelerators runs at this tier's speed."""

    name: str
    accelerators: int | None = None
    """How many accelerators it joins; None for the outermost, which joins them all."""
    bandwidth_bytes_per_s: float
    """One direction, one accelerator."""
    latency_s: float | None = None
    """Time of one message of no size, one hop."""
    efficiency: tuple[CurvePoint, ...] = ()
    """Share of `bandwidth_bytes_per_s` a collective's bus bandwidth reaches, by message size, once its latency is taken off."""
    collectives: dict[str, tuple[CurvePoint, ...]] = {}
    """The same of single collectives by name, where they were measured: gloo's reduce_scatter moves as much as an all_reduce."""
    hidden: bool = True
    """Whether computing can hide what it carries; not where the cores that compute move the bytes."""


class OperatorTime(Value):
    """One operator as it was timed: forward and backward pass of one call, operands cold."""

    time_s: float
    flops: float
    """Executed FLOPs of both passes."""
    bytes: float
    """Least traffic of both passes."""
    m: int = 1
    """Rows of a product; positions of attention; sequences of a recurrent layer."""
    n: int = 1
    """Columns of a product's result; inputs of a recurrent layer."""
    k: int = 1
    """The length summed over; width of a head of attention; units of a recurrent layer."""
    batch: int = 1
    """Heads of all sequences; steps of a recurrent layer."""


class Efficiency(Value):
    """What software gets of the hardware's peak; empty curves mean that the planner's documented defaults apply."""

    matmul: dict[str, tuple[CurvePoint, ...]] = {}
    """By dtype, over FLOPs of one product."""
    memory: tuple[CurvePoint, ...] = ()
    """Over bytes of one operation."""
    attention_fraction: float | None = None
    launch_s: float | None = None
    """Host time to start one operator, which small operators can't go below."""
    operators: dict[str, dict[str, tuple[OperatorTime, ...]]] = {}
    """Measured times by dtype and function (`Operator.function`), which go before the curves above."""
    process_bytes: float | None = None
    """What the process of a rank holds beside tensors; None for the planner's figure, that of a process on an accelerator."""
    message_s: dict[str, float] = {}
    """By axis, what a rank's own work takes for each message beside the collective: dispatch of DTensors, hooks of FSDP, a schedule."""
    step_factor: float | None = None
    """Measured over predicted time of whole training steps on this machine: what software adds to its operators."""
    step_factor_spread: float | None = None
    """Largest factor by which a measured step was off from that, either way."""


class ClusterProfile(Value):
    """A cluster that can be sized: `nodes` of it can be had, or as many as wanted when None."""

    schema: int = 1
    name: str
    description: str
    accelerator: Accelerator
    node: Node
    tiers: tuple[Tier, ...] = ()
    efficiency: Efficiency = Efficiency()
    nodes: int | None = None
    sources: dict[str, str]
    """Dotted key -> where its number was read; a key covers the keys below it ('accelerator.peak_flops_per_s')."""
    notes: tuple[str, ...] = ()
    """What a reader must know, such as a vendor's figure that is an upper bound."""
