"""What the plugin does beside pytest-benchmark: describe the machine, measure in more processes, judge, add a column, fail.

PYTEST_DONT_REWRITE
"""

import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from hwbench.core.comparison import CANT_TELL, Comparison
from hwbench.core.errors import HwbenchError

from ._pytest import CHILD
from ._pytest_table import Column, cell

DEFAULT_THRESHOLD: Final = 0.05
DEFAULT_PROCESSES: Final = 5
_FAIL: Final = re.compile(r"^slower:\s*(\d+(?:\.\d*)?)\s*(%?)$")


@dataclass
class _State:
    """What one session of pytest knows."""

    threshold_fraction: float = DEFAULT_THRESHOLD
    fails: bool = False
    processes: int = 1
    began_s: float = 0.0
    baseline: Any = None
    values: dict[str, list[float]] = field(default_factory=dict)
    """Benchmark -> its shortest time in each process, this one first, seconds a call."""
    verdicts: dict[str, Comparison] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def slower(self) -> list[Comparison]:
        return [one for one in self.verdicts.values() if one.verdict == "slower"]


_STATE: Final = pytest.StashKey[_State]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, so that a wrong one is said before anything is measured."""
    compare, processes = config.getoption("hwbench_compare"), config.getoption("hwbench_processes")
    threshold = _threshold(config.getoption("hwbench_fail"))
    if threshold is not None and not compare:
        raise pytest.UsageError("--hwbench-fail needs --hwbench-compare=REF: slower than what?")
    if processes is not None and not 1 <= processes <= 1000:
        raise pytest.UsageError(f"--hwbench-processes: expected 1 to 1000, found {processes}")
    config.stash[_STATE] = _State(
        threshold_fraction=DEFAULT_THRESHOLD if threshold is None else threshold,
        fails=threshold is not None,
        processes=processes or (DEFAULT_PROCESSES if compare else 1),
    )


def _threshold(text: str | None) -> float | None:
    if text is None:
        return None
    match = _FAIL.match(text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else math.nan
    if not 0 < value <= 10:
        raise pytest.UsageError(f"--hwbench-fail: expected slower:PERCENT such as slower:3%, found {text!r}")
    return value


def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the baseline before the first benchmark runs."""
    state = session.config.stash[_STATE]
    state.began_s = time.monotonic()
    wanted = session.config.getoption("hwbench_compare")
    if wanted:
        from ._pytest_baseline import find

        try:
            state.baseline = find(wanted, _benchmarks(session.config).storage, session.config.getoption("hwbench_results"))
        except HwbenchError as error:
            raise pytest.UsageError(f"--hwbench-compare: {error.message}{f'; {error.hint}' if error.hint else ''}") from error


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    """Add the stable facts that decide whether two runs may be compared, under `hwbench`."""
    machine_info["hwbench"] = _machine()


@cache
def _machine() -> dict[str, Any]:
    from hwbench.probe.inventory import take_inventory
    from hwbench.store.importing import machine_facts

    return machine_facts(take_inventory())


