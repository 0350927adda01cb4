"""Why ranks ended, from logs as torch's launcher really writes them."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hwbench.run import reasons
from hwbench.run.protocol import Failed

LOG = """\
W1122 02:00:15.245000 21919 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 21925 closing signal SIGTERM
E1122 02:00:15.247000 21919 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9) local_rank: 1 (pid: 21926)
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
=======================================================
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 21925)  (SIGTERM)
-------------------------------------------------------
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 21926)  (SIGKILL)
  traceback : Signal 9 (SIGKILL) received by PID 21926
=======================================================
"""
GLOO = Failed(rank=0, reason="RuntimeError: Connection closed by peer", at_s=2.0)


def why(failures: list[Failed], exits: dict[int, int], lines: dict[int, str] | None = None, *, oom: bool = False) -> str:
    return reasons.reason(failures, exits, lines or {}, (1, "its last words"), out_of_memory=oom)


def test_exit_codes_by_rank() -> None:
    assert reasons.exit_codes(LOG, {21925: 0, 21926: 1}) == {0: -15, 1: -9}
    assert reasons.exit_codes(LOG, {1: 0}) == {}


def test_who_was_killed_comes_before_who_complains_of_it() -> None:
    assert why([GLOO], {0: 1, 1: -9}) == "rank 1 was killed by SIGKILL"
    assert why([GLOO], {0: 1, 1: -11}, {1: "Fatal Python error: Segmentation fault"}).endswith(
        "SIGSEGV: Fatal Python error: Segmentation fault"
    )
    assert why([GLOO], {0: 1, 1: 7}, {1: "bye"}) == "rank 1 ended with exit status 7: bye"


def test_the_first_to_fail_comes_before_those_whom_the_launcher_ended() -> None:
    error = Failed(rank=1, reason="ValueError: no", at_s=1.0)
    assert why([GLOO, error], {0: 1, 1: 1}) == "rank 1: ValueError: no"
    assert why([error], {0: -15, 1: 1}) == "rank 1: ValueError: no"


def test_a_rank_that_somebody_terminated() -> None:
    assert why([], {1: -15}) == "rank 1 was killed by SIGTERM"


def test_the_kernel_kills_for_want_of_memory() -> None:
    assert "out of memory" in why([], {1: -9}, oom=True)
    assert "out of memory" not in why([], {1: -11}, oom=True)


def test_nothing_is_known_but_the_launchers_words() -> None:
    assert why([], {}) == "torch's launcher ended with exit status 1: its last words"
    assert reasons.reason([], {}, {}, (-9, ""), out_of_memory=False) == "torch's launcher was killed by SIGKILL"


def test_telling_lines() -> None:
    crash = (
        "noise\nFatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent first):\n  File x\n\nExtension modules: numpy\n"
    )
    assert reasons.telling_line(crash) == "Fatal Python error: Segmentation fault"
    assert reasons.telling_line("Traceback:\n  File x\nModuleNotFoundError: No module named 'torch'\n").startswith("ModuleNotFoundError")
    assert reasons.telling_line("one\ntwo\n") == "two"
    assert reasons.telling_line("") == ""


@given(st.text(max_size=200))
def test_a_telling_line_is_one_line_of_the_log(log: str) -> None:
    line = reasons.telling_line(log)
    assert line == "" or line in log
    assert len(line.splitlines()) <= 1


def test_tails_and_counters(tmp_path: Path) -> None:
    assert reasons.read_tail(tmp_path / "none") == ""
    (tmp_path / "log").write_bytes(b"\xff" + b"x" * 100_000 + b"end")
    assert reasons.read_tail(tmp_path / "log").endswith("end")
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 3\n")
    assert reasons.kernel_oom_kills(tmp_path / "vmstat") == 3
    assert reasons.kernel_oom_kills(tmp_path / "none") is None
