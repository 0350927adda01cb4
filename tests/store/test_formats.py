"""Other tools' files: what is read of them, what stays unknown, and junk that must end in one clear line."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench import store
from hwbench.core import codec
from hwbench.core.comparability import comparison_key
from hwbench.core.errors import UserError
from hwbench.core.record import Record
from hwbench.store import importing
from hwbench.store.formats._told import Told
from tests.made_runs import demo_run, inventory

PYTEST: dict[str, Any] = {
    "machine_info": {
        "node": "ci-1", "machine": "x86_64", "python_version": "3.11.2", "release": "6.1", "system": "Linux",
        "cpu": {"brand_raw": "AMD EPYC 7763", "vendor_id_raw": "AuthenticAMD", "count": 4, "hz_actual": [2445426000, 0]},
    },
    "commit_info": {"id": "4f2c81d", "time": "2026-11-20T09:30:00+00:00", "dirty": False, "project": "x", "branch": "main"},
    "benchmarks": [
        {
            "group": None, "name": "test_a", "fullname": "tests/test_x.py::test_a", "params": None, "param": None,
            "extra_info": {"odd": [1, {"x": None}]}, "options": {"timer": "perf_counter"},
            "stats": {"min": 0.0011, "median": 0.0012, "mean": 0.0012, "data": [0.0011, 0.0012, 0.0013], "iterations": 7},
        },
    ],
    "datetime": "2026-11-20T09:31:00.123456+00:00",
    "version": "5.3.1",
}  # fmt: skip

GOOGLE: dict[str, Any] = {
    "context": {"date": "2026-11-20T10:30:00+01:00", "host_name": "ci-2", "num_cpus": 8, "library_version": "v1.9.0", "caches": []},
    "benchmarks": [
        {"name": "BM_A/8", "run_name": "BM_A/8", "run_type": "iteration", "real_time": 120.0, "cpu_time": 118.0, "time_unit": "us"},
        {"name": "BM_A/8", "run_name": "BM_A/8", "run_type": "iteration", "real_time": 125.0, "cpu_time": 119.0, "time_unit": "us"},
        {"name": "BM_A/8_mean", "run_name": "BM_A/8", "run_type": "aggregate", "aggregate_name": "mean", "real_time": 122.0},
        {"name": "BM_B", "run_name": "BM_B", "run_type": "iteration", "error_occurred": True, "error_message": "no\nGPU", "real_time": 0},
        {"name": "BM_C_median", "run_name": "BM_C", "run_type": "aggregate", "aggregate_name": "median", "real_time": 3, "time_unit": "ms"},
        {"name": "BM_D/threads:4", "run_type": "iteration", "real_time": 2.0, "cpu_time": 8.0, "threads": 4},
        {"name": "BM_E", "run_type": "iteration", "real_time": 2.0, "time_unit": "fortnights"},
    ],
}  # fmt: skip

ASV: dict[str, Any] = {
    "version": 2, "commit_hash": "abc123", "env_name": "virtualenv-py3.11", "date": 1763600000000, "python": "3.11",
    "params": {"arch": "x86_64", "cpu": "AMD EPYC 7763", "machine": "lab", "num_cpu": "8", "os": "Linux", "ram": "16", "python": "3.11"},
    "requirements": {"numpy": "2.1"}, "env_vars": {},
    "result_columns": ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25",
                       "stats_q_75", "number", "repeat", "samples", "profile"],
    "results": {
        "suite.Time.time_sort": [[1e-3, 2e-3, None], [["10", "20", "30"]], "v1", 1763630000000, 3.1, [0, 0, 0], [0, 0, 0], [0, 0, 0],
                                 [0, 0, 0], [5, 5, 5], [3, 3, 3], [[1e-3, 1.1e-3], None, None]],
        "suite.peakmem_list": [[512], [], "v2", 1763630001000, 1.0],
        "suite.time_broken": [[math.nan], []],
    },
    "durations": {},
}  # fmt: skip

NCCL = """\
# nccl-tests version 2.13.6
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 2 minBytes 8 maxBytes 134217728 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0
#
# Using devices
#  Rank  0 Group  0 Pid  11 on   node-7 device  0 [0x07] NVIDIA A100-SXM4-40GB
#  Rank  1 Group  0 Pid  11 on   node-7 device  1 [0x0f] NVIDIA A100-SXM4-40GB
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
           8             2     float     sum      -1    25.34    0.00    0.00      0    24.90    0.00    0.00      0
   134217728      33554432     float     sum      -1    1806.7   74.29   74.29      0   1835.9   73.11   73.11    N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 36.9
