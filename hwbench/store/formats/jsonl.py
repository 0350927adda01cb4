"""JSON Lines, written: one line a record, whole as it is stored, with the figures that are made of it."""

from typing import Final

from hwbench.core.codec import to_json
from hwbench.core.record import Run

from ._figures import Figures, told
from ._told import Writer


def write(run: Run, figures: Figures) -> tuple[bytes, ...]:
    """Objects of `run` (its id), `record` and `figures`; null is unknown, and `gaps` among the figures says why."""
    pairs = zip(run.records, figures, strict=True)
    return (b"".join(to_json({"run": run.header.id, "record": one, "figures": told(one, row)}) + b"\n" for one, row in pairs),)


WRITER: Final = Writer(suffix=".jsonl", write=write)
