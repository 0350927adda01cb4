"""The pytest plugin: options, and nothing else until pytest-benchmark is there and somebody benchmarks.

PYTEST_DONT_REWRITE
"""

import os
from pathlib import Path

import pytest

CHILD = "HWBENCH_PYTEST_CHILD"
"""Environment variable that makes pytest a further process of the same benchmarks: the path of the JSON that it writes."""
OPTIONS = ("hwbench_compare", "hwbench_fail", "hwbench_processes")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; they stand beside pytest-benchmark's own."""
    group = parser.getgroup("hwbench", "hwbench: verdicts for pytest-benchmark")
    group.addoption(
        "--hwbench-compare",
        metavar="REF",
        help="Judge each benchmark against REF: a saved pytest-benchmark JSON, its number (0001), or a run in the results folder.",
    )
    group.addoption("--hwbench-fail", metavar="slower:PERCENT", help="Exit with 1 where a benchmark is slower by more, such as slower:3%%.")
    group.addoption(
        "--hwbench-processes",
        type=int,
        metavar="N",
        help="Take the benchmarks in N processes; verdicts and good baselines need several. Default: 5 with --hwbench-compare, else 1.",
    )
    group.addoption(
        "--hwbench-results", metavar="DIR", type=Path, default=Path("hwbench-results"), help="Where stored runs are looked for."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Join in where pytest-benchmark is active; say so where it is needed and absent. First, so that its session sees our changes."""
    if not hasattr(config.option, "benchmark_json"):
        used = [name for name in OPTIONS if config.getoption(name, None) is not None]
        if used:
            raise pytest.UsageError(f"--{used[0].replace('_', '-')} needs pytest-benchmark: install it, or leave the option away")
        return
    if os.environ.get(CHILD):
        become_child(config, Path(os.environ[CHILD]))
        config.pluginmanager.register(_Child(), "hwbench-child")
        return
    from hwbench.cli import _pytest_benchmark

    config.pluginmanager.register(_pytest_benchmark, "hwbench-benchmark")


class _Child:
    """A further process only measures: its file's descriptions of machine and commit, seconds of work, are nobody's."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_generate_machine_info(self) -> dict[str, str]:
        return {"process": "a further one"}

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_generate_commit_info(self) -> dict[str, str]:
        return {"id": "that of the first process"}


def become_child(config: pytest.Config, output: Path) -> None:
    """Only measure, and write the JSON: nothing that the first process writes is written again, nothing is compared."""
    replaced: dict[str, object] = {
        "benchmark_json": output,
        "benchmark_only": True,
        "benchmark_save": None,
        "benchmark_autosave": None,
        "benchmark_compare": [],
        "benchmark_compare_fail": None,
        "benchmark_histogram": [],
        "benchmark_cprofile": None,
        "hwbench_compare": None,
        "hwbench_fail": None,
        "hwbench_processes": None,
        "xmlpath": None,
    }
    for name, value in replaced.items():
        setattr(config.option, name, value)
