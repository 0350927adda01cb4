"""`hwbench size` and `hwbench calibrate` as a user meets them: text, JSON, files, and one clear line for what makes no sense."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwbench.cli.size import command
from hwbench.core.codec import from_json, read_json, to_json, to_toml
from hwbench.core.errors import HwbenchError, UserError
from hwbench.core.prediction import SizingAnswer
from hwbench.core.registry import load_cluster
from hwbench.planner.offers import day_s
from tests.made_runs import demo_run

QUESTION = ("--model", "gpt2", "--tokens", "1B", "--cluster", "dgx-h100,dgx-a100-80gb")


def hwbench(*arguments: str, cwd: Path | None = None, columns: int = 60) -> subprocess.CompletedProcess[str]:
    env = {"COLUMNS": str(columns), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, "-m", "hwbench", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_the_text_answers_the_question_within_sixty_columns() -> None:
    ran = hwbench("size", *QUESTION, "--deadline", "2d")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == "gpt2 on 1.00 B tokens within 2.00 days"
    assert max(map(len, lines)) <= 60
    for title in (
        "Best",
        "Where a step's time goes",
        "Memory of the fullest accelerator",
        "Why",
        "All that can do it",
        "Not known",
        "Rests on",
    ):
        assert any(line.startswith(title) for line in lines), title
    assert "cost: no price; give --price-usd-per-hour" in " ".join(ran.stdout.split())


def test_json_is_a_sizing_answer_and_the_output_file_too(tmp_path: Path) -> None:
    ran = hwbench("size", *QUESTION, "--nodes", "2", "--json", "--output", str(tmp_path / "plan.json"))
    assert ran.returncode == 0, ran.stderr
    answer = from_json(ran.stdout, SizingAnswer, source="stdout")
    assert read_json(tmp_path / "plan.json", SizingAnswer) == answer
    assert [sizing.nodes for sizing in answer.sizings] == [2, 2]
    assert json.loads(ran.stdout)["sizings"][0]["cost_usd"] is None


def test_prices_make_a_cost_and_a_ranking() -> None:
    prices = ("--price-usd-per-hour", "dgx-h100=98.32", "--price-usd-per-hour", "dgx-a100-80gb=40")
    ran = hwbench("size", *QUESTION, *prices, "--json")
    answer = from_json(ran.stdout, SizingAnswer, source="stdout")
    assert answer.ranked_by == "cost"
    costs = [sizing.cost_usd for sizing in answer.sizings]
    assert None not in costs
    assert costs == sorted(c for c in costs if c is not None)


def test_single_figures_of_model_and_cluster_can_be_changed() -> None:
    plain = from_json(hwbench("size", *QUESTION, "--json").stdout, SizingAnswer, source="stdout")
    settings = ("--set", "model.layers=24", "--set", "accelerator.power_w=1", "--set", "node.power_w=2")
    ran = hwbench("size", *QUESTION, *settings, "--json")
    changed = from_json(ran.stdout, SizingAnswer, source="stdout")
    assert changed.sizings[0].prediction.flops_per_step > 1.3 * plain.sizings[0].prediction.flops_per_step
    assert changed.sizings[0].energy_j == pytest.approx(2 * changed.sizings[0].train_time_s)
    assert "figures set by the user" in changed.sizings[0].prediction.basis


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(to_toml(load_cluster("dgx-h100")).replace('name = "dgx-h100"', 'name = "mine"'), encoding="utf-8")
    ran = hwbench("size", "--model", "gpt2", "--tokens", "1B", "--cluster", str(mine), "--json")
    assert from_json(ran.stdout, SizingAnswer, source="stdout").sizings[0].cluster == "mine"


def test_this_machine_as_a_run_calibrated_it(tmp_path: Path) -> None:
    stored = demo_run()
    folder = tmp_path / "hwbench-results" / stored.header.id
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(to_json(stored.header))
    (folder / "records-bench-1.jsonl").write_bytes(b"\n".join(to_json(record) for record in stored.records) + b"\n")
    written = hwbench("calibrate", "--output", "here.toml", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    assert "Wrote here.toml" in written.stdout
    question = ("size", "--model", "lstm-lm-25k", "--tokens", "1M", "--json", "--cluster")
    here = hwbench(*question, "here", cwd=tmp_path)
    assert here.returncode == 0, here.stderr
    answer = from_json(here.stdout, SizingAnswer, source="stdout")
    assert answer.sizings[0].prediction.basis == "calibrated here"
    assert answer.sizings[0].accelerators == 2
    again = hwbench(*question, "here.toml", cwd=tmp_path)
    assert from_json(again.stdout, SizingAnswer, source="stdout").sizings == answer.sizings


REFUSED = {
    "unknown model": (["--model", "gtp2", "--tokens", "1B", "--cluster", "dgx-h100"], 2, "did you mean gpt2?"),
    "unknown cluster": (["--model", "gpt2", "--tokens", "1B", "--cluster", "dgx-h10"], 2, "did you mean dgx-h100?"),
    "no cluster": (["--model", "gpt2", "--tokens", "1B"], 2, "no cluster was named"),
    "no tokens": (["--model", "gpt2", "--tokens", "0", "--cluster", "dgx-h100"], 2, "'0': a count must be more than zero"),
    "negative tokens": (["--model", "gpt2", "--tokens", "-5", "--cluster", "dgx-h100"], 2, "'-5' is not a count"),
    "zero deadline": ([*QUESTION, "--deadline", "0d"], 2, "'0d': a duration must be more than zero"),
    "deadline in the past": ([*QUESTION, "--deadline", "2020-01-31"], 2, "--deadline 2020-01-31 is in the past: today is 20"),
    "no such day": ([*QUESTION, "--deadline", "2027-02-30"], 2, "no such day"),
    "zero nodes": ([*QUESTION, "--nodes", "0"], 2, "nodes=0: expected a whole number of at least 1"),
    "zero accelerators": ([*QUESTION, "--set", "node.accelerators=0"], 2, "node.accelerators: expected 1 to"),
    "unknown figure": ([*QUESTION, "--set", "accelerator.memory=1"], 2, "did you mean memory_bytes?"),
    "unknown section": ([*QUESTION, "--set", "gpu.memory=1"], 2, "expected a key that begins with model."),
    "no value": ([*QUESTION, "--set", "node.power_w"], 2, "expected key=value"),
    "unknown model key": ([*QUESTION, "--set", "model.layer=1"], 2, "did you mean layers?"),
    "impossible model": ([*QUESTION, "--set", "model.heads=7"], 2, "heads=7 does not divide hidden=768"),
    "price of another": ([*QUESTION, "--price-usd-per-hour", "dgx-2=4"], 2, "'dgx-2' is not among the clusters"),
    "price in words": ([*QUESTION, "--price-usd-per-hour", "dgx-h100=cheap"], 2, "found 'cheap' for the price"),
    "half of the failures": ([*QUESTION, "--node-mtbf", "1000h"], 2, "node_mtbf_s=3.6e+06 alone does not tell"),
    "storage without failures": ([*QUESTION, "--storage-bandwidth", "100GB"], 2, "--storage-bandwidth needs --node-mtbf"),
    "no budget": ([*QUESTION, "--budget", "0"], 2, "must be more than zero"),
    "budget without a price": ([*QUESTION, "--budget", "1M"], 5, "a budget needs a price: give --price-usd-per-hour dgx-h100=USD"),
    "too little money": (
        [*QUESTION, "--budget", "3", "--price-usd-per-hour", "dgx-h100=98", "--price-usd-per-hour", "dgx-a100-80gb=40"],
        5,
        "more than the $3.00 asked for",
    ),
    "too little power": ([*QUESTION, "--max-power-kw", "5"], 5, "one node takes 10.2 kW, 5.20 kW more than the site has"),
    "impossible PUE": ([*QUESTION, "--pue", "0.9"], 2, "pue=0.9: expected at least 1"),
    "free lunch": ([*QUESTION, "--buy-usd", "dgx-h100=0", "--lifetime", "3d"], 2, "purchase price of dgx-h100: 0"),
    "bought for ever": ([*QUESTION, "--buy-usd", "dgx-h100=9"], 2, "a purchase price needs a lifetime"),
    "overconfident": ([*QUESTION, "--confidence", "1"], 2, "confidence=1: expected at least 0.5"),
    "no tokens at all": (["--model", "gpt2", "--cluster", "dgx-h100"], 2, "--tokens is missing"),
    "serving without --serve": ([*QUESTION, "--users", "3"], 2, "--users belongs to serving"),
    "serving without a load": ([*QUESTION, "--serve", "--users", "3"], 2, "--serve needs --prompt-tokens, --output-tokens, --ttft, --tpot"),
    "too large": (["--model", "gpt3-175b", "--tokens", "1B", "--cluster", "rtx-4090-workstation"], 5, "1.35 TiB short"),
    "too slow": (["--model", "gpt2-xl", "--tokens", "1T", "--deadline", "1h", "--max-nodes", "4", "--cluster", "dgx-2"], 5, "too slow"),
    "no run": ([*QUESTION, "--cluster", "here"], 2, "no runs here"),
    "unwritable output": ([*QUESTION, "--output", "/proc/none/plan.json"], 2, "can't write"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, status, said = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(command, arguments)
    assert isinstance(ran.exception, HwbenchError), ran.output
    assert said in f"{ran.exception.message}\n{ran.exception.hint}"
    assert ran.exception.exit_code == status


def test_a_refusal_is_a_line_a_hint_and_a_status() -> None:
    ran = hwbench("size", "--model", "gpt3-175b", "--tokens", "1B", "--cluster", "rtx-4090-workstation")
    assert (ran.returncode, ran.stdout) == (5, "")
    first, second = ran.stderr.splitlines()
    assert first.startswith("hwbench: rtx-4090-workstation: does not fit on 1 node: the least memory is 1.37 TiB an accelerator")
    assert second.startswith("  try: allow more time")


def test_a_deadline_is_a_duration_or_a_day() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert day_s("30d", now, where="--deadline") == 30 * 86_400
    assert day_s("2026-11-21", now, where="--deadline") == pytest.approx(36 * 3600, abs=2)
    with pytest.raises(UserError, match="in the past"):
        day_s("2026-11-19", now, where="--deadline")
