"""`hwbench plan` as a user meets it: a ranking, a file that `accept` reads, and one clear line for what makes no sense."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hwbench.cli.plan import command
from hwbench.core.codec import from_json, read_json
from hwbench.core.errors import HwbenchError
from hwbench.core.prediction import Plan

QUESTION = ("--model", "gpt3-175b", "--cluster", "dgx-a100-80gb", "--gpus", "512", "--global-batch", "1536")


def test_the_ranking_is_complete_and_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = CliRunner().invoke(command, QUESTION)
    assert ran.exit_code == 0, ran.output
    lines = ran.output.splitlines()
    assert lines[0] == "gpt3-175b on 512 accelerators of dgx-a100-80gb"
    assert max(map(len, lines)) <= 80
    for said in (
        "layouts fit; each line is the best of its degrees",
        "90 % interval",
        "Why the others can't",
        "short",
        "Megatron-LM as of 2025",
    ):
        assert said in " ".join(ran.output.split()), said


def test_json_and_file_are_the_same_plan(tmp_path: Path) -> None:
    ran = CliRunner().invoke(command, [*QUESTION, "--json", "--top", "4", "--output", str(tmp_path / "PLAN.json")])
    made = from_json(ran.output, Plan, source="stdout")
    assert read_json(tmp_path / "PLAN.json", Plan) == made
    assert len(made.entries) == 4
    assert made.nodes == 64
    assert made.tried > 10_000
    assert made.fitted < made.tried
    assert made.profile.name == "dgx-a100-80gb"
    steps = [one.prediction.step_time_s for one in made.entries]
    assert steps == sorted(steps)
    assert sum(one.count for one in made.misfits if one.reason.startswith("more memory")) == made.tried - made.fitted
    assert all(one.nearest for one in made.misfits)


def test_a_model_that_is_no_decoder_is_planned_by_the_roofline() -> None:
    ran = CliRunner().invoke(command, ["--model", "lstm-lm-25k", "--cluster", "dgx-h100", "--gpus", "8", "--global-batch", "64", "--json"])
    made = from_json(ran.output, Plan, source="stdout")
    assert made.entries
    assert "decoder Transformers only" in made.gaps[0]


REFUSED = {
    "no accelerators": (["--gpus", "0"], 2, "gpus=0: expected a whole number of at least 1"),
    "no batch": (["--global-batch", "-3"], 2, "global_batch=-3: expected"),
    "part of a node": (["--gpus", "20"], 2, "nodes of 8, and 20 is no multiple of that"),
    "heads that don't divide": (["--set", "model.heads=7"], 2, "heads=7 does not divide hidden=12288"),
    "a batch that nothing divides": (["--gpus", "1000", "--global-batch", "7"], 5, "data ranks must divide the global batch of 7"),
    "too small": (["--gpus", "8"], 5, "short"),
    "no such dtype": (["--dtype", "fp8"], 2, "fp8"),
    "more than there are": (["--cluster", "rtx-4090-workstation", "--gpus", "4"], 2, "has 2 in 1 nodes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_numbers(name: str) -> None:
    arguments, status, said = REFUSED[name]
    ran = CliRunner().invoke(command, [*QUESTION, *arguments])
    assert isinstance(ran.exception, HwbenchError), ran.output
    assert said in f"{ran.exception.message}\n{ran.exception.hint}"
    assert ran.exception.exit_code == status


def test_a_mixture_of_experts_is_planned_by_the_fitted_model_with_expert_parallelism() -> None:
    ran = CliRunner().invoke(
        command, ["--model", "mixtral-8x7b", "--cluster", "dgx-h100", "--gpus", "64", "--global-batch", "256", "--top", "5", "--json"]
    )
    made = from_json(ran.output, Plan, source="stdout")
    assert any(one.layout.ep > 1 for one in made.entries)
    assert "published training runs" in made.entries[0].prediction.basis
    assert 0.2 < (made.entries[0].prediction.mfu_fraction or 0.0) < 0.6
