"""Where a launcher stands among several: from options, from Slurm's step, from torchrun; and what is missing is said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.run.placement import SPARE, Place, first_host, parse_endpoint, place_of

SLURM = {
    "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1", "SLURM_NODEID": "1", "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "123456",
}  # fmt: skip
TORCHRUN = {
    "RANK": "4", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
}  # fmt: skip


def test_one_machine_has_no_place() -> None:
    assert place_of(None, None, None, {}) is None
    assert place_of(1, None, None, {}) is None


def test_options_go_before_the_environment() -> None:
    assert place_of(4, 1, "a:29500", SLURM | TORCHRUN) == Place(nodes=4, node=1, host="a", port=29500)


def test_a_slurm_step_is_joined() -> None:
    assert place_of(None, None, None, SLURM) == Place(nodes=2, node=1, host="gpu07", port=23456, source="slurm")
    assert place_of(None, None, "10.0.0.1:7", SLURM) == Place(nodes=2, node=1, host="10.0.0.1", port=7, source="slurm")


def test_a_batch_script_without_srun_is_one_machine() -> None:
    assert place_of(None, None, None, {"SLURM_JOB_NUM_NODES": "4", "SLURM_NNODES": "4", "SLURM_PROCID": "0"}) is None


def test_torchrun_is_joined() -> None:
    assert place_of(None, None, None, TORCHRUN) == Place(nodes=2, node=1, host="node0", port=29501, source="torchrun")
    older = {name: value for name, value in TORCHRUN.items() if not name.startswith("GROUP")}
    assert place_of(None, None, None, older) == Place(nodes=2, node=1, host="node0", port=29501, source="torchrun")


@pytest.mark.parametrize("environment", [SLURM | {"SLURM_LOCALID": "1"}, TORCHRUN | {"RANK": "5", "LOCAL_RANK": "1"}])
def test_only_the_first_task_of_a_node_launches(environment: dict[str, str]) -> None:
    assert place_of(None, None, None, environment) == SPARE


@pytest.mark.parametrize(
    "environment",
    [SLURM | {"SLURM_STEP_NUM_NODES": "1"}, TORCHRUN | {"GROUP_WORLD_SIZE": "1", "WORLD_SIZE": "4", "RANK": "0", "GROUP_RANK": "0"}],
)
def test_one_node_of_a_batch_system_is_one_machine(environment: dict[str, str]) -> None:
    assert place_of(None, None, None, environment) is None


@pytest.mark.parametrize(
    ("nnodes", "rank", "endpoint", "environment", "says"),
    [
        (2, None, "a:1", {}, "--nnodes needs --node-rank and --rdzv-endpoint"),
        (2, 0, None, {}, "--nnodes needs --node-rank and --rdzv-endpoint"),
        (2, 2, "a:1", {}, "--node-rank 2: expected 0 to 1"),
        (None, 0, None, {}, "--node-rank without --nnodes"),
        (None, None, "a:1", {}, "--rdzv-endpoint without --nnodes"),
        (2, 0, "a", {}, "--rdzv-endpoint 'a': expected host:port"),
        (2, 0, "a:99999", {}, "expected host:port"),
        (None, None, None, SLURM | {"SLURM_NODEID": "x"}, "SLURM_NODEID: expected a whole number, found 'x'"),
        (None, None, None, SLURM | {"SLURM_STEP_NODELIST": ""}, "expected a list of hosts"),
    ],
)
def test_what_is_missing_is_said(
    nnodes: int | None, rank: int | None, endpoint: str | None, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        place_of(nnodes, rank, endpoint, environment)


@pytest.mark.parametrize(
    ("nodelist", "first"),
    [("node1", "node1"), ("n[003-005,9],gpu1", "n003"), ("a,b", "a"), ("rack[2,4]-ib", "rack2-ib"), ("n[7]", "n7"), ("a-1,a-2", "a-1")],
)
def test_first_host_of_slurms_list(nodelist: str, first: str) -> None:
    assert first_host(nodelist) == first


def test_endpoint_with_an_ipv6_address() -> None:
    assert parse_endpoint("[fe80::1]:29500") == ("fe80::1", 29500)


@given(st.text(max_size=30))
def test_any_text_is_an_endpoint_or_an_error(text: str) -> None:
    try:
        host, port = parse_endpoint(text)
    except UserError:
        return
    assert host
    assert 0 < port < 65536