"""
OLD_NCCL = """\
 nThread 1 nGpus 1 minBytes 32 maxBytes 64 step: 2(factor) warmup iters: 5 iters: 20 validation: 1

 Using devices
   Rank  0 Pid 11 on old-node device  0 [0x00] NVIDIA V100

                                                     out-of-place                       in-place
       size         count    type   redop     time   algbw   busbw  error     time   algbw   busbw  error
        (B)    (elements)                     (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
          32             8   float     sum    22.1    0.00    0.00  2e-07     21.9    0.00    0.00  2e-07
"""

TRAINER: dict[str, Any] = {
    "global_step": 100, "max_steps": 100, "epoch": 1.0, "best_metric": None,
    "log_history": [
        {"loss": 3.5, "learning_rate": 1e-4, "epoch": 0.5, "step": 50},
        {"eval_loss": 3.1, "eval_runtime": 4.0, "eval_samples_per_second": 20.0, "eval_steps_per_second": 2.5, "step": 50},
        {"loss": 2.5, "learning_rate": 0.0, "epoch": 1.0, "step": 100},
        {"train_runtime": 50.0, "train_samples_per_second": 16.0, "train_steps_per_second": 2.0, "total_flos": 1e14, "train_loss": 3.0,
         "step": 100},
    ],
}  # fmt: skip
TITAN = [
    {"step": step, "loss_metrics/global_avg_loss": 8.0 - step, "throughput(tps)": 8000.0, "tflops": 200.0, "time_metrics/end_to_end(s)": t}
    for step, t in ((1, 4.0), (2, 1.0), (3, 1.02))
]


def told(value: Any) -> Told:
    return importing.told(value if isinstance(value, str) else json.dumps(value), "FILE")


def by_name(found: Told) -> dict[str, Record]:
    return {record.case.key.split(" single")[0]: record for record in found.records}


def walls(record: Record) -> tuple[float, ...]:
    assert record.measurement is not None
    return record.measurement.ranks[0].wall_s


def test_pytest_benchmark() -> None:
    found = told(PYTEST)
    (record,) = found.records
    assert (found.kind, found.commit, found.dirty, found.version) == ("pytest-benchmark", "4f2c81d", False, "5.3.1")
    assert found.started_at == "2026-11-20T09:31:00.123+00:00"
    assert walls(record) == (0.0011, 0.0012, 0.0013)
    assert record.case.workload == "tests/test_x.py::test_a"
    assert (record.case.dtype, record.case.device) == ("unknown", "unknown")
    assert record.measurement is not None
    assert (record.measurement.flops_per_step, record.measurement.parameters, record.measurement.ranks[0].cpu_s) == (None, None, ())
    assert found.inventory.cpu.model == "AMD EPYC 7763"
    assert {gap.path for gap in found.inventory.gaps} >= {"memory", "tuning"}
    assert "dtype, device, threads" in found.unknown


def test_saved_without_samples_the_median_stands_for_the_process() -> None:
    file = copy.deepcopy(PYTEST)
    del file["benchmarks"][0]["stats"]["data"]
    (record,) = told(file).records
    assert walls(record) == (0.0012,)
    assert "without its samples" in record.warnings[0]


@pytest.mark.parametrize("data", [[0.0, 1.0], [-1.0], [math.nan], [math.inf], []])
def test_times_that_are_none_make_a_failed_record_that_can_be_stored(data: list[float]) -> None:
    file = copy.deepcopy(PYTEST)
    file["benchmarks"][0]["stats"]["data"] = data
    (record,) = told(file).records
    assert record.outcome == "failed"
    assert codec.from_json(codec.to_json(record), Record, source="") == record


def test_our_facts_give_the_machine_its_comparison_key_back() -> None:
    here = inventory()
    file = PYTEST | {"machine_info": PYTEST["machine_info"] | {"hwbench": importing.machine_facts(here)}}
    assert comparison_key(told(file).inventory) == comparison_key(here)
    nonsense = PYTEST | {"machine_info": PYTEST["machine_info"] | {"hwbench": {"facts": {"cpu.model": 7, "nothing": {}}}}}
    assert told(nonsense).inventory.cpu.model == "AMD EPYC 7763"


def test_google_benchmark() -> None:
    found = told(GOOGLE)
    records = by_name(found)
    assert found.started_at == "2026-11-20T09:30:00.000+00:00"
    assert walls(records["BM_A/8()"]) == pytest.approx((120e-6, 125e-6))
    first = records["BM_A/8()"].measurement
    assert first is not None
    assert first.ranks[0].cpu_s == pytest.approx((118e-6, 119e-6))
    assert (records["BM_B()"].outcome, records["BM_B()"].reason) == ("failed", "no GPU")
    assert walls(records["BM_C()"]) == pytest.approx((3e-3,))
    assert "median stands for the process" in records["BM_C()"].warnings[0]
    assert records["BM_D/threads:4()"].case.threads == 4
    assert "fortnights" in records["BM_E()"].reason
    old = {
        "context": {"date": "2016/08/02-18:46:47"},
        "benchmarks": [{"name": "BM_A", "real_time": 5}, {"name": "BM_A_mean", "real_time": 5}],
    }
    assert told(old).started_at == "2016-08-02T18:46:47.000+00:00"
    assert [record.case.workload for record in told(old).records] == ["BM_A"]


def test_asv() -> None:
    found = told(ASV)
    records = by_name(found)
    assert found.commit == "abc123"
    assert found.inventory.cpu.online_count == 8
    assert found.versions == {"python": "3.11", "numpy": "2.1"}
    assert walls(records["suite.Time.time_sort(param1=10)"]) == (1e-3, 1.1e-3)
    assert walls(records["suite.Time.time_sort(param1=20)"]) == (2e-3,)
    assert records["suite.Time.time_sort(param1=30)"].outcome == "failed"
    assert records["suite.peakmem_list()"].outcome == "skipped"
    assert records["suite.time_broken()"].outcome == "failed"
    with pytest.raises(UserError, match="expected asv's results format 2, found 1"):
        told(ASV | {"version": 1})


def test_nccl_tests() -> None:
    found = told(NCCL)
    assert [(r.case.config["message_bytes"], r.case.config["in_place"]) for r in found.records] == [
        (8, False), (8, True), (134217728, False), (134217728, True),
    ]  # fmt: skip
    big = found.records[2]
    assert (big.case.workload, big.case.layout, big.case.dtype) == ("nccl-tests all_reduce", "dp=2", "fp32")
    assert walls(big) == pytest.approx((1806.7e-6,))
    assert big.measurement is not None
    assert big.measurement.bytes_per_step == 134217728
    assert big.measurement.bytes_per_step / walls(big)[0] / 1e9 == pytest.approx(74.29, rel=1e-3), "algbw as printed"
    assert found.records[3].warnings == ("the results were not checked (-c 0)",)
    assert found.inventory.accelerators is not None
    assert [device.name for device in found.inventory.accelerators.devices] == ["NVIDIA A100-SXM4-40GB"] * 2


def test_nccl_tests_as_people_keep_it() -> None:
    """Indented in a document; marked by mpirun, with a message of NCCL's in between; out of place alone."""
    plain = [walls(record) for record in told(NCCL).records]
    indented = "".join(f"    {line}" for line in NCCL.splitlines(keepends=True))
    marked = "".join(f"[1,0]<stdout>:{line}" for line in NCCL.splitlines(keepends=True))
    marked = marked.replace(
        "[1,0]<stdout>:   134217728", "[1,1]<stdout>:node-7:21:21 [0] NCCL INFO comm 0x7f9c rank 1\n[1,0]<stdout>:   134217728"
    )
    for text in (indented, marked):
        found = told(text)
        assert [walls(record) for record in found.records] == plain
        assert found.inventory.accelerators is not None
        assert len(found.inventory.accelerators.devices) == 2
    alone = "\n".join(" ".join(line.split()[:-4]) if line.endswith(("#wrong", "0", "N/A")) else line for line in NCCL.splitlines())
    assert [(record.case.config["in_place"], walls(record)) for record in told(alone).records] == [(False, plain[0]), (False, plain[2])]


def test_old_nccl_tests_without_marks_and_name() -> None:
    found = told(OLD_NCCL)
    assert [walls(record)[0] for record in found.records] == pytest.approx([22.1e-6, 21.9e-6])
    assert found.records[0].case.workload == "nccl-tests unknown"
    assert "newer versions" in found.unknown["workload"]
    with pytest.raises(UserError, match="no line of figures"):
        told(OLD_NCCL.rsplit("\n", 2)[0])


def test_trainer_state() -> None:
    train, evaluation = told(TRAINER).records
    assert walls(train) == (0.5,)
    assert train.measurement is not None
    assert (train.measurement.items_per_step, train.measurement.item_unit) == (8, "sample")
    assert (train.measurement.flops_per_step, train.measurement.first_loss, train.measurement.last_loss) == (1e12, 3.5, 2.5)
    assert walls(evaluation) == (0.4,)
    unfinished = told({"log_history": TRAINER["log_history"][:1]}).records
    assert (unfinished[0].outcome, "train_runtime" in unfinished[0].reason) == ("skipped", True)


@pytest.mark.parametrize(
    "text", [json.dumps(TITAN), "\n".join(map(json.dumps, TITAN)) + "\n", "\n".join(map(json.dumps, TITAN)) + '\n{"ste']
)
def test_step_metrics(text: str) -> None:
    (train,) = told(text).records
    assert walls(train) == (4.0, 1.0, 1.02)
    assert train.measurement is not None
    assert (train.measurement.items_per_step, train.measurement.item_unit) == (8160, "token")
    assert train.measurement.flops_per_step == pytest.approx(204e12)
    assert (train.measurement.first_loss, train.measurement.last_loss) == (7.0, 5.0)


def test_two_results_of_one_name_are_two_cases() -> None:
    twice = PYTEST | {"benchmarks": PYTEST["benchmarks"] * 2}
    assert len({record.case.key for record in told(twice).records}) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file"),
        ("{}", "an empty JSON object"),
        ("[1, 2]", "JSON that is a list"),
        ('{"a": 1, "b": 2}', "a JSON object with the keys 'a', 'b'"),
        ("round,process\n1,2\n", "text that begins 'round,process'"),
        ('{"a": 1}\n{"a": 2}\n', "2 JSON lines without a step time"),
    ],
)
def test_an_unknown_kind_of_file_says_what_was_expected_and_found(text: str, found: str) -> None:
    with pytest.raises(UserError) as error:
        told(text)
    assert error.value.message == f"FILE: no results file that hwbench knows: found {found}"
    assert all(name in error.value.hint for name in ("pytest-benchmark", "Google Benchmark", "asv", "nccl-tests", "trainer_state", "step"))


