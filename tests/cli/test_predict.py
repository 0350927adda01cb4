import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwbench.cli.predict import command as predict
from hwbench.cli.validate import command as validate
from hwbench.core.errors import UserError
from hwbench.planner.fit import measurements_path
from hwbench.planner.reading import read_table

ONE = ("--model", "gpt3-175b", "--cluster", "dgx-a100-80gb", "--layout", "dp=8,tp=8,pp=8", "--recompute", "full")


def run(command: object, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result


def few(path: Path, family: str = "MT-NLG") -> Path:
    rows = [row for row in read_table(measurements_path()) if row["source_family"] == family]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_one_step_by_parts_that_add_up() -> None:
    found = json.loads(run(predict, *ONE, "--global-batch", "512", "--json").stdout)
    assert sum(part["time_s"] for part in found["parts"]) == pytest.approx(found["step_time_s"])
    assert found["low_s"] < found["step_time_s"] < found["high_s"]
    assert 0.3 < found["mfu_fraction"] < 0.6
    assert found["tokens_per_step"] == 512 * 2048


def test_one_step_for_people() -> None:
    text = run(predict, *ONE, "--global-batch", "512").stdout
    for words in ("90 % interval", "bubble", "MFU", "peak memory", "software: Megatron-LM"):
        assert words in text
    assert "does not fit" in run(predict, *ONE[:-3], "dp=512").stdout


def test_what_no_training_run_is_known_of_is_a_roofline_with_a_wide_interval() -> None:
    layout = ("--layout", "single", "--dtype", "fp32", "--json")
    found = json.loads(run(predict, "--model", "lstm-lm-25k", "--cluster", "cpu-xeon-8280", *layout).stdout)
    assert found["step_time_s"] > 0
    assert found["high_s"] > 2 * found["low_s"]
    assert any("published runs are known of decoder Transformers only" in said for said in found["assumptions"])


def test_the_number_of_recomputed_layers_lies_between_none_and_all() -> None:
    def step_s(*more: str) -> float:
        return float(json.loads(run(predict, *ONE[:-2], "--global-batch", "512", "--json", *more).stdout)["step_time_s"])

    none, some, every = step_s(), step_s("--recompute", "full", "--recompute-layers", "5"), step_s("--recompute", "full")
    assert none < some < every
    assert some - none == pytest.approx((every - none) * 5 / 12, rel=0.01)


def test_a_changed_figure_changes_the_step() -> None:
    def step_s(*more: str) -> float:
        return float(json.loads(run(predict, *ONE, "--global-batch", "512", "--json", *more).stdout)["step_time_s"])

    assert step_s("--set", "accelerator.memory_bandwidth_bytes_per_s=1e12") > 1.02 * step_s()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((*ONE, "--global-batch", "100"), "--global-batch 100 is not a multiple of 8 data ranks times micro-batches of 1"),
        ((*ONE, "--gpus", "8"), "--gpus 8: layout dp=8,tp=8,pp=8 takes 512"),
        ((*ONE, "--micro-batch", "0"), "--micro-batch 0: expected at least 1"),
        ((*ONE[:5], "tp=7"), r"tp=7 does not divide the heads, 96: 96 = 13·7 \+ 5"),
        ((*ONE[:5], "pp=97"), r"pp·vpp = 97·1 = 97 model chunks, the model has 96 layers"),
        ((*ONE[:5], "cp=3"), r"2·cp = 6 does not divide the sequence of 2048: 2048 = 341·6 \+ 2"),
        ((*ONE, "--recompute-layers", "13"), "has 12 of 96 layers in a model chunk"),
        ((*ONE, "--dtype", "fp8"), "accelerator.peak_flops_per_s.fp8"),
        (ONE[:2], "--cluster is missing"),
        (("--table", str(measurements_path())), "--table needs --output"),
    ],
)
def test_nonsense_is_refused_with_its_numbers(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(predict, *arguments)


def test_a_table_has_a_line_for_every_row(tmp_path: Path) -> None:
    table = few(tmp_path / "rows.csv")
    table.write_text(table.read_text().replace("A100-SXM4-80GB", "A100-SXM9-80GB", 1))
    result = run(predict, "--table", str(table), "--output", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [bool(line["step_time_s"]) for line in lines] == [False, True, True]
    assert "A100-SXM9-80GB" in lines[0]["reason"]
    assert "2 of 3 rows predicted" in result.output


def test_validation_prints_its_card_and_writes_its_predictions(tmp_path: Path) -> None:
    table, output = few(tmp_path / "rows.csv"), tmp_path / "out.csv"
    card = json.loads(run(validate, "--table", str(table), "--leave-out", "source_family", "--output", str(output), "--json").stdout)
    assert card["predicted"] == card["rows"] == 3
    assert card["groups"][0]["group"] == "MT-NLG"
    with output.open() as file:
        assert all(float(line["step_time_low_s"]) < float(line["step_time_high_s"]) for line in csv.DictReader(file))
    text = run(validate, "--table", str(table), "--anchor", "1").stdout
    assert "MT-NLG" in text
    assert "predicted 2 of 3 rows" in text
