"""What a gate is made of: rules of a TOML file, and the judgement on each case that a rule is about.

Formats of a rules file:
  1  2026-11  the first
"""

from typing import Any, Final, Literal

from hwbench.core.value import Value

SCHEMA: Final = 1
Metric = Literal["step_time_s", "floor_s", "items_per_s", "flops_per_s", "bytes_per_s"]
"""What of a process is judged: the median sample, the smallest sample, or total work over total time."""
Status = Literal["passed", "failed", "can't tell"]


class Rule(Value):
    """One rule: which cases, on which machines, and what they may not fall short of."""

    workload: str
    """Name of the workload, with * ? [] as in a shell."""
    layout: str | None = None
    """As the next two, exact or with * ? []; any where it is absent."""
    dtype: str | None = None
    device: str | None = None
    set: dict[str, Any] = {}
    """Settings that the case's configuration must have."""
    metric: Metric = "step_time_s"
    clock: Literal["cpu", "wall"] = "cpu"
    """For slowdowns of step_time_s and floor_s: the thread's CPU time where both runs know it of a lone rank on a CPU, or wall time."""
    largest_slowdown: float | str | None = None
    """The most that the time may grow over the baseline: "5%" or 0.05."""
    smallest_throughput: float | None = None
    """The least rate, in the metric's unit; in items/s where the metric is a time."""
    machines: tuple[str, ...] = ()
    """Comparison keys, or patterns of CPU models or accelerator names; figures of any other machine can't tell."""
    cant_tell: Literal["pass", "fail"] = "pass"
    """What "can't tell" counts as."""
    older_baseline: Literal["can't tell", "trust"] = "can't tell"
    """What a verdict against a baseline of another session is worth."""


class Rules(Value):
    """A rules file."""

    schema: int = SCHEMA
    rules: tuple[Rule, ...] = ()


class Judgement(Value):
    """One case under one rule. `fails`: whether it makes the gate fail, "can't tell" by the rule's choice.

    Figures are in `unit`: for a slowdown `value` and the interval are the ratio of times, candidate / baseline (unit "x"), and
    `limit` the largest allowed; for a throughput they are rates and `limit` the smallest allowed. None where there is none.
    """

    rule: int
    """Its place in the file, from 1."""
    case: str
    check: Literal["slowdown", "throughput", "measured"]
    status: Status
    fails: bool
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: str = ""
    why: str = ""


class GateResult(Value):
    """Everything a gate says. `flags` are doubts about the comparison as a whole."""

    candidate: str
    baseline: str | None
    judgements: tuple[Judgement, ...]
    flags: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Judgement, ...]:
        """What makes the gate fail."""
        return tuple(one for one in self.judgements if one.fails)
