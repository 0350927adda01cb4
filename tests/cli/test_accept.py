"""`hwbench accept`: a delivered cluster that keeps its plan, one that does not, and one of which nothing can be told."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from hwbench.cli.accept import command
from hwbench.cli.plan import command as plan_command
from hwbench.core.accelerators import Accelerator, Accelerators
from hwbench.core.codec import from_json, to_json
from hwbench.core.errors import GateFailed, HwbenchError
from hwbench.core.prediction import Acceptance
from hwbench.core.record import Case, Measurement, NodeHeader, Record, Samples
from tests.made_runs import CHECK, run

SHAPE = {"m": 8192, "n": 8192, "k": 8192}
FLOPS = 2 * 8192.0**3


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "PLAN.json"
    ran = CliRunner().invoke(
        plan_command, ["--model", "gpt2", "--cluster", "dgx-h100", "--gpus", "16", "--global-batch", "512", "--output", str(path)]
    )
    assert ran.exit_code == 0, ran.output
    return path


def product(host: str, flops_per_s: float, *, process: int = 0, device: str = "cuda", spread: float = 0.0) -> Record:
    """A matrix product of 8192³ on one accelerator of a node, at a rate."""
    step = FLOPS / flops_per_s
    walls = tuple(step * (1 + spread * (index % 5 - 2)) for index in range(20))
    samples = Samples(rank=0, host=host, warmup_wall_s=(step,), wall_s=walls, cpu_s=walls)
    return Record(
        case=Case(workload="matmul", config=dict(SHAPE), layout="single", dtype="bf16", device=device, process=process),
        outcome="done",
        started_at="2026-11-20T09:30:00+00:00",
        duration_s=1.0,
        measurement=Measurement(
            ranks=(samples,), items_per_step=1, item_unit="product", flops_per_step=FLOPS, bytes_per_step=6 * 8192.0**2, parameters=0,
            check=CHECK,
        ),
    )  # fmt: skip


def store(folder: Path, *records: Record, id: str = "20261120-093000") -> None:
    made = run(records, id=id)
    place = folder / "hwbench-results" / made.header.id
    place.mkdir(parents=True)
    (place / "run.json").write_bytes(to_json(made.header))
    (place / "records-node.jsonl").write_bytes(b"\n".join(to_json(record) for record in records) + b"\n")


def accepted(folder: Path, plan: Path, *arguments: str) -> tuple[Acceptance, BaseException | None]:
    results = str(folder / "hwbench-results")
    ran = CliRunner().invoke(command, ["--plan", str(plan), "--results", results, "20261120", "--json", *arguments])
    return from_json(ran.output, Acceptance, source="stdout"), ran.exception


def test_each_node_is_judged_by_itself(tmp_path: Path, plan_file: Path) -> None:
    """dgx-h100's curve promises 787 TFLOP/s for this product, less 10 %."""
    good = [product("node-1", 760e12, process=index) for index in range(3)]
    slow = [product("node-2", 500e12, process=index) for index in range(3)]
    store(tmp_path, *good)
    store(tmp_path, *slow, id="20261121-093000")
    made, error = accepted(tmp_path, plan_file, "20261121")
    assert isinstance(error, GateFailed)
    assert error.exit_code == 1
    assert "1 of 2 measurements fail the plan for dgx-h100, on node-2" in error.message
    assert made.nodes == {"node-1": "pass", "node-2": "fail"}
    assert made.outcome == "fail"
    bad = made.verdicts[0]
    assert (bad.node, bad.outcome, bad.unit) == ("node-2", "fail", "FLOP/s")
    assert bad.measured == pytest.approx(500e12)
    assert 700e12 < bad.promised < 720e12
    assert any("bandwidth" in one for one in made.missing)


def test_a_measurement_across_the_limit_can_not_be_told(tmp_path: Path, plan_file: Path) -> None:
    limit = 787e12 / 1.1
    store(tmp_path, product("node-1", limit, spread=0.05))
    made, error = accepted(tmp_path, plan_file)
    assert error is None or getattr(error, "code", 0) == 0
    assert made.outcome == "can't tell"
    assert "lies across the limit" in made.verdicts[0].why


def test_a_cpu_tells_nothing_of_accelerators(tmp_path: Path, plan_file: Path) -> None:
    store(tmp_path, product("node-1", 1e12, device="cpu"))
    made, _ = accepted(tmp_path, plan_file)
    assert made.outcome == "can't tell"
    assert "measured on the CPU, the plan is for H100-SXM5-80GB" in made.verdicts[0].why


def test_a_tolerance_decides(tmp_path: Path, plan_file: Path) -> None:
    store(tmp_path, product("node-1", 650e12))
    assert accepted(tmp_path, plan_file, "--tolerance", "30")[0].outcome == "pass"
    assert accepted(tmp_path, plan_file, "--tolerance", "5")[0].outcome == "fail"


def test_the_page_is_for_the_supplier(tmp_path: Path, plan_file: Path) -> None:
    store(tmp_path, product("node|<b>1", 760e12))
    page = tmp_path / "page.md"
    ran = CliRunner().invoke(
        command, ["--plan", str(plan_file), "--results", str(tmp_path / "hwbench-results"), "20261120", "--output", str(page)]
    )
    assert ran.exit_code == 0, ran.output
    text = page.read_text()
    assert text == ran.output
    assert text.startswith("# Acceptance of dgx-h100: pass\n")
    for said in ("## What was measured", "## What nobody measured", "## How it was judged", "1 of the plan's 2 nodes", r"node\|&lt;b>1"):
        assert said in text
    rows = [line for line in text.splitlines() if line.startswith("| pass | node")]
    assert all(line.replace("\\|", "").count("|") == 9 for line in rows)


