"""`hwbench import` and `hwbench export` as a user calls them, and what others make of what they write."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from hwbench import store
from hwbench.analyse.figures import figures
from hwbench.cli.main import cli
from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.record import Record, Run
from hwbench.core.workload import METRICS, Evaluation
from hwbench.store.formats._figures import FIGURES
from tests.made_runs import WORKLOADS, demo_run, failed, record, run
from tests.made_summaries import summary


def called(*words: str, results: Path) -> Result:
    return CliRunner().invoke(cli, [*words, "--results", str(results)], standalone_mode=False)


def stored(results: Path, made: Run) -> Path:
    folder = store.create_run(results, made.header)
    (folder / "records-bench-1.jsonl").write_bytes(b"".join(codec.to_json(one) + b"\n" for one in made.records))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    stored(tmp_path / "results", demo_run(processes=2))
    return tmp_path / "results"


def test_both_commands_have_help_under_their_names() -> None:
    whole = CliRunner().invoke(cli, ["--help"]).output
    assert "  import " in whole
    assert "import-" not in whole
    for name in ("import", "export", "gate"):
        assert f"  hwbench {name} " in CliRunner().invoke(cli, [name, "--help"]).output, "an example"


def _saved(seconds: float, commit: str) -> str:
    bench = {"fullname": "t.py::test_a", "name": "test_a", "stats": {"data": [seconds, seconds * 1.1]}}
    return json.dumps(
        {"machine_info": {"node": "n"}, "commit_info": {"id": commit}, "benchmarks": [bench], "datetime": "2026-11-20T09:30:00"}
    )


def test_import_says_what_became_of_each_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.json" for name in "abc"]
    for number, (file, commit) in enumerate(zip(files, ("x", "x", "unversioned"), strict=True)):
        file.write_text(_saved(0.1 + number, commit))
    result = called("import", *map(str, files), results=tmp_path / "results")
    assert result.exception is None
    first, second = result.output.splitlines()
    assert first.endswith(f"1 cases, 2 processes from {files[0]}, {files[1]} (pytest-benchmark)")
    assert second.endswith(f"1 cases from {files[2]} (pytest-benchmark)")
    assert len(store.list_runs(tmp_path / "results")) == 2


def test_nothing_is_stored_where_one_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(_saved(0.1, "x"))
    (tmp_path / "bad.json").write_text("{}")
    result = called("import", str(tmp_path / "good.json"), str(tmp_path / "bad.json"), results=tmp_path / "results")
    assert isinstance(result.exception, UserError)
    assert store.list_runs(tmp_path / "results") == ()
    missing = called("import", str(tmp_path / "none.json"), results=tmp_path / "results")
    assert isinstance(missing.exception, UserError)
    assert "No such file" in missing.exception.message


def test_files_that_name_no_commit_stay_apart_and_it_is_said(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.json").write_text(_saved(0.1 + number, "unknown"))
    files = [str(tmp_path / f"{number}.json") for number in range(2)]
    result = called("import", *files, results=tmp_path / "results")
    assert len(store.list_runs(tmp_path / "results")) == 2
    assert "--commit says that they are of the same code" in result.stderr


def test_a_run_of_several_processes_makes_a_file_each(results: Path, tmp_path: Path) -> None:
    output = tmp_path / "base.json"
    result = called("export", "--format", "pytest-benchmark", "--output", str(output), results=results)
    assert result.output.splitlines() == [str(tmp_path / "base-1.json"), str(tmp_path / "base-2.json")]
    refused = called("export", "--format", "pytest-benchmark", "--output", "-", results=results)
    assert isinstance(refused.exception, UserError)


@pytest.mark.heavy
def test_pytest_benchmark_reads_what_is_exported(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    called("export", "--format", "pytest-benchmark", "--output", str(tmp_path / "base.json"), results=results)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "base-1.json", "base-2.json"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "gpt(batch=8,size=512) single fp32 cpu threads=1 (base-2)" in re.sub(r"\s+", " ", shown.stdout)


def test_csv_has_a_row_a_sample_and_one_for_what_failed(results: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(called("export", "--format", "csv", "--output", "-", results=results).output)))
    run = store.read_run(store.find_run(results))
    taken = sum(
        len(rank.wall_s) + len(rank.warmup_wall_s) for record in run.records if record.measurement for rank in record.measurement.ranks
    )
    undone = [row for row in rows if row["outcome"] == "failed"]
    assert len(rows) == taken + len(undone)
    assert {row["wall_s"] for row in undone} == {""}
    assert undone[0]["reason"].startswith("rank 1 ended by signal 9")


def test_parquet_has_the_same_rows_with_types(results: Path, tmp_path: Path) -> None:
    import duckdb

    output = tmp_path / "it's.parquet"
    assert called("export", "--format", "parquet", "--output", str(output), results=results).exception is None
    table = duckdb.read_parquet(str(output))
    rows = list(csv.DictReader(io.StringIO(called("export", "--format", "csv", "--output", "-", results=results).output)))
    assert len(table.fetchall()) == len(rows)
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert (types["wall_s"], types["process"], types["warmup"], types["workload"]) == ("DOUBLE", "BIGINT", "BOOLEAN", "VARCHAR")
    exact = table.filter("not warmup").project("wall_s").fetchall()
    assert [float(row["wall_s"]) for row in rows if row["warmup"] == "False"] == [value for (value,) in exact]


def known_roofs() -> Run:
    """A training step that was evaluated beside its roofs, in two processes; a kernel under a layout without roofs; an imported call."""
    learned = record("gpt")
    assert learned.measurement is not None
    scores = Evaluation(metrics={"perplexity": 512.5, "accuracy": 0.25}, data="held_out")
    told = msgspec.structs.replace(learned.measurement, evaluation=scores, executed_flops_per_step=0.75 * 7.74e9)
    imported = record("attention", config={"size": 1, "batch": 1})
    assert imported.measurement is not None
    unknown = msgspec.structs.replace(imported.measurement, flops_per_step=None, bytes_per_step=None, parameters=None)
    return run(
        (
            record("triad"), record("matmul"), msgspec.structs.replace(learned, measurement=told), record("gpt", process=1, slower=1.1),
            record("attention", layout="dp=2"), msgspec.structs.replace(imported, measurement=unknown), failed("lstm", "no memory"),
        )
    )  # fmt: skip


def test_every_record_has_the_figures_of_a_report_in_every_export(tmp_path: Path) -> None:
    results = tmp_path / "results"
    stored(results, known_roofs())
    lines = [json.loads(line) for line in called("export", "--format", "jsonl", "--output", "-", results=results).output.splitlines()]
    records = store.read_run(store.find_run(results)).records
    assert [codec.from_json(json.dumps(line["record"]), Record, source="line") for line in lines] == list(records)
    triad, matmul, gpt, again, alone, imported, lost = (line["figures"] for line in lines)
    of = records[2].measurement
    assert of is not None
    per_s = len(of.step_wall_s) / sum(of.step_wall_s)
    assert gpt["items_per_s"] == pytest.approx(1024 * per_s)
    assert gpt["flops_per_s"] == pytest.approx(7.74e9 * per_s)
    assert gpt["executed_flops_per_s"] == pytest.approx(0.75 * gpt["flops_per_s"])
    assert gpt["bytes_per_s"] == pytest.approx(0.41e9 * per_s)
    assert gpt["intensity_flops_per_byte"] == pytest.approx(0.75 * 7.74 / 0.41)
    product = records[1].measurement
    assert product is not None
    rate = 2 * 1024.0**3 / min(product.step_wall_s)
    assert gpt["mfu_fraction"] == pytest.approx(gpt["flops_per_s"] / rate)
    assert gpt["hfu_fraction"] == pytest.approx(0.75 * gpt["mfu_fraction"]) == pytest.approx(gpt["roof_fraction"])
    assert again["mfu_fraction"] < gpt["mfu_fraction"], "a process has its own rate, and the run's roof"
    assert (gpt["perplexity"], gpt["accuracy"], gpt["bleu"], gpt["evaluated_on"]) == (512.5, 0.25, None, "held_out")
    assert (gpt["check"], gpt["first_loss"], gpt["last_loss"], gpt["gaps"]) == ("passed", 10.1, 9.4, None)
    assert alone["roof_fraction"] is None
    assert alone["gaps"] == "no roof fraction: no memory ceiling was measured under dp=2 on cpu in this run"
    assert (imported["flops_per_s"], imported["executed_flops_per_s"], imported["bytes_per_s"]) == (None, None, None)
    assert imported["items_per_s"] > 0
    assert imported["gaps"].startswith("not told by the imported file: flops_per_step, bytes_per_step, parameters")
    assert set(lost.values()) == {None}
    assert triad.keys() == matmul.keys() == FIGURES.keys()

    rows = list(csv.DictReader(io.StringIO(called("export", "--format", "csv", "--output", "-", results=results).output)))
    mine = [row for row in rows if row["workload"] == "gpt" and row["process"] == "0"]
    assert len(mine) == 23
    for name, value in gpt.items():
        assert {row[name] for row in mine} == {"" if value is None else str(value)}, name
    metrics = called("export", "--format", "openmetrics", "--output", "-", results=results).output
    (line,) = [line for line in metrics.splitlines() if line.startswith("hwbench_mfu_ratio{") and 'process="0"' in line]
    assert float(line.rpartition(" ")[2]) == gpt["mfu_fraction"]
    assert 'data="held_out"} 512.5' in metrics
    assert "hwbench_bleu{" not in metrics, "what is unknown is not written"


def test_a_process_of_an_export_is_a_row_of_the_report(tmp_path: Path) -> None:
    made = run((record("triad"), record("matmul"), record("gpt")))
    row = next(row for row in summary(made).throughput if row.workload == "gpt")
    assert figures(made, WORKLOADS)[2] == msgspec.structs.replace(row, label="single")


def test_every_metric_has_a_column_and_every_figure_a_definition() -> None:
    assert set(METRICS) < FIGURES.keys()
    page = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
    table = page.partition("## Figures of a record")[2].partition("\n## ")[0]
    for name in FIGURES.keys() - set(METRICS):
        assert f"`{name}`" in table, name


SAMPLE = re.compile(r'^[a-z_:][a-z0-9_:]*(\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? [0-9.e+-]+$')


def test_openmetrics_follows_its_grammar(results: Path) -> None:
    text = called("export", "--format", "openmetrics", "--output", "-", results=results).output
    lines = text.splitlines()
    assert lines[-1] == "# EOF"
    assert text.endswith("# EOF\n")
    families = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(set(families)) == len(families)
    for line in lines[:-1]:
        if not line.startswith("# "):
            assert SAMPLE.match(line), line
            assert any(line.startswith(family) for family in families)
    assert 'hwbench_not_done{workload="lstm"' in text


def test_labels_are_escaped() -> None:
    from hwbench.store.formats.openmetrics import _labels

    line = "x" + _labels({"a": 'q"\\\n'}) + " 1"
    assert SAMPLE.match(line), line


def test_an_empty_run_is_refused(tmp_path: Path) -> None:
    stored(tmp_path / "results", demo_run(processes=0))
    for format_ in ("csv", "pytest-benchmark"):
        result = called("export", "--format", format_, "--output", "-", results=tmp_path / "results")
        assert isinstance(result.exception, UserError), result.exception
        assert "no records" in result.exception.message
