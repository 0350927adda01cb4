"""How good a training step's model is after the samples: once, outside what is timed, where a rank has whole logits. Imports torch."""

import math
from typing import Final

import torch

from hwbench.core.errors import UnavailableError
from hwbench.core.layout import Layout
from hwbench.core.workload import Evaluation, Training

WHOLE: Final = ("single", "dp", "fsdp", "ep", "branches")
"""Axes under which a rank's model still gives the logits of whole sequences over the whole vocabulary, where all ranks call it together (of
ep and branches each has a part of the work); tp too where it gathers them."""


def evaluated(training: Training, layout: Layout) -> Evaluation:
    """What `training.evaluate` finds; all ranks call this. What is lacking is a reason: a measurement is never lost for it.

    A compiled module runs as it was written, since it was compiled for the shapes of training.
    """
    if training.evaluate is None:
        return unevaluated("no evaluation: the workload has none")
    gathers = layout.loss == "full" and not layout.sp  # with sp a translation's words would have to come in multiples of the ranks
    if divided := [axis for axis in layout.axes() if axis not in WHOLE and not (axis == "tp" and gathers)]:
        return unevaluated(
            f"no evaluation under {layout.text}: with {', '.join(divided)} no rank has whole logits of sequences of any length"
        )
    try:
        with torch.compiler.set_stance("force_eager"):
            return _finite(training.evaluate())
    except UnavailableError as error:
        return unevaluated(f"no evaluation: {error.message}{f' ({error.hint})' if error.hint else ''}")


def unevaluated(reason: str) -> Evaluation:
    """No metrics, and why."""
    return Evaluation(metrics={}, reasons=(reason,))


def _finite(found: Evaluation) -> Evaluation:
    """The evaluation as it may be written down: JSON has no infinity, which is the perplexity of a word thought impossible."""
    lost = {name: value for name, value in found.metrics.items() if not math.isfinite(value)}
    metrics = {name: value for name, value in found.metrics.items() if name not in lost}
    reasons = tuple(f"{name} is {value}" for name, value in lost.items())
    return Evaluation(metrics=metrics, data=found.data, reasons=(*found.reasons, *reasons))
