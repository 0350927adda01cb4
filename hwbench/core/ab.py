"""Values of a live A/B comparison: what was compared, what was found for each kernel, and what its plot shows."""

from typing import Literal

from hwbench.core.comparison import Comparison
from hwbench.core.record import MachineState
from hwbench.core.value import Value

Clock = Literal["cpu", "wall"]


class AbKernel(Value):
    """One kernel of a comparison. The three tuples have one element a block pair, in the order measured."""

    comparison: Comparison
    rounds: int
    processes: int
    """How many pairs of processes were measured, one after the other."""
    looks: int
    duration_s: float
    """Wall time spent on the kernel, building and warming up included."""
    confirmed: bool | None = None
    """Whether fresh processes confirmed a change; None where nothing was to be confirmed."""
    involuntary_switches_per_call: float | None = None
    pair_round: tuple[int, ...] = ()
    base_s: tuple[float, ...] = ()
    """The fastest call of each block of the base, by the comparison's clock."""
    candidate_s: tuple[float, ...] = ()


class AbResult(Value):
    """A whole comparison."""

    base: str
    candidate: str
    """The two versions as people call them."""
    clock: Clock
    threshold_fraction: float
    """Smallest change that counts."""
    kernels: tuple[AbKernel, ...]
    duration_s: float
    state: MachineState = MachineState()
    """The machine meanwhile."""
    versions: dict[str, dict[str, str]] = {}
    """Of torch, Python and hwbench, by side."""
    warnings: tuple[str, ...] = ()
