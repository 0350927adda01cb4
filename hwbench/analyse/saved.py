"""Many benchmarks against a saved baseline, some of few processes: what can be said, and Holm's adjustment over all of them. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from scipy import special

from hwbench.core.comparison import CANT_TELL, Comparison, Verdict

from .ab import ALPHA
from .gate import welch_p
from .permutation import holm
from .stored import FEWEST_STORED_PROCESSES, compare_process_values

FEWEST_TOGETHER: Final = 5
"""Processes of both sides together below which nothing is said: three degrees of freedom at least."""


def compare_saved(
    sides: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, threshold_fraction: float, alpha: float = ALPHA
) -> dict[str, Comparison]:
    """CANDIDATE against BASE for each name, from one time per process: `sides` is name -> (base, candidate).

    With five processes a side the rank interval of `compare_process_values`; with fewer on a side, a saved file being one,
    Student's t with one spread for both sides: an assumption, which the note names. A verdict also needs Holm's adjusted p
    below `alpha`, so that many benchmarks raise no more false alarms than one.
    """
    found = {name: _compared(name, base, candidate, threshold_fraction, alpha) for name, (base, candidate) in sides.items()}
    judged = [name for name, one in found.items() if one.p_value is not None]
    adjusted = holm([p for name in judged if (p := found[name].p_value) is not None])
    for name, p_value in zip(judged, adjusted, strict=True):
        if found[name].verdict in ("slower", "faster") and p_value > alpha:
            note = f"among {len(judged)} benchmarks such a difference is not rare enough (Holm, p = {p_value:.2g})"
            found[name] = msgspec.structs.replace(found[name], verdict=CANT_TELL, note=note)
    return found


def _compared(name: str, base: Sequence[float], candidate: Sequence[float], threshold: float, alpha: float) -> Comparison:
    usable = all(math.isfinite(value) and value > 0 for value in (*base, *candidate))
    if min(len(base), len(candidate)) >= FEWEST_STORED_PROCESSES or not usable or not base or not candidate:
        whole = compare_process_values(name, base, candidate, threshold_fraction=threshold, alpha=alpha)
        return msgspec.structs.replace(whole, p_value=welch_p(base, candidate)) if whole.ratio_low is not None else whole
    return _few(name, base, candidate, threshold, alpha)


def _few(name: str, base: Sequence[float], candidate: Sequence[float], threshold: float, alpha: float) -> Comparison:
    """Student's t over the logarithms, the spread pooled: with one process on a side it is a prediction interval."""
    logs = [np.log(np.asarray(values, dtype=np.float64)) for values in (base, candidate)]
    apart = float(logs[1].mean() - logs[0].mean())
    counts = f"{len(base)} and {len(candidate)} processes"
    freedom = len(base) + len(candidate) - 2
    if len(base) + len(candidate) < FEWEST_TOGETHER:
        note = f"{counts}: a verdict needs {FEWEST_TOGETHER} together, and {FEWEST_STORED_PROCESSES} a side without assumptions"
        return Comparison(kernel=name, verdict=CANT_TELL, ratio=math.exp(apart), note=note)
    pooled = math.sqrt(sum(float(((values - values.mean()) ** 2).sum()) for values in logs) / freedom)
    error = pooled * math.sqrt(1 / len(base) + 1 / len(candidate))
    reach = float(special.stdtrit(freedom, 1 - alpha / 2)) * error
    limit = math.log1p(threshold)
    return Comparison(
        kernel=name,
        verdict=_verdict(apart, reach, limit),
        ratio=math.exp(apart),
        ratio_low=math.exp(apart - reach),
        ratio_high=math.exp(apart + reach),
        minimum_detectable_effect=math.expm1(max(reach, limit) + float(special.stdtrit(freedom, 0.8)) * error),
        p_value=2 * float(special.stdtr(freedom, -abs(apart) / error)) if error else float(apart == 0),
        note=f"{counts}, taken to spread alike",
    )


def _verdict(apart: float, reach: float, limit: float) -> Verdict:
    if abs(apart) > max(limit, reach):
        return "slower" if apart > 0 else "faster"
    return "same" if abs(apart) + reach <= limit else CANT_TELL