REFUSED = {
    "no such plan": (["--plan", "none.json", "x"], 2, "can't read the plan"),
    "not a plan": (["--plan", "other.json", "x"], 2, "other.json"),
    "no such run": (["--plan", "PLAN.json", "x"], 2, "unknown run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plan_or_run_is_refused(name: str, tmp_path: Path, plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, status, said = REFUSED[name]
    store(tmp_path, product("node-1", 760e12))
    (tmp_path / "other.json").write_text('{"model": 1}')
    (tmp_path / "PLAN.json").write_bytes(plan_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(command, arguments)
    assert isinstance(ran.exception, HwbenchError), ran.output
    assert said in ran.exception.message
    assert ran.exception.exit_code == status


def failed(reason: str) -> Record:
    made = product("x", 760e12)
    return replace(made, outcome="failed", reason=reason, measurement=None)


def by_node(folder: Path, files: dict[str, list[Record]], *, nodes: tuple[NodeHeader, ...] = ()) -> None:
    """A run's folder on a shared file system: a records file of each launcher, and the headers of a run on several nodes."""
    made = run((), id="20261120-093000")
    place = folder / "hwbench-results" / made.header.id
    place.mkdir(parents=True)
    (place / "run.json").write_bytes(to_json(made.header))
    for host, records in files.items():
        (place / f"records-{host}.jsonl").write_bytes(b"".join(to_json(record) + b"\n" for record in records))
    for node in nodes:
        (place / f"node-{node.node:04d}-{node.host}.json").write_bytes(to_json(node))


def test_nodes_that_wrote_into_one_folder_are_judged_apart(tmp_path: Path, plan_file: Path) -> None:
    """Each measured the same case by itself; the third could not."""
    rates = {"node-1": 760e12, "node-2": 500e12}
    files = {host: [product(host, rate, process=index) for index in range(3)] for host, rate in rates.items()}
    by_node(tmp_path, files | {"node-3": [failed("the device was lost")]})
    made, error = accepted(tmp_path, plan_file)
    assert isinstance(error, GateFailed)
    assert made.nodes == {"node-1": "pass", "node-2": "fail", "node-3": "can't tell"}
    assert [one.why for one in made.verdicts if one.node == "node-3"] == ["not measured, failed: the device was lost"]
    page = CliRunner().invoke(command, ["--plan", str(plan_file), "--results", str(tmp_path / "hwbench-results"), "20261120"]).output
    assert "| node-2 | fail | 0 | 1 | 0 |" in page
    assert "| can't tell | node-3 | matmul | single bf16 | none | none | none | not measured, failed: the device was lost |" in page


def joint(*rates: float) -> Record:
    """All-reduce of 1 GiB over two nodes, a rank each, in this time."""
    one = product("node-1", 1.0)
    assert one.measurement is not None
    ranks = tuple(replace(one.measurement.ranks[0], rank=rank, host=f"node-{rank + 1}", wall_s=rates, cpu_s=rates) for rank in range(2))
    config = {"collective": "all_reduce", "message_bytes": 2**30}
    return replace(
        one,
        case=Case(workload="collective", config=config, layout="dp=2", dtype="fp32", device="cuda", process=0),
        measurement=replace(
            one.measurement, ranks=ranks, item_unit="byte", items_per_step=2**30, flops_per_step=0.0, bytes_per_step=2.0**30
        ),
    )


def header(node: int, devices: int) -> NodeHeader:
    inventory = run(()).header.inventory
    seen = tuple(
        Accelerator(label=f"GPU{index}", source="made up", index=index, name="H100", memory_total_bytes=80 * 10**9)
        for index in range(devices)
    )
    return NodeHeader(
        node=node, host=f"node-{node + 1}", started_at="2026-11-20T09:30:00+00:00", slots=devices, interface="ib0",
        inventory=replace(inventory, accelerators=Accelerators(devices=seen)), versions={},
    )  # fmt: skip


def test_a_joint_measurement_counts_for_all_its_nodes_and_each_inventory_for_its_own(tmp_path: Path, plan_file: Path) -> None:
    """A run over two nodes: node 0 writes the records, each its header; the second has seven of eight accelerators.

    A rank on each node, so that the limit is the network's, 27 ms and 10 %, not the 3 ms of NVLink.
    """
    by_node(tmp_path, {"node-1": [joint(*[0.028] * 20)]}, nodes=(header(0, 8), header(1, 7)))
    made, error = accepted(tmp_path, plan_file)
    assert isinstance(error, GateFailed)
    assert made.nodes == {"node-1": "pass", "node-2": "fail"}
    outcomes = {(one.workload, one.node): one.outcome for one in made.verdicts if one.what != "memory of an accelerator"}
    assert outcomes == {
        ("inventory", "node-1"): "pass",
        ("inventory", "node-2"): "fail",
        ("collective", "node-1, node-2"): "pass",
    }
    assert not any("nodes: no run has them" in one for one in made.missing)


def test_a_case_of_several_runs_is_one_with_more_processes(tmp_path: Path, plan_file: Path) -> None:
    """Three runs of one process each: the interval is over them, and the slow one widens it across the limit."""
    for index, rate in enumerate((760e12, 755e12, 500e12)):
        store(tmp_path, product("node-1", rate), id=f"2026112{index}-093000")
    made, _ = accepted(tmp_path, plan_file, "20261121", "20261122")
    (verdict,) = [one for one in made.verdicts if one.workload == "matmul"]
    assert verdict.outcome == "can't tell"
    assert verdict.low < 720e12 < verdict.high
