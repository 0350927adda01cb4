"""Nearness from paths through the PCI tree."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.accelerators import Accelerator, Link, Matrix, Nic
from hwbench.probe.topology import NEAREST_FIRST, Place, link_domains, pairings, relation, relation_matrix

PORT, UP, DOWN_A, DOWN_B = "0000:16:01.0", "0000:17:00.0", "0000:18:00.0", "0000:18:04.0"
SECOND_UP, SECOND_DOWN = "0000:1a:00.0", "0000:1b:00.0"


def place(*bridges: str, root: str | None = "0000:16", node: int | None = 0, label: str = "one") -> Place:
    return Place(label, bridges, root, node)


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        (place(PORT, UP, DOWN_A), place(PORT, UP, DOWN_B), "PIX"),  # two ports of one switch
        (place(PORT), place(PORT), "PIX"),  # two functions behind one port
        (place(PORT, UP, DOWN_A), place(PORT, UP, DOWN_B, SECOND_UP, SECOND_DOWN), "PXB"),  # a switch behind the switch
        (place(PORT, UP, DOWN_A), place("0000:16:02.0"), "PHB"),  # another root port of the same host bridge
        (place(), place(), "PHB"),  # a virtual machine: everything on bus 0
        (place(PORT), place("0000:40:01.0", root="0000:40"), "NODE"),
        (place(PORT), place("0000:c0:01.0", root="0000:c0", node=1), "SYS"),
        (place(PORT), place("0000:c0:01.0", root="0000:c0", node=None), None),
        (place(PORT), place(root=None, node=1), "SYS"),
        (place(PORT), place(root=None, node=0), None),
        (place(PORT, node=None), place(root=None, node=None), None),
    ],
)
def test_relations(one: Place, other: Place, word: str | None) -> None:
    assert relation(one, other) == word
    assert relation(other, one) == word


def test_one_numa_node_settles_what_the_kernel_left_out() -> None:
    assert relation(place(PORT, node=None), place(root="0000:40", node=None), one_node=True) == "NODE"


bridges = st.lists(st.sampled_from([PORT, UP, DOWN_A, DOWN_B, SECOND_UP]), max_size=4, unique=True).map(tuple)
places = st.builds(Place, st.just("x"), bridges, st.sampled_from(["0000:16", "0000:40", None]), st.one_of(st.none(), st.integers(0, 3)))


@given(places, places, st.booleans())
def test_relation_is_symmetric_and_a_known_word(one: Place, other: Place, one_node: bool) -> None:
    word = relation(one, other, one_node=one_node)
    assert word == relation(other, one, one_node=one_node)
    assert word is None or word in NEAREST_FIRST


def gpu(index: int, *links: Link) -> Accelerator:
    return Accelerator(label=f"GPU{index}", source="test", index=index, pci_address=f"0000:0{index}:00.0", links=links)


def nvlink(
    to: int | None = None, count: int = 1, remote: str | None = "gpu", address: str | None = None, active: bool | None = True
) -> Link:
    target = address if to is None else f"0000:0{to}:00.0"
    return Link(kind="nvlink", remote=remote, remote_pci_address=target, remote_pci_id="10de:1af1", count=count, active=active)


def matrix(*gpus: Accelerator, known: Matrix | None = None) -> Matrix:
    return relation_matrix(gpus, [Place(gpu.label, (), None, None) for gpu in gpus], known, "test", one_node=False)


def test_direct_links_are_counted_and_inactive_ones_are_not() -> None:
    one = gpu(0, nvlink(1), nvlink(1), nvlink(1, active=False))
    other = gpu(1, nvlink(0), nvlink(0))
    assert matrix(one, other).cell("GPU0", "GPU1") == "NV2"


def test_through_switches_the_lesser_count_holds() -> None:
    one = gpu(0, nvlink(address="0000:c4:00.0", remote="switch", count=12))
    other = gpu(1, nvlink(address="0000:c5:00.0", remote="switch", count=11))
    assert matrix(one, other).cell("GPU0", "GPU1") == "NV11"


def test_links_to_cpus_join_no_gpus() -> None:
    one, other = (gpu(index, nvlink(address="0000:04:00.0", remote="cpu", count=3)) for index in range(2))
    assert matrix(one, other).cell("GPU0", "GPU1") is None


def test_what_the_driver_said_is_kept_where_there_is_no_link() -> None:
    known = Matrix(meaning="", source="NVML", labels=("GPU0", "GPU1"), cells=(("X", "PXB"), ("PXB", "X")))
    assert matrix(gpu(0), gpu(1), known=known).cells == known.cells


def test_pairing_takes_rdma_adapters_where_there_are_any() -> None:
    nics = (Nic(label="NIC0", rdma=False), Nic(label="NIC1", rdma=True), Nic(label="NIC2", rdma=True))
    table = Matrix(
        meaning="", source="", labels=("GPU0", "NIC0", "NIC1", "NIC2"),
        cells=(("X", "PIX", "NODE", "PXB"), ("PIX", "X", None, None), ("NODE", None, "X", None), ("PXB", None, None, "X")),
    )  # fmt: skip
    [found] = pairings([gpu(0)], nics, table)
    assert (found.nics, found.relation) == (("NIC2",), "PXB")
    [found] = pairings([gpu(0)], nics[:1], table)
    assert (found.nics, found.relation) == (("NIC0",), "PIX")
    assert pairings([gpu(1)], nics, table) == ()


@given(st.lists(st.integers(0, 1), min_size=28, max_size=28))
def test_domains_are_the_connected_groups(joined: list[int]) -> None:
    pairs = [(one, other) for one in range(8) for other in range(one)]
    linked = {pair for pair, yes in zip(pairs, joined, strict=True) if yes}
    cells = tuple(tuple("NV1" if (max(i, j), min(i, j)) in linked else "SYS" for j in range(8)) for i in range(8))
    gpus = [gpu(index) for index in range(8)]
    domains = link_domains(gpus, Matrix(meaning="", source="", labels=tuple(one.label for one in gpus), cells=cells))
    members = [label for domain in domains for label in domain]
    assert len(members) == len(set(members))
    for one, other in linked:
        assert any({f"GPU{one}", f"GPU{other}"} <= set(domain) for domain in domains)
    for domain in domains:
        assert len(domain) > 1
        assert all(int(left[3:]) < int(right[3:]) for left, right in pairwise(domain))
