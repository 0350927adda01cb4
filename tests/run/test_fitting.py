"""Words of a suite become numbers of a machine: of machines with one node and with many, with caches and without."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import registry
from hwbench.core.accelerators import Accelerator, Accelerators
from hwbench.core.cpulist import format_cpu_list, parse_cpu_list
from hwbench.core.errors import UserError
from hwbench.core.inventory import Cache, Cpu, Inventory, Limits, Memory, NumaNode
from hwbench.core.suite import Entry, Suite
from hwbench.run import cases
from hwbench.run.fitting import fitted, machine, nodes

MIB, GIB = 1 << 20, 1 << 30


def inventory(
    *node_cpus: str,
    usable: str = "",
    quota: float | None = None,
    memory_bytes: int = 64 * GIB,
    l3_bytes: int = 32 * MIB,
    sharing: int = 4,
) -> Inventory:
    """A machine whose nodes have these CPUs, with an L3 for every `sharing` of them."""
    every = sorted(set().union(*map(parse_cpu_list, node_cpus)))
    mine = parse_cpu_list(usable) or set(every)
    l3 = Cache(level=3, kind="unified", size_bytes=l3_bytes, instances=max(1, len(every) // sharing), cpus_per_instance=(sharing,))
    l1 = Cache(level=1, kind="data", size_bytes=32 << 10, instances=len(every), cpus_per_instance=(1,))
    code = Cache(level=4, kind="instruction", size_bytes=GIB, instances=1)
    kinds: tuple[Any, ...] = tuple("cpu" if cpus else "memory" for cpus in node_cpus)
    return Inventory(
        cpu=Cpu(caches=(l1, l3, code)),
        limits=Limits(effective_cpu_list=format_cpu_list(mine), effective_cpus=quota or len(mine), effective_memory_bytes=memory_bytes),
        memory=Memory(
            numa_nodes=tuple(NumaNode(id=i, kind=kinds[i], cpu_list=cpus, memory_bytes=32 * GIB) for i, cpus in enumerate(node_cpus))
        ),
    )


def settings(machine_: Inventory, workload: str = "bandwidth", **words: Any) -> list[dict[str, Any]]:
    """Every combination of settings that an entry with these words becomes."""
    suite = fitted(Suite(description="", entries=(Entry(workload=workload, set=words),)), machine_, "cpu")
    found = []
    for entry in suite.entries:
        values = [value if isinstance(value, list) else [value] for value in entry.set.values()]
        found += [dict(zip(entry.set, combination, strict=True)) for combination in itertools.product(*values)]
    return found


def test_every_node_by_itself_and_all_together() -> None:
    found = settings(inventory("0-7", "8-15"), cpus=["<nodes>", "<machine>"], threads=[1, "<all>"])
    assert [(one["cpus"], one["threads"]) for one in found] == [
        ("0-7", 1), ("0-7", 8), ("8-15", 1), ("8-15", 8), ("0-15", 1), ("0-15", 16),
    ]  # fmt: skip


def test_nodes_without_cpus_and_cpus_that_are_not_ours_are_left_out() -> None:
    found = settings(inventory("0-7", "8-15", "", usable="2-3,8"), cpus="<nodes>", threads="<all>")
    assert [(one["cpus"], one["threads"]) for one in found] == [("2-3", 2), ("8", 1)]


def test_a_quota_bounds_threads_but_not_where_they_run() -> None:
    assert settings(inventory("0-7", quota=2.5), cpus="<nodes>", threads="<doubling>") == [
        {"threads": 1, "cpus": "0-7"},
        {"threads": 2, "cpus": "0-7"},
    ]
    assert machine(inventory("0-7", quota=0.5)).cpus == 1


@pytest.mark.parametrize(("cpus", "threads"), [("0", [1]), ("0-2", [1, 2, 3]), ("0-7", [1, 2, 4, 8]), ("0-11", [1, 2, 4, 8, 12])])
def test_doubling_ends_with_all(cpus: str, threads: list[int]) -> None:
    assert [one["threads"] for one in settings(inventory(cpus), threads="<doubling>")] == threads


def test_arrays_are_beyond_the_last_level_cache_of_their_cpus() -> None:
    """Two nodes of eight CPUs with an L3 of 32 MiB for every four: each array four times the L3 that these CPUs reach."""
    found = settings(
        inventory("0-7", "8-15"), cpus=["<nodes>", "<machine>", "3"], working_set_bytes="<memory>", last_level_cache_bytes="<caches>"
    )
    assert [(one["cpus"], one["working_set_bytes"] // MIB, one["last_level_cache_bytes"] // MIB) for one in found] == [
        ("0-7", 768, 64), ("8-15", 768, 64), ("0-15", 1536, 128), ("3", 256, 32),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("about", "mib"),
    [
        ({"l3_bytes": 480 * MIB, "sharing": 2}, 512),  # a small part of a large host: 256 MiB a CPU
        ({"memory_bytes": 512 * MIB}, 128),  # a quarter of the memory
        ({"l3_bytes": MIB}, 192),  # never so small that a call is lost in the clock
        ({"memory_bytes": 3 * MIB}, 1),
    ],
)
def test_arrays_are_held_within_reason(about: dict[str, int], mib: int) -> None:
    (found,) = settings(inventory("0-1", **about), working_set_bytes="<memory>")  # type: ignore[arg-type]
    assert found["working_set_bytes"] == mib * MIB


def test_the_sweep_goes_from_the_nearest_cache_to_memory() -> None:
    sizes = [one["working_set_bytes"] for one in settings(inventory("0-3"), "latency", working_set_bytes="<caches>")]
    assert sizes[0] == 16 << 10
    assert sizes[-1] == 256 * MIB  # the first that is four times 32 MiB and 192 MiB
    assert all(after == 2 * before for before, after in itertools.pairwise(sizes))


def test_what_nobody_knows_is_not_guessed() -> None:
    unknown = Inventory()
    assert nodes(unknown) == (machine(unknown),)
    assert settings(unknown, cpus="<nodes>", threads="<all>", last_level_cache_bytes="<caches>", working_set_bytes="<memory>") == [
        {"threads": 1, "last_level_cache_bytes": 0, "working_set_bytes": 192 * MIB, "cpus": ""}
    ]


def test_ranks_for_all_devices() -> None:
    entry = Entry(workload="collective", layouts=("dp=2", "dp=<all>"))
    suite = Suite(description="", layouts=("dp=<all>",), entries=(entry,))
    gpus = Accelerators(devices=tuple(Accelerator(label=f"GPU{i}", source="test") for i in range(8)))
    with_gpus = Inventory(accelerators=gpus)

    def layouts(machine_: Inventory, device: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        made = fitted(suite, machine_, device)
        return made.entries[0].layouts, made.layouts

    assert layouts(with_gpus, "cuda") == (("dp=2", "dp=8"), ("dp=8",))
    assert layouts(inventory("0-5"), "cpu") == (("dp=2", "dp=6"), ("dp=6",))
    assert layouts(inventory("0-127"), "cpu")[1] == ("dp=16",)
    assert layouts(Inventory(), "cpu") == (("dp=2",), ("dp=2",))  # one CPU: the case is skipped, with that reason


def test_a_suite_without_words_stays_as_it_is() -> None:
    quick = registry.load_suite("quick")
    assert fitted(quick, inventory("0-3"), "cpu") == quick


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"threads": "<al>"}, "unknown value of threads '<al>'"),
        ({"cpus": "<node>"}, "unknown value of cpus '<node>'"),
        ({"kernel": "<all>"}, "unknown value of kernel '<all>'"),
        ({"cpus": "three", "threads": "<all>"}, "CPU list 'three'"),
    ],
)
def test_words_nobody_knows_are_refused(words: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        settings(inventory("0-3"), **words)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.integers(1, 1 << 30), st.integers(1 << 24, 1 << 40))
def test_the_ceilings_suite_fits_every_machine(counts: list[int], l3_bytes: int, memory_bytes: int) -> None:
    """Whatever the nodes: no thread without a CPU, nothing larger than a quarter of memory, no case twice."""
    firsts = list(itertools.accumulate(counts, initial=0))
    lists = [f"{first}-{first + count - 1}" for first, count in zip(firsts, counts, strict=False)]
    found = cases.expand(
        fitted(registry.load_suite("ceilings"), inventory(*lists, l3_bytes=l3_bytes, memory_bytes=memory_bytes), "cpu"), "cpu"
    )
    assert len({case.key for case in found}) == len(found)
    for case in found:
        if case.workload == "bandwidth" and case.config["cpus"]:
            assert case.config["threads"] <= len(parse_cpu_list(case.config["cpus"]))
            assert case.config["working_set_bytes"] <= max(memory_bytes // 4, MIB)


@given(st.sets(st.integers(0, 9999)))
def test_cpu_lists_come_back_as_they_were(numbers: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(numbers)) == numbers


def test_cpu_lists_are_short() -> None:
    assert format_cpu_list([8, 0, 1, 2, 4, 5, 5]) == "0-2,4-5,8"
