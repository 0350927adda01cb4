"""What ranks find in their environment."""

import pytest

from hwbench.run.environment import SETTINGS, rank_environment


def test_one_thread_and_huge_pages_beside_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("MINE", "kept")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    found = rank_environment()
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["MINE"] == "kept"
    assert found["GLIBC_TUNABLES"] == f"glibc.malloc.arena_max=2:{SETTINGS['GLIBC_TUNABLES']}"
    assert SETTINGS["GLIBC_TUNABLES"].startswith("glibc.malloc.hugetlb=1:")


def test_what_is_recorded_is_what_ranks_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert SETTINGS.items() <= rank_environment().items()


def test_over_several_nodes_ranks_talk_over_the_interface_that_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    found = rank_environment("eth7")
    assert (found["GLOO_SOCKET_IFNAME"], found["NCCL_SOCKET_IFNAME"]) == ("eth7", "ib0")
    assert rank_environment()["NCCL_SOCKET_IFNAME"] in ("lo", "lo0"), "on one machine nothing leaves it, whatever is set"
