"""What measured ceilings say, in sentences for the top of a report."""

from collections.abc import Iterator

from hwbench.core.ceilings import MEMORY, Ceilings
from hwbench.core.units import format_rate, format_seconds


def sentences(found: Ceilings) -> tuple[str, ...]:
    """One sentence each for memory, loads and collectives, where they were measured; rates are those of the fastest sample.

    Matrix products are told by the roofs (`findings`).
    """
    return tuple(sentence for make in (_memory, _loads, _collectives) for sentence in make(found))


def _memory(found: Ceilings) -> Iterator[str]:
    streams = [one for one in found.streams if one.level == MEMORY and one.cpus and one.pages != "huge"]
    if streams:
        best = max(streams, key=lambda one: one.best_bytes_per_s)
        threads = f"{best.threads} thread{'s' if best.threads > 1 else ''}"
        yield f"Streams on bound threads get up to {format_rate(best.best_bytes_per_s, 'B/s')} from memory ({best.kernel}, {threads})."


def _loads(found: Ceilings) -> Iterator[str]:
    """From the nearest level to the farthest."""
    levels: dict[str, float] = {}
    for one in sorted(found.latencies, key=lambda one: one.working_set_bytes):
        if one.pages != "huge":
            levels[one.level] = min(one.best_latency_s, levels.get(one.level, one.best_latency_s))
    if levels:
        times = [f"{format_seconds(time_s)} from {name}" for name, time_s in levels.items()]
        yield f"A load that waits for the one before takes {_listed(times)}."


def _collectives(found: Ceilings) -> Iterator[str]:
    reduces = [one for one in found.exchanges if one.collective == "all_reduce"]
    if reduces:
        best = max(reduces, key=lambda one: one.busbw_bytes_per_s)
        least = min(reduces, key=lambda one: one.time_s)
        yield (
            f"all_reduce among {best.ranks} ranks reaches a busbw of {format_rate(best.busbw_bytes_per_s, 'B/s')}; "
            f"a small one takes {format_seconds(least.time_s)}."
        )


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