def test_a_damaged_file_names_the_key() -> None:
    with pytest.raises(UserError, match=r"FILE: Expected float, got str - at \$.benchmarks\[0\].stats.data\[1\]"):
        told(json.dumps(PYTEST).replace("0.0012, 0.0013]", '"x"]'))
    with pytest.raises(UserError, match="without a single result"):
        told(PYTEST | {"benchmarks": []})


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["NaN", "\ud800", "1e999", "ns"])
_JUNK = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6
)


@st.composite
def _spoiled(draw: st.DrawFn) -> str:
    """A good file with some values, at any depth, replaced by junk or taken away."""
    made = json.loads(json.dumps(draw(st.sampled_from([PYTEST, GOOGLE, ASV, TRAINER, {"list": TITAN}]))))
    for _ in range(draw(st.integers(1, 4))):
        node: Any = made
        while isinstance(node, dict | list) and node:
            keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            if not isinstance(node[key], dict | list) or draw(st.booleans()):
                node[key] = draw(_JUNK)
                break
            node = node[key]
    return json.dumps(made.get("list", made))


def _reads_or_says_why(text: str) -> None:
    try:
        found = importing.told(text, "FILE")
    except UserError:
        return
    for record in found.records:
        assert codec.from_json(codec.to_json(record), Record, source="") == record
    codec.to_json(found)


