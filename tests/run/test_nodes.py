"""Several launchers on one machine, over loopback: what goes wrong anywhere becomes a record of node 0 that names rank and host."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from hwbench import store
from hwbench.core.errors import MeasurementError
from hwbench.core.record import Run
from hwbench.run import launch, links, nodes, protocol
from hwbench.run.interrupt import interruptible
from hwbench.run.placement import Place
from tests.made_runs import run as made_run

ROOT = Path(__file__).parents[2]
MINE = str(Path(__file__).with_name("behaving.py"))
LIMIT_S = 240.0
HOST = socket.gethostname()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def join(node: int = 1, **changes: object) -> protocol.Join:
    plain = protocol.Join(
        node=node,
        host=f"h{node}",
        hwbench_version="1",
        versions={"torch": "2.13.0", "python": "3.11.2"},
        cpus=2,
        accelerators=0,
    )
    return msgspec.structs.replace(plain, **changes)


def launcher(folder: Path, words: tuple[str, ...], variables: Mapping[str, str], bound: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (variables.get("PYTHONPATH"), str(ROOT))))}
    environment |= {name: value for name, value in variables.items() if name != "PYTHONPATH"}
    command = [*bound, sys.executable, "-m", "hwbench", "run", *words]
    with (folder / "said").open("w") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, text=True)


@contextmanager
def ending(*launchers: subprocess.Popen[str]) -> Iterator[list[int]]:
    """The exit statuses of launchers; none of their processes, which all have their folder as the current one, is left."""
    folders = {psutil.Process(one.pid).cwd() for one in launchers}
    try:
        yield [one.wait(LIMIT_S) for one in launchers]
    finally:
        for one in launchers:
            one.kill()
    assert [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] in folders] == []


def read(folder: Path) -> Run:
    (path,) = store.list_runs(folder / "hwbench-results")
    return store.read_run(path)


@pytest.mark.heavy
def test_faults_name_node_host_and_rank_and_keep_what_was_measured(tmp_path: Path) -> None:
    """Two launchers as torchrun would start them: a rank killed, one stopped, one that raises, and a case that is fine."""
    port = free_port()
    torchrun = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port - 1)}
    words = (MINE, "--set", "behaviour=fine,killed,stopped,raises", "--layout", "dp=2", "--case-time", "0.5s", "--time-limit", "8s")
    pair = [launcher(tmp_path / str(rank), words, torchrun | {"RANK": str(rank)}) for rank in (0, 1)]
    with ending(*pair) as statuses:
        assert statuses == [4, 4], (tmp_path / "0/said").read_text() + (tmp_path / "1/said").read_text()
    run, other = read(tmp_path / "0"), read(tmp_path / "1")
    reasons = {record.case.config["behaviour"]: record.reason for record in run.records}
    assert reasons.pop("fine") == ""
    assert reasons["killed"].startswith(f"node 1 ({HOST}): rank 1 was killed by SIGKILL")
    assert reasons["raises"] == f"node 1 ({HOST}): rank 1: ValueError: the last rank raised"
    assert reasons["stopped"].startswith("no answer within the time limit of 8.00 s")
    assert f"node 1 ({HOST}): rank 1 is stopped" in reasons["stopped"]
    assert other.header == run.header
    assert other.records == ()
    (node,) = other.nodes
    fared = {outcome.case_key.partition("behaviour=")[2].partition(",")[0]: outcome.ranks for outcome in node.outcomes}
    assert {behaviour: (ranks[0].rank, ranks[0].outcome) for behaviour, ranks in fared.items()} == {
        "fine": (1, "done"), "killed": (1, "failed"), "stopped": (1, "failed"), "raises": (1, "failed"),
    }  # fmt: skip


@pytest.mark.heavy
def test_nodes_that_do_not_fit_fail_every_case_with_the_reason(tmp_path: Path) -> None:
    """As Slurm's srun would start them: a node with another torch, and then one with fewer CPUs than its share of ranks."""
    other_torch = tmp_path / "packages" / "torch-0.1.dist-info"
    other_torch.mkdir(parents=True)
    (other_torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    slurm = {"SLURM_STEP_NUM_NODES": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost"}
    words = (MINE, "--layout", "dp=4", "--time-limit", "30s")
    said = {}
    for number, (variables, bound) in enumerate([({"PYTHONPATH": str(other_torch.parent)}, ()), ({}, ("taskset", "-c", "0"))]):
        job = slurm | {"SLURM_JOB_ID": str(free_port() % 10000), "HWBENCH_TEST": "1"}
        first = launcher(tmp_path / f"{number}-0", words, job | {"SLURM_PROCID": "0", "SLURM_NODEID": "0"})
        second = launcher(tmp_path / f"{number}-1", words, job | {"SLURM_PROCID": "1", "SLURM_NODEID": "1"} | variables, bound)
        with ending(first, second) as statuses:
            assert statuses[0] == 4, (tmp_path / f"{number}-0/said").read_text()
        (record,) = read(tmp_path / f"{number}-0").records
        assert record.outcome == "failed"
        said[number] = record.reason
    assert said[0].startswith(f"node 1 ({HOST}): node 1 ({HOST}) has torch 0.1, node 0 ({HOST}) has ")
    assert said[1].endswith(f"(the fewest CPUs are 1, on node 1 ({HOST}))")


def test_a_port_in_use_is_named_in_every_record(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (MINE, "--layout", "dp=2", "--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", f"127.0.0.1:{port}")
        with ending(launcher(tmp_path / "0", words, {})) as statuses:
            assert statuses == [4]
    (record,) = read(tmp_path / "0").records
    assert record.reason == f"node 0 ({HOST}): 127.0.0.1:{port} is in use by another process"


def test_layouts_that_nodes_cannot_share_evenly_are_refused_before_anything_starts(tmp_path: Path) -> None:
    words = (MINE, "--layout", "dp=3", "--nnodes", "2", "--node-rank", "0", "--rdzv-endpoint", "127.0.0.1:1")
    with ending(launcher(tmp_path / "0", words, {})) as statuses:
        assert statuses == [2]
    assert "layout dp=3 has 3 ranks, which 2 nodes can't share evenly" in (tmp_path / "0/said").read_text()


def test_versions_that_may_differ_and_those_that_may_not() -> None:
    assert nodes.unlike(join(0), join(1, versions={"torch": "2.13.0", "python": "3.11.2", "numpy": "9"})) == ""
    assert nodes.unlike(join(0), join(1, hwbench_version="2")) == "node 1 (h1) has hwbench 2, node 0 (h0) has 1"
    assert "has torch None" in nodes.unlike(join(0), join(1, versions={"python": "3.11.2"}))


def test_the_interface_that_has_an_address() -> None:
    assert nodes.interface_of("127.0.0.1") in ("lo", "lo0")
    assert nodes.interface_of("203.0.113.7") is None


def test_a_node_that_never_comes_is_named() -> None:
    place = Place(nodes=3, node=0, host="127.0.0.1", port=free_port())
    header = made_run().header
    with (
        pytest.raises(MeasurementError, match=r"node 1, 2 did not join at 127.0.0.1:\d+ within 100 ms"),
        nodes.gathered(place, join(0), header, 0.1),
    ):
        pass


@pytest.fixture
def pair() -> Iterator[tuple[links.Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield links.Link(node=1, host="h1", connection=ours, silent_s=5.0), theirs


def test_a_link_hands_on_whole_messages_only(pair: tuple[links.Link, socket.socket]) -> None:
    link, there = pair
    line = b'{"type":"Lost","reason":"x"}\n'
    there.sendall(line[:7])
    assert links.hear(link) == []
    there.sendall(line[7:] + b'{"type":"Alive"}\n' + line)
    assert links.hear(link) == [protocol.Lost(reason="x"), protocol.Lost(reason="x")]
    assert link.lost == ""


def test_what_comes_with_the_welcome_is_not_lost() -> None:
    """A node that is slow to read finds the first order right behind the welcome."""
    place = Place(nodes=2, node=0, host="127.0.0.1", port=free_port())
    header = made_run().header

    def other() -> tuple[str, list[protocol.Message]]:
        with nodes.joined(msgspec.structs.replace(place, node=1), join(1), 30.0) as member:
            time.sleep(0.2)
            return member.header.id, member.link.unread or links.hear(member.link)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(other)
        with nodes.gathered(place, join(0), header, 30.0) as team:
            nodes.launch_everywhere(team, 2)
            found, messages = answer.result()
    assert found == header.id
    assert [type(message) for message in messages] == [protocol.Launch]
    assert team.fewest == "node 0 (h0)"


@pytest.mark.parametrize(("sent", "why"), [(b"GET / HTTP/1.1\n", "sent what is no message"), (b"", "hwbench has ended there")])
def test_a_stranger_or_an_end_loses_the_link(pair: tuple[links.Link, socket.socket], sent: bytes, why: str) -> None:
    link, there = pair
    there.sendall(sent)
    there.close()
    links.hear(link)
    links.hear(link)
    assert why in link.lost


def test_silence_loses_the_link_and_is_broken_by_alive(pair: tuple[links.Link, socket.socket]) -> None:
    link, there = pair
    links.keep_alive(link)
    assert there.recv(99) == b'{"type":"Alive"}\n'
    assert link.lost == ""
    link.heard_s -= 6.0
    links.keep_alive(link)
    assert link.lost == "cut off: nothing was heard from it for 5.00 s"


@pytest.mark.heavy
def test_a_node_without_ranks_hears_that_the_launch_goes_on(tmp_path: Path, pair: tuple[links.Link, socket.socket]) -> None:
    """A long case of `single` on node 0 must not look to the others as if they were cut off."""
    link, there = pair
    link.silent_s = 500.0
    with interruptible() as interrupt, launch.launched(1, tmp_path / "launch-001.log", interrupt, bystanders=(link,)) as ranks:
        there.sendall(b'{"type":"Alive"}\n')
        link.heard_s -= 600.0
        assert launch.receive(ranks, time.monotonic() + 60.0, "") == []
        assert link.lost == "", "what it said is read while others measure"
    assert b'{"type":"Alive"}' in there.recv(4096)
