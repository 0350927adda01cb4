"""Records of the ceilings suite become figures; what is missing is said with its reason."""

from typing import Any

import pytest

from hwbench.analyse.ceilings import ceilings, level
from hwbench.core.inventory import Cache, Cpu, Gap, Inventory, Memory, NumaNode
from hwbench.core.record import Case, Measurement, Outcome, Record, Run, RunHeader, Samples

MACHINE = Inventory(
    cpu=Cpu(
        caches=(
            Cache(level=1, kind="data", size_bytes=32 << 10, instances=8, cpus_per_instance=(1,)),
            Cache(level=1, kind="instruction", size_bytes=1 << 30, instances=8, cpus_per_instance=(1,)),
            Cache(level=3, kind="unified", size_bytes=16 << 20, instances=2, cpus_per_instance=(4,)),
        )
    ),
    memory=Memory(
        numa_nodes=(
            NumaNode(id=0, kind="cpu", cpu_list="0-3"),
            NumaNode(id=1, kind="cpu", cpu_list="4-7"),
            NumaNode(id=2, kind="memory", cpu_list=""),
        )
    ),
)
BANDWIDTH = {"kernel": "triad", "working_set_bytes": 1 << 28, "threads": 4, "cpus": "4-7", "pages": "system", "last_level_cache_bytes": 0}


def record(
    workload: str,
    config: dict[str, Any],
    *,
    walls: tuple[float, ...] = (2.0, 1.0, 2.0),
    flops: float = 0.0,
    moved: float = 0.0,
    layout: str = "single",
    dtype: str = "fp64",
    outcome: Outcome = "done",
    reason: str = "",
    warnings: tuple[str, ...] = (),
) -> Record:
    """One record of one process, every rank with the same samples."""
    ranks = 2 if layout == "dp=2" else 1
    samples = tuple(Samples(rank=rank, host="h", warmup_wall_s=(), wall_s=walls, cpu_s=walls) for rank in range(ranks))
    measurement = Measurement(
        ranks=samples, items_per_step=1, item_unit="byte", flops_per_step=flops, bytes_per_step=moved, parameters=0, check=None
    )
    return Record(
        case=Case(workload=workload, config=config, layout=layout, dtype=dtype),
        outcome=outcome,
        reason=reason,
        started_at="2026-11-20T09:30:00+00:00",
        duration_s=1.0,
        measurement=measurement if outcome == "done" else None,
        warnings=warnings,
    )


def run_of(*records: Record, planned: tuple[Case, ...] = (), machine: Inventory = MACHINE) -> Run:
    """A run of these records, which also meant to measure `planned`."""
    header = RunHeader(
        id="r1",
        started_at="2026-11-20T09:30:00+00:00",
        hwbench_version="0",
        command=(),
        suite="ceilings",
        cases=(*(one.case for one in records), *planned),
        inventory=machine,
        versions={},
    )
    return Run(path="r1", header=header, records=records)


def test_streams_have_their_place_level_and_both_rates() -> None:
    (found,) = ceilings(run_of(record("bandwidth", BANDWIDTH, moved=10e9))).streams
    assert (found.node, found.threads, found.level, found.kernel) == (1, 4, "memory", "triad")
    assert found.best_bytes_per_s == 10e9  # the second of the samples of 2, 1 and 2 s
    assert found.bytes_per_s == pytest.approx(6e9)  # 30 GB in 5 s


@pytest.mark.parametrize(("cpus", "node"), [("0-3", 0), ("4", 1), ("0-7", None), ("", None), ("9", None)])
def test_a_node_is_named_only_where_it_is_one(cpus: str, node: int | None) -> None:
    assert ceilings(run_of(record("bandwidth", BANDWIDTH | {"cpus": cpus}, moved=1.0))).streams[0].node == node


@pytest.mark.parametrize(
    ("mib", "threads", "name"),
    [(1 / 32, 1, "L1"), (1 / 16, 1, "L3"), (1 / 16, 2, "L1"), (16, 4, "L3"), (17, 4, "memory"), (32, 8, "L3"), (33, 8, "memory")],
)
def test_a_working_set_lies_where_its_threads_have_room(mib: float, threads: int, name: str) -> None:
    assert level(int(mib * 2**20), threads, MACHINE) == name
    assert level(int(mib * 2**20), threads, Inventory()) == "memory"