@given(_spoiled())
@settings(max_examples=250, deadline=None)
def test_spoiled_files_are_read_or_refused(text: str) -> None:
    _reads_or_says_why(text)


@given(st.text() | st.lists(_JUNK, max_size=3).map(lambda lines: "\n".join(json.dumps(line) for line in lines)))
@settings(max_examples=100, deadline=None)
def test_junk_is_read_or_refused(text: str) -> None:
    _reads_or_says_why(text)


@given(st.lists(st.sampled_from([*NCCL.splitlines(), "   8 x float sum -1 1 2 3 0 1 2 3 0", "   8 2 float sum -1 N/A 2 3 0 1e9 2 3 5"])))
@settings(max_examples=100, deadline=None)
def test_lines_of_nccl_tests_in_any_order_are_read_or_refused(lines: list[str]) -> None:
    _reads_or_says_why("\n".join(lines))


def _stored(tmp_path: Path, *files: dict[str, Any], commit: str | None = None) -> list[Path]:
    sources = []
    for number, file in enumerate(files):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(file, indent=4))
        sources.append(importing.read_source(path))
    groups = importing.grouped(sources, commit)
    return [importing.store_group(group, tmp_path / "results", hwbench_version="0", commit=commit) for group in groups]


def _slower(seconds: float, **other: Any) -> dict[str, Any]:
    file = copy.deepcopy(PYTEST) | other
    file["benchmarks"][0]["stats"]["data"].append(seconds)
    return file


