"""What each record of a run reached: the figures that a report has of a case, here of one process, for whoever takes the run elsewhere."""

from collections.abc import Mapping

from hwbench.core.record import Run
from hwbench.core.summary import Throughput
from hwbench.core.workload import Workload

from .roofline import judged, roofs
from .throughput import rows


def figures(run: Run, workloads: Mapping[str, Workload] | None = None) -> tuple[Throughput | None, ...]:
    """A row a record, in their order; None for a record that holds nothing usable.

    Roofs are those of the whole run, from the fastest sample of all its processes, as in a report. `workloads` are those installed here.
    """
    ceilings = roofs(rows(run.records, run=run.header.id, workloads=workloads))
    alone = (rows((record,), run=run.header.id, workloads=workloads) for record in run.records)
    return tuple(judged(one, ceilings)[0] if one else None for one in alone)
