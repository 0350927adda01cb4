"""Runs over several nodes on disk: each node's own files, in one shared folder or brought together later."""

import shutil
from pathlib import Path

from hwbench import store
from hwbench.analyse.summarise import summarise
from hwbench.core.record import Node, NodeHeader, NodeOutcome, RankOutcome
from tests.made_runs import WORKLOADS, inventory, record, run

HEADER = run((record("gpt"),)).header


def node(number: int, host: str, kernel: str = "6.1") -> NodeHeader:
    """What one node writes about itself."""
    return NodeHeader(
        node=number,
        host=host,
        started_at="2026-11-22T05:00:00+00:00",
        slots=2,
        interface="eth0",
        inventory=inventory(product_name=f"box {kernel}"),
        versions={"torch": "2.13.0"},
    )


def outcome(number: int, reason: str = "") -> NodeOutcome:
    ranks = (RankOutcome(rank=number, outcome="failed" if reason else "done", reason=reason),)
    return NodeOutcome(node=number, case_key="gpt", process=0, started_at="2026-11-22T05:00:01+00:00", ranks=ranks)


def write(folder: Path, header: NodeHeader, *outcomes: NodeOutcome) -> None:
    with store.node_writing(folder, header) as file:
        for one in outcomes:
            store.append(file, one)


def test_nodes_on_a_shared_file_system_write_side_by_side(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, HEADER)
    assert store.join_run(tmp_path, HEADER) == folder
    write(folder, node(0, "a"), outcome(0))
    write(folder, node(1, "a"), outcome(1), outcome(1, "rank 1 was killed by SIGKILL"))
    assert store.read_run(folder).nodes == (
        Node(header=node(0, "a"), outcomes=(outcome(0),)),
        Node(header=node(1, "a"), outcomes=(outcome(1), outcome(1, "rank 1 was killed by SIGKILL"))),
    )


def test_folders_of_their_own_are_brought_together_by_copying(tmp_path: Path) -> None:
    first, second = store.create_run(tmp_path / "a", HEADER), store.join_run(tmp_path / "b", HEADER)
    write(first, node(0, "a"), outcome(0))
    write(second, node(1, "b"), outcome(1))
    assert store.read_header(second) == HEADER
    shutil.copytree(second, first, dirs_exist_ok=True)
    assert [one.header.host for one in store.read_run(first).nodes] == ["a", "b"]


def test_a_torn_outcome_costs_itself_only(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, HEADER)
    write(folder, node(0, "a"), outcome(0))
    with (folder / "outcomes-0000-a.jsonl").open("ab") as file:
        file.write(b'{"node":0,"case_k')
    write(folder, node(0, "a"), outcome(0))
    found = store.read_run(folder)
    assert found.nodes[0].outcomes == (outcome(0), outcome(0))
    assert len(found.problems) == 1


def test_a_damaged_node_file_is_a_problem_of_the_run(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, HEADER)
    (folder / "node-0003-c.json").write_text("{}")
    found = store.read_run(folder)
    assert found.nodes == ()
    assert "node-0003-c.json" in found.problems[0]


def test_nodes_that_differ_are_reported(tmp_path: Path) -> None:
    folder = store.create_run(tmp_path, HEADER)
    write(folder, node(0, "a"))
    write(folder, node(1, "b", kernel="6.2"))
    made = summarise([store.read_run(folder)], made_at="", hwbench_version="0.1.0", workloads=WORKLOADS)
    (fact,) = made.nodes
    assert (fact.fact, fact.nodes, fact.values) == ("machine.product_name", ("0 (a)", "1 (b)"), ("box 6.1", "box 6.2"))
    assert f"the nodes of run {HEADER.id} differ in machine.product_name" in made.warnings
