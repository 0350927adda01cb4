"""`hwbench run … --find-batch`: the largest batch of one case that fits, tried in worker processes before the run is made."""

import tempfile
from contextlib import closing
from pathlib import Path

import click

from hwbench.core.errors import MeasurementError, UserError
from hwbench.core.inventory import Inventory
from hwbench.core.layout import parse_layout
from hwbench.core.record import Case, Record
from hwbench.core.units import format_bytes
from hwbench.run import largest
from hwbench.run.cases import name_of
from hwbench.run.events import Recorded
from hwbench.run.execute import Options, execute

_TRY_S = 0.05
"""Share of time of a try: the cold call and a few more."""
_ACCELERATOR_BYTES = 16 << 30
"""The guess for an accelerator whose memory nobody told; doubling and halving do the rest."""


def with_largest_batch(
    found: tuple[Case, ...], *, cpus: int, inventory: Inventory, time_limit_s: float
) -> tuple[tuple[Case, ...], largest.Found]:
    """The cases, all repetitions of one, with the largest batch that fits; UserError for several different cases.

    On a CPU the ranks share what of memory is free; on an accelerator the guess starts from its size. MeasurementError where not even one
    sample fits.
    """
    case = found[0]
    if len({one.key for one in found}) > 1:
        names = ", ".join(name_of(one) for one in found[:3])
        raise UserError(f"--find-batch wants one case, found {len({one.key for one in found})}: {names}", hint="give one layout and dtype")
    field, limit = largest.field_of(case), _limit(case, parse_layout(case.layout).world_size)
    click.echo(f"looking for the largest {field} of {name_of(case)} that fits{_into(limit)}", err=True)
    with tempfile.TemporaryDirectory(prefix="hwbench-batch-") as logs:
        options = Options(case_time_s=_TRY_S, time_limit_s=time_limit_s, trial=True, memory_limit_bytes=limit, cpus=cpus)

        def fits(batch: int) -> largest.Try:
            return _tried(largest.sized(case, batch), batch, options, Path(logs))

        first = largest.guess(case, limit or _device_bytes(inventory))
        tries = largest.search(first, fits)
    result = largest.Found(field=field, batch=largest.largest(tries), limit_bytes=limit, tries=tries)
    click.echo(f"{field}={result.batch} fits, of {len(tries)} that were tried", err=True)
    return tuple(largest.sized(one, result.batch) for one in found), result


def _limit(case: Case, ranks: int) -> int | None:
    """What each rank may take of the host; None on an accelerator, and where nobody tells what is free."""
    free = largest.free_bytes() if case.device == "cpu" else None
    return None if free is None else int(largest.SHARE * free / ranks)


def _device_bytes(inventory: Inventory) -> int:
    known = [one.memory_total_bytes for one in (inventory.accelerators.devices if inventory.accelerators else ()) if one.memory_total_bytes]
    return min(known, default=_ACCELERATOR_BYTES)


def _into(limit: int | None) -> str:
    return f" into {format_bytes(limit)} a rank" if limit is not None else ""


def _tried(case: Case, batch: int, options: Options, logs: Path) -> largest.Try:
    with closing(execute((case,), options, logs)) as events:
        (record,) = (event.record for event in events if isinstance(event, Recorded))
    one = _judged(record, batch)
    click.echo(f"  {batch}: {'fits' if one.fits else one.reason}", err=True)
    return one


def _judged(record: Record, batch: int) -> largest.Try:
    """MeasurementError where a try ended for another reason than its size."""
    if record.outcome == "done":
        return largest.Try(batch=batch, fits=True)
    if record.outcome == "failed" and largest.is_too_large(record.reason):
        return largest.Try(batch=batch, fits=False, reason=record.reason)
    raise MeasurementError(f"--find-batch: a batch of {batch} could not be tried: {record.reason}")
