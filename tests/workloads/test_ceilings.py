"""The compiled streams, the chase, transfers, collectives and the disk: right results, the bytes they claim, and clear refusals."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hwbench.workloads import _memory, _speed, _team, bandwidth, matmul

from hwbench.core import registry
from hwbench.core.cpulist import parse_cpu_list
from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.workload import Context, Kernel, Workload

CPU = Context(device=torch.device("cpu"), dtype="fp64")


def built(name: str, context: Context = CPU, **settings: Any) -> tuple[Kernel, Any]:
    workload = registry.load("workloads", name, Workload)
    config = msgspec.convert(settings, workload.config)
    kernel = workload.build(config, context)
    assert isinstance(kernel, Kernel)
    return kernel, workload.cost(config, context.dtype)


@pytest.mark.parametrize("kernel", ["triad", "read", "write", "copy"])
@pytest.mark.parametrize("threads", range(1, min(3, len(os.sched_getaffinity(0)) + 1)))
def test_streams_compute_what_they_say(kernel: str, threads: int) -> None:
    pytest.importorskip("numba")
    step, cost = built("bandwidth", kernel=kernel, working_set_bytes=3 * 8 * 1000 * threads, threads=threads)
    step.run()
    assert step.check().passed
    arrays = {"triad": 3, "copy": 2, "read": 1, "write": 1}[kernel]
    assert cost.bytes == arrays * 8 * cost.items
    assert cost.bytes == pytest.approx(threads << 28, rel=0.01)  # small sets are passed over until a call is long enough to time


def test_a_stream_that_goes_wrong_is_seen() -> None:
    numpy = pytest.importorskip("numpy")
    part = (numpy.ones(10), numpy.ones(10), numpy.ones(10))
    assert bandwidth._error("triad", part, lambda *_: 0.0) > 0.1
    assert bandwidth._error("read", part, lambda *_: 11.0) > 0.05


def test_sums_of_many_single_precision_numbers_are_exact() -> None:
    """One chain of fp32 additions of ones stands still at 2^24; the stream sums in blocks."""
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("numba")
    from hwbench.workloads import _native

    none = numpy.ones(1, dtype=numpy.float32)
    assert _native.streams().read(numpy.ones((1 << 24) + 3, dtype=numpy.float32), none, none, 3.0, 1) == (1 << 24) + 3


@pytest.mark.parametrize("pages", ["system", "huge"])
def test_pages_are_what_was_asked_for(pages: str) -> None:
    numpy = pytest.importorskip("numpy")
    mode = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not mode.is_file() or "[madvise]" not in mode.read_text():
        pytest.skip("this system's transparent huge pages are not left to programs (madvise)")
    before = _huge_kib()
    array = _memory.empty(1 << 22, numpy.float64, pages)
    array[:] = 1.0
    assert (_huge_kib() - before >= 1 << 14) == (pages == "huge")  # half of the 32 MiB: the ends may not fill a page


def _huge_kib() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("AnonHugePages"))


def test_arrays_smaller_than_streams_rule_are_warned_of() -> None:
    pytest.importorskip("numba")
    step, _ = built("bandwidth", working_set_bytes=3 << 20, last_level_cache_bytes=1 << 20)
    assert step.warnings == (
        "arrays of 1.00 MiB are less than 4 times the last-level cache of 1.00 MiB (STREAM's rule): a part may have come from that cache",
    )
    assert built("bandwidth", kernel="read", working_set_bytes=4 << 20, last_level_cache_bytes=1 << 20)[0].warnings == ()


def test_threads_stay_on_the_cpus_that_were_named() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    members = _team.team(len(cpus), cpus)
    for _ in range(2):
        assert _team.together(members, [lambda: os.sched_getaffinity(0)] * len(cpus)) == [{cpu} for cpu in cpus]
        assert os.sched_getaffinity(0) >= set(cpus), "the caller is free again"
    assert _team.together(_team.team(2, ()), [threading.get_ident] * 2)[0] == threading.get_ident()


def test_cpus_that_are_not_there_are_refused() -> None:
    cpu = min(os.sched_getaffinity(0))
    assert bandwidth._cpus(bandwidth.Config(cpus=str(cpu))) == [cpu]
    assert bandwidth._cpus(bandwidth.Config()) == []
    with pytest.raises(UserError, match="threads=2: more than the 1 CPUs"):
        bandwidth._cpus(bandwidth.Config(cpus=str(cpu), threads=2))
    with pytest.raises(UnavailableError, match="may not run on CPU 65000"):
        bandwidth._cpus(bandwidth.Config(cpus="65000"))
    with pytest.raises(UserError, match="threads=9999: more than the"):
        bandwidth._cpus(bandwidth.Config(threads=9999))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bandwidth", {"working_set_bytes": 8}),
        ("bandwidth", {"threads": 0}),
        ("latency", {"hops": 0}),
        ("latency", {"working_set_bytes": 64}),
        ("disk", {"file_bytes": 0}),
        ("collective", {"message_bytes": 1}),
    ],
)
def test_impossible_sizes_are_refused(name: str, settings: dict[str, int]) -> None:
    workload = registry.load("workloads", name, Workload)
    with pytest.raises(UserError, match=next(iter(settings))):
        workload.cost(msgspec.convert(settings, workload.config), "fp64")


def test_chase_is_one_cycle_through_every_line() -> None:
    pytest.importorskip("numba")
    step, cost = built("latency", working_set_bytes=64 * 257, hops=1000)
    step.run()
    assert step.check().passed
    assert (cost.items, cost.bytes) == (1000, 64000)


@pytest.mark.parametrize("direction", ["read", "write"])
def test_disk_reads_what_was_written(direction: str, tmp_path: Any) -> None:
    step, _ = built("disk", direction=direction, file_bytes=10_001, block_bytes=4096, folder=str(tmp_path))
    step.run()
    assert step.check().passed
    assert list(tmp_path.iterdir()) == []


def test_disk_says_where_it_can_not_write(tmp_path: Any) -> None:
    with pytest.raises(UnavailableError, match="can't write in"):
        built("disk", folder=str(tmp_path / "none"))


def test_what_a_machine_lacks_is_unavailable_not_zero() -> None:
    with pytest.raises(UnavailableError, match="no accelerator"):
        built("transfer")
    with pytest.raises(UserError, match="nobody to talk to"):
        built("collective")
    with pytest.raises(UnavailableError, match="fp32 and fp64"):
        built("bandwidth", Context(device=torch.device("cpu"), dtype="bf16"))


def test_cpu_lists() -> None:
    assert parse_cpu_list("0-3, 8") == {0, 1, 2, 3, 8}
    assert parse_cpu_list("") == set()
    for text in ("a", "3-1", "1-", "0-99999999", "²"):
        with pytest.raises(UserError):
            parse_cpu_list(text)


def test_a_product_that_would_take_a_scalar_path_for_minutes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rates of a CPU without sixteen-bit units are put in place of this one's: 1 GFLOP/s, where fp32 has 60."""
    monkeypatch.setattr(_speed, "tried_flops_per_s", lambda dtype: 60e9 if dtype == torch.float32 else 1e9)
    half = Context(device=torch.device("cpu"), dtype="bf16")
    with pytest.raises(UnavailableError, match=r"bf16 products run at 1.00 GFLOP/s here, fp32 at 60.0 GFLOP/s: .* would take 17.2 s"):
        matmul.build(matmul.Config(m=2048, n=2048, k=2048), half)
    matmul.build(matmul.Config(m=256, n=256, k=256), half)
    monkeypatch.setattr(_speed, "tried_flops_per_s", lambda dtype: 20e9 if dtype == torch.float32 else 5e9)
    matmul.build(matmul.Config(m=2048, n=2048, k=2048), half)


def test_the_tried_rate_is_one() -> None:
    assert _speed.tried_flops_per_s(torch.float32) > 1e6
