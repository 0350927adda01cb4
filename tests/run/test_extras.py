"""What a run does beside measuring: compiling, tracing, energy, sizes by a try, and cases that ask for more memory than there is."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hwbench import store
from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.record import Case, Run
from hwbench.core.suite import Entry, Suite, Tried
from hwbench.core.workload import Check
from hwbench.run import cases, compiling, energy, measure
from hwbench.run.execute import _with_size
from hwbench.run.worker import reason_of

from .test_run import command, environment

ROOM_BYTES = 12 << 30


def run(folder: Path, *words: str, room_bytes: int | None = None, **variables: str) -> tuple[subprocess.CompletedProcess[str], Run]:
    """A whole `hwbench run` in `folder`, in an address space of so many bytes."""
    prefix = (sys.executable, "-c", _LIMITED, str(room_bytes)) if room_bytes else ()
    words = (*prefix, *command(*words, "--case-time", "0.3s"))
    done = subprocess.run(words, cwd=folder, env=environment() | variables, capture_output=True, text=True, timeout=300, check=False)
    (path,) = store.list_runs(folder / "hwbench-results")
    return done, store.read_run(path)


_LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_AS, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.mark.heavy
def test_out_of_memory_is_a_failed_record_with_the_size_that_was_asked_for(tmp_path: Path) -> None:
    done, found = run(tmp_path, "softmax", "--set", "rows=64,4000000", "--set", "width=1024", room_bytes=ROOM_BYTES)
    assert done.returncode == 4, done.stderr
    by_rows = {record.case.config["rows"]: record for record in found.records}
    assert by_rows[64].outcome == "done"
    assert by_rows[4000000].outcome == "failed"
    assert "out of memory: 15.3 GiB were asked for: " in by_rows[4000000].reason


@pytest.mark.heavy
def test_a_trace_and_the_costliest_operators_lie_beside_the_records(tmp_path: Path) -> None:
    done, found = run(tmp_path, "softmax", "--set", "rows=64", "--profile")
    assert done.returncode == 0, done.stderr
    (folder,) = Path(found.path, "traces").iterdir()
    assert folder.name == "001-softmax-rows=64-single-fp32-cpu"
    trace = json.loads((folder / "rank-0.json").read_text())
    assert any(event.get("name") == "aten::_softmax" for event in trace["traceEvents"])
    (packed,) = (folder / "tensorboard").glob("rank-0.*.pt.trace.json.gz")
    assert json.loads(gzip.decompress(packed.read_bytes())) == trace
    table = (folder / "rank-0-operators.md").read_text()
    assert "| `aten::_softmax` | 1 |" in table
    assert table.count("\n| `") <= 10


@pytest.mark.heavy
def test_compiling_without_a_compiler_is_a_skipped_case_with_the_reason(tmp_path: Path) -> None:
    done, found = run(tmp_path, "softmax", "--set", "rows=64", "--compile", "both", CXX="no-such-compiler")
    assert done.returncode == 0, done.stderr
    by_way = {record.case.compile: record for record in found.records}
    assert by_way[False].outcome == "done"
    assert by_way[True].outcome == "skipped"
    assert by_way[True].reason.startswith("torch.compile needs a C++ compiler: No working C++ compiler found")


@pytest.mark.heavy
def test_a_compiled_case_is_measured_beside_the_plain_one(tmp_path: Path) -> None:
    if torch._inductor.config.cpp.cxx is None:
        pytest.skip("no C++ compiler")
    done, found = run(tmp_path, "softmax", "--set", "rows=64", "--compile", "all")
    assert done.returncode == 0, done.stderr
    (record,) = found.records
    assert record.outcome == "done"
    assert record.case.compile
    assert record.case.key.endswith(" compiled")
    assert record.measurement is not None
    assert record.measurement.check is not None
    assert record.measurement.check.name == "softmax, compiled"
    cold_s, steady_s = record.measurement.ranks[0].warmup_wall_s[0], min(record.measurement.step_wall_s)
    assert cold_s > 10 * steady_s  # it compiles
    assert len(record.measurement.step_wall_s) >= 5
    told = record.measurement.ranks[0].energy
    assert told is not None
    assert told.reasons or told.host_j is not None


def test_a_compiled_call_is_held_against_the_plain_one() -> None:
    own = Check(name="c", error=1e-8, tolerance=1e-6, reference="float64")
    x = torch.ones(4)
    near = compiling.compared(lambda: (x * (1 + 1e-6),), lambda: (x,), lambda: own)
    assert near.passed
    assert near.error == pytest.approx(5e-7, rel=0.2)
    assert not compiling.compared(lambda: x * 1.1, lambda: x, lambda: own).passed
    assert not compiling.compared(lambda: x * float("nan"), lambda: x, lambda: own).passed


def test_the_time_of_a_cold_call_that_compiles_is_not_the_samples() -> None:
    import time

    calls = iter([0.4])
    step = measure.Step(run=lambda: time.sleep(next(calls, 0.001)), compiles=True)
    taken = measure.take_samples(step, 0.1, lambda phase, count: None)
    assert taken.warmup_wall_s[0] >= 0.4
    assert len(taken.samples) >= measure.FEWEST_SAMPLES


def test_old_cases_keep_their_keys() -> None:
    old = codec.from_json(b'{"workload": "w", "config": {"a": 1}}', Case, source="old")
    assert old.key == "w(a=1) single fp32 cpu threads=1"
    assert not old.compile


def plan(*entries: Entry, dtypes: tuple[str, ...] = ("fp32",)) -> Suite:
    return Suite(description="", entries=entries, dtypes=dtypes)


def test_compile_by_word_and_by_suite() -> None:
    entries = (Entry(workload="softmax"), Entry(workload="mlp", compile=(True,)))
    found = {
        word: [case.compile for case in cases.expand(plan(*cases.with_compile(entries, word)), "cpu")] for word in ("none", "all", "both")
    }
    assert found == {"none": [False, False], "all": [True, True], "both": [False, True, False, True]}
    assert [case.compile for case in cases.expand(plan(*entries), "cpu")] == [False, True]
    assert [case.compile for case in cases.expand(plan(*cases.with_compile(entries, "softmax")), "cpu")] == [False, True, True]
    assert [case.compile for case in cases.expand(plan(Entry(workload="matmul", compile=(True,))), "cpu")] == [False]  # a ceiling
    with pytest.raises(UserError, match="unknown workload to compile 'sofmax'"):
        cases.with_compile(entries, "sofmax")


def test_all_is_every_value_of_a_setting_with_named_values() -> None:
    entries = cases.with_settings([Entry(workload="attention")], ("backend=all", "seq_len=128,512"))
    found = cases.expand(plan(*entries), "cpu")
    assert {case.config["backend"] for case in found} == {"default", "math", "flash", "efficient", "cudnn", "flex"}
    assert len(found) == 2 * 6
    with pytest.raises(UserError, match="seq_len"):
        cases.expand(plan(*cases.with_settings([Entry(workload="attention")], ("seq_len=all",))), "cpu")


def test_sizes_are_chosen_for_each_dtype_by_what_was_tried() -> None:
    sizes = ({"m": 8192, "n": 8192, "k": 8192}, {"m": 1024, "n": 1024, "k": 1024}, {"m": 128, "n": 128, "k": 128})
    suite = plan(Entry(workload="matmul", sizes=sizes), dtypes=("fp32", "bf16", "fp16"))
    tried = Tried(flops_per_s={"fp32": 5e10, "bf16": 1e9}, bytes_per_s=1e10)
    assert [case.config["m"] for case in cases.expand(suite, "cpu", tried)] == [1024, 128, 128]  # fp16 is not here: nobody knows
    fast = Tried(flops_per_s={"fp32": 1e14, "bf16": 1e15, "fp16": 1e15}, bytes_per_s=3e12)
    assert [case.config["m"] for case in cases.expand(suite, "cuda", fast)] == [8192] * 3
    assert [case.config["m"] for case in cases.expand(suite, "cpu")] == [128] * 3
    mine = plan(*cases.with_settings(suite.entries, ("m=32",)))
    assert [case.config["m"] for case in cases.expand(mine, "cuda", fast)] == [32]  # what was asked for goes before


@pytest.mark.parametrize("text", [
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes.",
    "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
])  # fmt: skip
def test_the_size_that_was_asked_for_comes_first(text: str) -> None:
    assert reason_of(RuntimeError(text)).startswith("out of memory: 3.00 GiB were asked for: ")


def test_a_rank_that_the_kernel_killed_for_memory_names_its_size() -> None:
    (case,) = cases.expand(plan(Entry(workload="triad", set={"elements": 1 << 28})), "cpu")
    killed = _with_size("rank 0: out of memory: killed by the kernel (SIGKILL)", case)
    assert killed == "rank 0: out of memory: killed by the kernel (SIGKILL); its tensors take about 3.00 GiB"
    assert _with_size("rank 0: ValueError: no", case) == "rank 0: ValueError: no"


def powercap(folder: Path, *counters: int) -> Path:
    for i, now in enumerate(counters):
        zone = folder / f"intel-rapl:{i}"
        zone.mkdir(parents=True, exist_ok=True)
        for name, value in (("name", f"package-{i}"), ("energy_uj", now), ("max_energy_range_uj", 1000_000_000)):
            (zone / name).write_text(f"{value}\n")
    return folder


def test_energy_of_packages_adds_up_and_counters_may_start_again(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    before = energy.read(cpu, host=True, powercap=powercap(tmp_path, 5_000_000, 999_000_000))
    after = energy.read(cpu, host=True, powercap=powercap(tmp_path, 7_000_000, 2_000_000))
    taken = energy.between(before, after, 1.0)
    assert taken.host_j == pytest.approx(2.0 + 3.0)
    assert taken.device_j is None
    assert energy.between(before, after, 0.01).reasons == ("sampled for 0.010 s, too short for the counters",)


def test_energy_that_is_not_told_says_why(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert energy.read(cpu, host=True, powercap=tmp_path).reasons == (f"host energy: no RAPL packages under {tmp_path}",)
    assert energy.read(cpu, host=False).reasons == ("read by another rank of this machine",)
    assert "no counter is read on meta" in energy.read(torch.device("meta"), host=False).reasons[0]
