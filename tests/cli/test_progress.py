"""What a run shows."""

import msgspec
import pytest

from hwbench.cli._progress import display, line_of
from hwbench.core.record import Case, Measurement, Record, Samples
from hwbench.run.events import Advanced, Launching, Recorded, Started

CASE = Case(workload="matmul", config={"m": 32, "n": 1024, "k": 1024}, layout="dp=2")
SAMPLES = Samples(rank=0, host="h", warmup_wall_s=(1.0,), wall_s=(0.02, 0.04, 0.02, 0.02), cpu_s=(0.02,) * 4, calls_per_sample=2)
DONE = Record(
    case=CASE,
    outcome="done",
    started_at="2026",
    duration_s=1.0,
    measurement=Measurement(
        ranks=(SAMPLES,), items_per_step=10, item_unit="product", flops_per_step=1.0, bytes_per_step=1.0, parameters=0, check=None
    ),
    warnings=("it was loud",),
)
FAILED = Record(case=CASE, outcome="failed", reason="rank 1 was killed by SIGKILL", started_at="2026", duration_s=1.0)


def test_a_line_has_median_spread_and_the_rate_of_all_work_over_all_time() -> None:
    line = line_of(Recorded(number=3, total=12, record=DONE, left_s=9.0))
    assert line == "[ 3/12] matmul(m=32) dp=2 fp32 cpu: 10.0 ms ±50 % (4 samples), 800 products/s  ! it was loud"


def test_a_line_of_a_failure_has_the_reason() -> None:
    assert line_of(Recorded(number=1, total=1, record=FAILED, left_s=0)).endswith("cpu: failed: rank 1 was killed by SIGKILL")


def test_one_sample_has_no_spread() -> None:
    single = msgspec.structs.replace(SAMPLES, wall_s=(0.02,), cpu_s=(0.02,))
    assert DONE.measurement is not None
    made = msgspec.structs.replace(DONE, measurement=msgspec.structs.replace(DONE.measurement, ranks=(single,)), warnings=())
    assert line_of(Recorded(number=1, total=1, record=made, left_s=0)).endswith("cpu: 10.0 ms (1 sample), 1.00 kproducts/s")


def test_a_long_warning_is_said_once_and_then_pointed_to() -> None:
    said: dict[str, str] = {}
    long = "no steady state in a warm-up of {}: the first samples may still belong to it"
    lines = [
        line_of(Recorded(number=number, total=3, record=msgspec.structs.replace(DONE, warnings=(long.format(number),)), left_s=0), said)
        for number in (1, 2, 3)
    ]
    assert lines[0].endswith(long.format(1))
    assert lines[1].endswith("  ! as [1]")
    assert lines[2].endswith("  ! as [1]")
    skipped = msgspec.structs.replace(FAILED, outcome="skipped", reason=long)
    assert line_of(Recorded(number=2, total=2, record=skipped, left_s=0), {long: "1"}).endswith("skipped: as [1]")
    again = msgspec.structs.replace(skipped, outcome="failed")
    assert line_of(Recorded(number=2, total=2, record=again, left_s=0), {long: "1"}).endswith(long)  # a failure is never shortened


@pytest.mark.parametrize("terminal", [True, False])
def test_events_are_shown_on_standard_error(terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with display(2) as show:
        show(Launching(ranks=2, cases=2, left_s=200.0))
        show(Started(number=1, total=2, case=CASE, share_s=3.0, left_s=90.0))
        show(Advanced(phase="measuring", samples=7, left_s=80.0))
        show(Recorded(number=1, total=2, record=DONE, left_s=70.0))
    out, err = capsys.readouterr()
    assert out == ""
    assert "[1/2] matmul(m=32) dp=2" in err
    assert ("starting 2 ranks" in err) == terminal
    assert "about 70 s left" in err