def test_latency_is_the_time_of_one_load() -> None:
    config = {"working_set_bytes": 1 << 20, "hops": 1_000_000, "pages": "huge"}
    (found,) = ceilings(run_of(record("latency", config, walls=(0.03, 0.02, 0.04)))).latencies
    assert found.latency_s == pytest.approx(30e-9)
    assert found.best_latency_s == pytest.approx(20e-9)
    assert (found.level, found.pages) == ("L3", "huge")


def test_products_are_measured_against_the_best_of_their_dtype() -> None:
    def product(size: int, flops: float, dtype: str = "fp32", layout: str = "single") -> Record:
        return record("matmul", {"m": size, "n": size, "k": size}, flops=flops, dtype=dtype, layout=layout)

    found = ceilings(run_of(product(512, 8e9), product(128, 2e9), product(128, 5e9, "fp64"), product(512, 4e9, layout="dp=2"))).products
    shares = {(one.dtype, one.layout, one.m): one.efficiency_fraction for one in found}
    assert shares == {("fp32", "single", 128): 0.25, ("fp32", "single", 512): 1.0, ("fp64", "single", 128): 1.0, ("fp32", "dp=2", 512): 1.0}
    assert [one.m for one in found if one.dtype == "fp32" and one.ranks == 1] == [128, 512]


def test_collectives_have_nccl_tests_figures() -> None:
    records = [
        record("collective", {"collective": name, "message_bytes": 1 << 20}, layout="dp=2", walls=(1e-3,) * 5)
        for name in ("all_reduce", "all_gather")
    ]
    reduce, gather = sorted(ceilings(run_of(*records)).exchanges, key=lambda one: one.collective, reverse=True)
    assert (reduce.ranks, reduce.time_s) == (2, 1e-3)
    assert reduce.algbw_bytes_per_s == pytest.approx((1 << 20) / 1e-3)
    assert reduce.busbw_bytes_per_s == reduce.algbw_bytes_per_s  # 2(n-1)/n of two ranks
    assert gather.busbw_bytes_per_s == gather.algbw_bytes_per_s / 2


def test_copies_and_disk() -> None:
    copy = record("transfer", {"direction": "host_to_device", "pinned": True, "message_bytes": 5}, moved=5.0)
    disk = record("disk", {"direction": "read", "file_bytes": 7, "folder": "", "block_bytes": 1}, moved=7.0)
    found = ceilings(run_of(copy, disk))
    assert (found.transfers[0].best_bytes_per_s, found.disks[0].best_bytes_per_s) == (5.0, 7.0)


def test_what_is_missing_is_said_once_with_its_reason() -> None:
    numba = "numba is not installed, and torch can't express this kernel"
    lost = [record("bandwidth", BANDWIDTH | {"threads": threads}, outcome="skipped", reason=numba, walls=()) for threads in (1, 2)]
    again = [record("disk", {"direction": "read"}, outcome="failed", reason="disk full"), record("disk", {"direction": "read"}, moved=1.0)]
    other = record("gpt", {}, outcome="failed", reason="not a ceiling")
    later = Case(workload="latency", config={})
    found = ceilings(run_of(*lost, again[0], other, planned=(later,)))
    assert found.gaps == (
        Gap(path="ceilings.bandwidth", reason=f"{numba} (2 cases)"),
        Gap(path="ceilings.disk", reason="disk full"),
        Gap(path="ceilings.latency", reason="not reached"),
        Gap(path="ceilings.bandwidth", reason="NUMA node 2 has no CPU: only streams from a node's own CPUs are measured"),
    )
    assert found.streams == ()


def test_a_case_that_succeeded_in_another_process_is_no_gap() -> None:
    config = {"direction": "read", "file_bytes": 7, "folder": ""}
    failed, done = record("disk", config, outcome="failed", reason="disk full"), record("disk", config, moved=1.0)
    assert ceilings(run_of(failed, done, machine=Inventory())).gaps == ()


def test_streams_rule_is_repeated_once() -> None:
    rule = "arrays of 1 MiB are less than 4 times the last-level cache of 1 MiB (STREAM's rule): a part may have come from that cache"
    records = [record("bandwidth", BANDWIDTH | {"threads": threads}, moved=1.0, warnings=(rule, "noise")) for threads in (1, 2)]
    found = ceilings(run_of(*records))
    assert found.warnings == (f"bandwidth triad: {rule}",)
    assert found.streams[0].warnings == (f"bandwidth triad: {rule}",)


def test_a_run_without_ceilings_has_none() -> None:
    found = ceilings(run_of(machine=Inventory()))
    assert (found.streams, found.gaps, found.warnings) == ((), (), ())
