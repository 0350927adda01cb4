"""The baseline of the pytest plugin: a saved file, files by their number, or a stored run; and what speaks against it.

PYTEST_DONT_REWRITE
"""

import difflib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from hwbench.analyse.comparable import Doubts, doubts
from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.store.importing import inventory_of

_OURS: Final = "hwbench"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What is compared with: `values` holds each benchmark's shortest time in each process, seconds a call."""

    name: str
    values: Mapping[str, Sequence[float]]
    machine_info: Mapping[str, Any]
    moment: str | None
    """When it was measured, as the file says."""

    def missing(self, benchmark: str) -> str:
        """Why a benchmark has no values here, with the nearest name."""
        near = difflib.get_close_matches(benchmark, self.values, n=1, cutoff=0.6)
        return f"not in {self.name}{f'; was it {near[0]}?' if near else ''}"


def find(wanted: str, storage: Any, results: Path) -> Baseline:
    """The baseline that a REF means: a file, a run's folder or id, or as pytest-benchmark reads it. UserError where it is none."""
    path = Path(wanted)
    if path.is_file():
        return _of_files(wanted, [_document(path)])
    run = _stored(wanted, results)
    if run is not None:
        return _of_files(f"run {run.name}", [_document(file) for file in _copies(run)])
    try:
        saved = list(storage.load(wanted))
    except ValueError:  # more than one slash and no file: pytest-benchmark takes it for no pattern
        saved = []
    if not saved:
        hint = "give a JSON file, a number such as 0001, or a run that `hwbench import` stored"
        raise UserError(f"{wanted!r} is no file, no saved benchmark in {storage} and no run in {results}", hint=hint)
    return _of_files(", ".join(str(name) for name, _ in saved), [document for _, document in saved])


def _stored(wanted: str, results: Path) -> Path | None:
    from hwbench import store

    try:
        return store.find_run(results, wanted)
    except UserError:
        return None


def _copies(run: Path) -> list[Path]:
    """The pytest-benchmark files that a run was imported from."""
    found = sorted((run / "imported").glob("*.json"))
    if not found:
        raise UserError(f"run {run.name} was not imported from pytest-benchmark: it holds no tests to compare with")
    return found


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(codec.read_text(path, what="saved benchmarks"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("benchmarks"), list):
        raise UserError(f"{path}: not a file of pytest-benchmark: it has no list `benchmarks`")
    return found


def _of_files(name: str, documents: Sequence[dict[str, Any]]) -> Baseline:
    """Files of one commit are processes of one baseline. UserError where they are of several: which one is meant?"""
    commits = {(commit.get("id"), commit.get("dirty")) for one in documents for commit in [one.get("commit_info") or {}]}
    if len(documents) > 1 and (len(commits) > 1 or any(dirty for _, dirty in commits)):
        raise UserError(f"{name}: {len(documents)} files, not all of one unchanged commit", hint="name one of them")
    values: dict[str, list[float]] = {}
    for document in documents:
        for benchmark, minima_s in _values(document).items():
            values.setdefault(benchmark, []).extend(minima_s)
    if not values:
        raise UserError(f"{name}: no benchmark with a shortest time in it")
    last = documents[-1]
    info, moment = last.get("machine_info"), last.get("datetime")
    return Baseline(
        name=name, values=values, machine_info=info if isinstance(info, dict) else {}, moment=moment if isinstance(moment, str) else None
    )


def _values(document: dict[str, Any]) -> dict[str, list[float]]:
    """Each benchmark's shortest time a process: one, or those of all processes where this plugin saved the file."""
    ours = document.get(_OURS)
    kept = ours.get("process_minima_s") if isinstance(ours, dict) else None
    found = {name: [value] for name, value in _minima(document).items()}
    if isinstance(kept, dict):
        found |= {name: [float(v) for v in values] for name, values in kept.items() if name in found and _numbers(values)}
    return found


def minima(path: Path) -> dict[str, float]:
    """Benchmark -> shortest time, seconds a call, of the file of one process."""
    return _minima(_document(path))


def _minima(document: dict[str, Any]) -> dict[str, float]:
    found = {}
    for one in document["benchmarks"]:
        stats = one.get("stats") if isinstance(one, dict) else None
        if isinstance(stats, dict) and isinstance(one.get("fullname"), str) and _numbers([stats.get("min")]):
            found[one["fullname"]] = float(stats["min"])
    return found


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def doubts_of(baseline: Baseline, machine_info: Mapping[str, Any]) -> Doubts:
    """What speaks against comparing with this baseline now: another machine, another session."""
    return doubts(*_same_facts(baseline.machine_info, machine_info), _age_s(baseline.moment))


def machine_doubt(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs of two machine_infos in stable facts; empty where nothing does. Facts that only one can tell are not compared."""
    found = doubts(*_same_facts(before, after), 0.0)
    return found.machine or found.changed


def _same_facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Inventory, Inventory]:
    both = _OURS in before and _OURS in after
    old, new = (inventory_of({key: value for key, value in info.items() if both or key != _OURS}) for info in (before, after))
    return old, new


def _age_s(moment: str | None) -> float | None:
    try:
        then = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    return max(0.0, time.time() - then.timestamp())
