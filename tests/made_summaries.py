"""Summaries of made runs: a whole one, and those that strain a report."""

from hwbench.analyse.summarise import summarise
from hwbench.core.prediction import Rejected, SizingAnswer
from hwbench.core.record import Run
from hwbench.core.summary import Summary
from tests.made_runs import WORKLOADS, demo_run, failed, record, run, sizing, sizing_answer

MARKUP = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def summary(*runs: Run, sizing: SizingAnswer | None = None) -> Summary:
    """A Summary of runs, at a fixed time."""
    return summarise(runs, made_at="2026-11-20T10:00:00+00:00", hwbench_version="0.1.0", workloads=WORKLOADS, sizing=sizing)


def demo() -> Summary:
    """Six workloads, two layouts, three processes, a failed case, a sizing over four clusters."""
    return summary(demo_run(), sizing=sizing_answer())


def two_runs() -> Summary:
    """The same on two machines, the second slower."""
    second = demo_run(id="20261121-093000", slower=1.3, machine={"product_name": "Another Box"})
    return summary(demo_run(), second)


def many_cases() -> Summary:
    """A sweep: forty-odd cases, long layouts, long settings, one process each, a very noisy case."""
    layouts = ("single", "dp=2", "dp=2,tp=2,pp=2,schedule=interleaved,vpp=2,microbatches=8")
    records = [
        record(name, layout=layout, config={"size": size, "batch": 8, "a_setting_with_a_long_name": f"value-{size}"}, slower=size / 512)
        for name in ("gpt", "attention", "embedding")
        for layout in layouts
        for size in (128, 512, 2048, 8192)
    ]
    ceilings = [
        record(name, layout=layout, dtype=dtype) for name in ("triad", "matmul") for layout in layouts for dtype in ("fp32", "bf16")
    ]
    return summary(run((*records, *ceilings, record("lstm", spread=1.5))))


def hostile() -> Summary:
    """Names and reasons that try to be markup, and are long."""
    word = "x" * 90
    names = {"host_name": f"{MARKUP}{word}", "product_name": f"{MARKUP}&amp;"}
    records = (
        record("triad"), record("matmul"), record("gpt", dtype=f"{MARKUP}"),
        record("gpt", layout="single", config={MARKUP: word, "size": 512}), failed(f"{MARKUP}", f"{MARKUP} {word}"),
    )  # fmt: skip
    made = run(records, machine=names, problems=(f"{MARKUP}{word}",), finished=False)
    cluster = sizing(MARKUP + word, nodes=1, layout="dp=8", scale=1.0, usd=1.0, days=1.0)
    return summary(made, sizing=SizingAnswer(question={MARKUP: MARKUP}, sizings=(cluster,), rejected=(Rejected(name=MARKUP, reason=word),)))


def nothing() -> Summary:
    """A run in which everything failed."""
    return summary(run((failed("gpt", "no memory"), failed("lstm", "no memory"))))


def sizing_only() -> Summary:
    """Nothing measured and no cluster that can."""
    return summary(sizing=SizingAnswer(question={"model": "gpt3-175b"}, sizings=(), rejected=(Rejected(name="tiny", reason="too small"),)))