def pytest_benchmark_compare_machine_info(config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    """Say in one line which stable facts changed, where pytest-benchmark's own warning prints both machines whole."""
    from ._pytest_baseline import machine_doubt

    changed = machine_doubt(compared_benchmark.get("machine_info") or {}, machine_info)
    if changed:
        config.stash[_STATE].notes.append(f"{changed} (since the benchmarks that --benchmark-compare reads)")


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Keep each process's shortest times, so that the saved file is a baseline of several processes, and the verdicts."""
    state = config.stash[_STATE]
    verdicts = {name: {"verdict": one.verdict, "ratio": one.ratio, "note": one.note} for name, one in state.verdicts.items()}
    output_json["hwbench"] = {"process_minima_s": state.values} | ({"verdicts": verdicts} if verdicts else {})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    """Measure in further processes, judge, then let pytest-benchmark save and show; exit 1 where the option says so."""
    state = session.config.stash[_STATE]
    state.values = {one.fullname: [one.stats.min] for one in _benchmarks(session.config).benchmarks if one and not one.has_error}
    if state.values and int(exitstatus) in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        _measure_more(session.config, state)
        if state.baseline is not None:
            _judge(session.config, state)
    if state.fails and state.slower and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


def _measure_more(config: pytest.Config, state: _State) -> None:
    """Run the same command line again, once a further process, one after the other; what fails leaves a note."""
    limit_s = 60 + 10 * (time.monotonic() - state.began_s)
    with tempfile.TemporaryDirectory(prefix="hwbench-pytest-") as folder:
        for number in range(2, state.processes + 1):
            output = Path(folder) / f"{number}.json"
            problem = _run_child(config, output, limit_s)
            if problem:
                state.notes.append(f"process {number} of {state.processes}: {problem}")
                return
            from ._pytest_baseline import minima

            for name, value in minima(output).items():
                if name in state.values:
                    state.values[name].append(value)


def _run_child(config: pytest.Config, output: Path, limit_s: float) -> str:
    """One further process; empty, or why it gave no figures."""
    command = [sys.executable, "-m", "pytest", *map(str, config.invocation_params.args)]
    try:
        done = subprocess.run(
            command,
            cwd=config.invocation_params.dir,
            env={**os.environ, CHILD: str(output)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "" if output.is_file() else f"it wrote no results (exit status {done.returncode})"


def _judge(config: pytest.Config, state: _State) -> None:
    from hwbench.analyse.saved import compare_saved

    from ._pytest_baseline import doubts_of

    ours = "hwbench" in state.baseline.machine_info  # pytest-benchmark's own description takes seconds, and then adds nothing
    doubt = doubts_of(state.baseline, {"hwbench": _machine()} if ours else _benchmarks(config).get_machine_info())
    sides = {name: (state.baseline.values.get(name, []), values) for name, values in state.values.items()}
    verdicts = compare_saved(sides, threshold_fraction=state.threshold_fraction)
    if doubt.machine:
        verdicts = {name: _undecided(one) for name, one in verdicts.items()}
    state.verdicts = verdicts
    state.notes += [text for text in (doubt.machine and f"{doubt.machine}: no verdict can be given", doubt.session, doubt.changed) if text]
    state.notes += [f"{name}: {state.baseline.missing(name)}" for name, (base, _) in sides.items() if not base]


def _undecided(of: Comparison) -> Comparison:
    return Comparison(kernel=of.kernel, verdict=CANT_TELL, ratio=of.ratio, note="the machine changed")


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Generator[None]:
    """pytest-benchmark's table with the column, then what speaks against it and what made the session fail."""
    state, session = config.stash[_STATE], _benchmarks(config)
    column = Column(terminalreporter, _rows(session, state)) if state.verdicts and not session.quiet else None
    if column is not None:
        session.display = _with(session.display, column)
    yield
    if column is not None and not column.complete:
        for name, one in state.verdicts.items():
            terminalreporter.write_line(f"hwbench: {name}: {cell(one)}")
    _conclude(terminalreporter, state)


def _with(display: Callable[[Any], None], column: Column) -> Callable[[Any], None]:
    return lambda _reporter: display(column)


def _rows(session: Any, state: _State) -> Iterator[tuple[str, Comparison | None]]:
    """What the table shows, row by row as it sorts them: the name as shown, and the verdict of the rows of this session."""
    for _, benchmarks in session.groups or ():
        for one in sorted(benchmarks, key=lambda one: one[session.sort]):
            yield session.name_format(one), state.verdicts.get(one["fullname"]) if one.get("path") is None else None


def _conclude(reporter: pytest.TerminalReporter, state: _State) -> None:
    if state.baseline is not None and state.verdicts:
        limit = f"{100 * state.threshold_fraction:g} %"
        reporter.write_line(
            f"hwbench: against {state.baseline.name}, shortest times of {state.processes} processes; below {limit} counts as same; "
            "intervals at 99 %."
        )
    for note in dict.fromkeys((*state.notes, *_explained(state.verdicts))):
        reporter.write_line(f"hwbench: {note}", yellow=True)
    if state.fails and state.slower:
        names = ", ".join(one.kernel for one in state.slower)
        reporter.write_line(f"hwbench: slower by more than {100 * state.threshold_fraction:g} %: {names}", red=True, bold=True)


def _explained(verdicts: dict[str, Comparison]) -> Iterator[str]:
    """What the verdicts' notes say, each once, with how many benchmarks it is about."""
    for note in {one.note: None for one in verdicts.values() if one.note and one.ratio is not None}:
        about = [one.kernel for one in verdicts.values() if one.note == note]
        yield f"{about[0] if len(about) == 1 else f'{len(about)} benchmarks'}: {note}"


def _benchmarks(config: pytest.Config) -> Any:
    """pytest-benchmark's session, which it keeps on the config."""
    return config._benchmarksession  # type: ignore[attr-defined]