def test_files_of_one_commit_and_machine_are_processes_of_one_run(tmp_path: Path) -> None:
    (folder,) = _stored(tmp_path, PYTEST, _slower(0.002), _slower(0.003))
    run = store.read_run(folder)
    assert run.finished
    assert run.header.commit == "4f2c81d"
    assert [record.case.process for record in run.records] == [0, 1, 2]
    assert [len(walls(record)) for record in run.records] == [3, 4, 4], "never pooled"
    assert folder.name.startswith("20261120-093100"), "the run's id says when it was measured"


def test_other_commits_machines_and_changed_checkouts_stay_apart(tmp_path: Path) -> None:
    other = {"commit_info": PYTEST["commit_info"] | {"id": "5"}}
    elsewhere = {"machine_info": PYTEST["machine_info"] | {"node": "ci-9"}}
    changed = {"commit_info": PYTEST["commit_info"] | {"dirty": True}}
    nameless = {"commit_info": {"id": "unversioned", "dirty": False}}
    files = [PYTEST, *(_slower(0.01 * (i + 1), **more) for i, more in enumerate((other, elsewhere, changed, changed, nameless, nameless)))]
    folders = _stored(tmp_path, *files)
    assert len(folders) == 7
    assert [store.read_header(folder).commit for folder in folders][3:] == ["4f2c81d+", "4f2c81d+", None, None]


def test_a_given_commit_joins_files_that_name_none(tmp_path: Path) -> None:
    nameless = {"commit_info": None}
    (folder,) = _stored(tmp_path, _slower(0.01, **nameless), _slower(0.02, **nameless), commit="mine")
    assert store.read_header(folder).commit == "mine"


def test_a_copy_is_not_a_second_process(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same file as"):
        _stored(tmp_path, PYTEST, PYTEST)


def test_a_pytest_benchmark_file_survives_byte_for_byte(tmp_path: Path) -> None:
    odd = copy.deepcopy(PYTEST)
    odd["benchmarks"][0]["extra_info"] |= {"nan": math.nan, "big": 10**40, "half": "\ud800", "text": "ä\u2028"}
    odd["future"] = {"unheard": ["of"]}
    (folder,) = _stored(tmp_path, odd)
    assert importing.writers()["pytest-benchmark"].write(store.read_run(folder), ()) == ((tmp_path / "0.json").read_bytes(),)


def test_own_runs_become_one_pytest_benchmark_file_a_process(tmp_path: Path) -> None:
    run = demo_run()
    files = importing.writers()["pytest-benchmark"].write(run, ())
    assert len(files) == 3
    again = importing.told(files[0].decode(), "FILE")
    mine = {record.case.key: record for record in run.records if record.case.process == 0 and record.outcome == "done"}
    assert {record.case.workload: walls(record) for record in again.records} == {
        key: record.measurement.step_wall_s for key, record in mine.items() if record.measurement
    }
    assert comparison_key(again.inventory) == comparison_key(run.header.inventory)


def test_statistics_are_those_of_pytest_benchmark() -> None:
    stats = pytest.importorskip("pytest_benchmark.stats")
    theirs = stats.Stats()
    data = [3.0, 1.0, 2.0, 5.0, 4.0, 30.0, 2.5, 2.6, 2.2]
    for value in data:
        theirs.update(value)
    from hwbench.store.formats.pytest_benchmark import stats as ours

    mine = ours(data)
    assert set(mine) - {"data"} == set(theirs.fields)
    for name in ("min", "max", "mean", "stddev", "rounds", "median", "total", "ops", "stddev_outliers"):
        assert mine[name] == pytest.approx(getattr(theirs, name)), name
