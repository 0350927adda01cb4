"""Hugging Face's trainer_state.json, read: the mean training step from the run time, and the evaluations, of one process."""

import math
from collections.abc import Mapping
from typing import Any, Final

from hwbench.core.inventory import Inventory
from hwbench.core.record import Record

from ._metrics import SECTIONS, UNKNOWN_FIELDS, first, number
from ._told import NO_TIMES, Content, Reader, Told, case, not_told, record, unmeasured

KIND: Final = "Hugging Face trainer_state"


def recognises(content: Content) -> bool:
    """Whether it is an object with a `log_history` that is a list."""
    return isinstance(content.document, dict) and isinstance(content.document.get("log_history"), list)


def read(content: Content) -> Told:
    """One process: the training's mean step from its run time, and one sample an evaluation. Without run times the cases are skipped."""
    history = [entry for entry in content.document["log_history"] if isinstance(entry, dict)]
    done = [entry for entry in history if number(entry, "train_runtime")]
    losses = [found for entry in history if (found := first(entry, ("loss",))) is not None]
    records = [_training(done[-1], losses) if done else unmeasured(case("train"), "skipped", _unfinished(history), "")]
    evaluations = [entry for entry in history if number(entry, "eval_runtime") and number(entry, "eval_steps_per_second")]
    if evaluations:
        records.append(_evaluation(evaluations))
    unknown = UNKNOWN_FIELDS | {"wall_s": "the trainer keeps one run time for all steps: one sample, their mean, no spread"}
    return Told(kind=KIND, inventory=Inventory(gaps=not_told(KIND, *SECTIONS)), records=tuple(records), unknown=unknown)


def _unfinished(history: list[dict[str, Any]]) -> str:
    return f"{NO_TIMES}: none of its {len(history)} entries has train_runtime, which the trainer adds when it ends"


def _training(entry: Mapping[str, Any], losses: list[float]) -> Record:
    """The mean step: run time over steps, the last from the steps a second or the step number."""
    run_s, per_s = number(entry, "train_runtime") or math.nan, number(entry, "train_steps_per_second")
    steps = number(entry, "step") or (run_s * per_s if per_s else None)
    work = _work(entry, "train", run_s, steps)
    if steps and (total := number(entry, "total_flos")):
        work["flops_per_step"] = total / steps
    if losses:
        work |= {"first_loss": losses[0], "last_loss": losses[-1]}
    return record(case("train"), [run_s / steps] if steps else [], started_at="", **work)


def _evaluation(entries: list[dict[str, Any]]) -> Record:
    work = _work(entries[0], "eval", 1.0, number(entries[0], "eval_steps_per_second"))
    return record(case("eval"), [1 / float(entry["eval_steps_per_second"]) for entry in entries], started_at="", **work)


def _work(entry: Mapping[str, Any], kind: str, run_s: float, steps: float | None) -> dict[str, Any]:
    """Samples a step, where the rates of samples and steps are both told."""
    samples_per_s = number(entry, f"{kind}_samples_per_second")
    items = round(samples_per_s * run_s / steps) if samples_per_s and steps and samples_per_s * run_s / steps < 1e15 else 0
    return {"items_per_step": items, "item_unit": "sample"} if items else {}


READER: Final = Reader(kind=KIND, looks_like="JSON with log_history", recognises=recognises, read=read)
