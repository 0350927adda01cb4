"""What a run tells while it goes on; the command line shows it and writes down the records. `left_s` is an estimate of the time left."""

from typing import TypeAlias

from hwbench.core.record import Case, Record
from hwbench.core.value import Value


class Launching(Value):
    """Torch's launcher starts ranks that will measure `cases` cases."""

    ranks: int
    cases: int
    left_s: float


class Started(Value):
    """A case has begun; it is number `number` of `total`, from 1, and may take `share_s`."""

    number: int
    total: int
    case: Case
    share_s: float
    left_s: float


class Advanced(Value):
    """The case in hand is warming up, measuring or checking, with so many samples after the warm-up."""

    phase: str
    samples: int
    left_s: float


class Recorded(Value):
    """A case is over. The record is lost unless the receiver of this event writes it down before it asks for the next one."""

    number: int
    total: int
    record: Record
    left_s: float


Event: TypeAlias = Launching | Started | Advanced | Recorded
