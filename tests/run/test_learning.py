"""Real runs of training steps on the text: losses of all calls, new batches under every layout, and what the model can do in the end."""

import math
from pathlib import Path

import pytest

from hwbench.core.record import Measurement, Record
from hwbench.core.workload import Evaluation
from hwbench.run.rank import _REPEATED

from .test_run import environment, only_run, run

pytestmark = pytest.mark.heavy

SMALL = ("vocabulary=500", "hidden=64", "layers=2", "heads=2", "seq_len=32", "micro_batch=16")
STEPS = 40


def learned(folder: Path, workload: str, *words: str, settings: tuple[str, ...] = SMALL, **variables: str) -> tuple[Record, ...]:
    """The records of a run of so many steps at least."""
    sets = [word for setting in settings for word in ("--set", setting)]
    done = run(folder, workload, *sets, "--case-time", "0.1s", *words, **variables)
    assert done.returncode == 0, done.stderr
    return only_run(folder).records


def measured(record: Record) -> Measurement:
    assert record.measurement is not None, record.reason
    return record.measurement


def evaluation(record: Record) -> Evaluation:
    found = measured(record).evaluation
    assert found is not None
    return found


def test_a_run_on_the_text_shows_the_loss_fall_and_the_perplexity_of_text_never_seen(tmp_path: Path) -> None:
    record, again = learned(tmp_path, "gpt", "--set", "distribution=text", "--train-steps", "150", "--processes", "2")
    of = measured(record)
    assert of.batches == "new"
    assert len(of.losses) == len(of.ranks[0].warmup_wall_s) + len(of.ranks[0].wall_s) >= 150 / of.ranks[0].calls_per_sample
    assert (of.first_loss, of.last_loss) == (of.losses[0], of.losses[-1])
    assert of.losses[0] == pytest.approx(math.log(500), rel=0.05)
    assert sum(of.losses[-10:]) / 10 < of.losses[0] - 0.7
    found = evaluation(record)
    assert found.data == "held_out"
    assert found.metrics["perplexity"] < 250
    assert found.reasons == ()
    assert evaluation(again) == Evaluation(metrics={}, reasons=(_REPEATED,))
    assert measured(again).losses[:100] == of.losses[:100], "seeds make the same numbers twice"


def test_ranks_that_share_a_model_get_the_same_new_batches(tmp_path: Path) -> None:
    layouts = ("single", "tp=2", "cp=2", "pp=2,schedule=gpipe", "fsdp=2")
    records = learned(
        tmp_path, "gpt", "--set", "distribution=text", "--train-steps", str(STEPS), "--processes", "1",
        *(word for layout in layouts for word in ("--layout", layout)),
    )  # fmt: skip
    losses = {record.case.layout: measured(record).losses for record in records}
    assert losses.keys() == set(layouts)
    assert len(set(losses["single"])) > STEPS / 2, "no batch comes twice"
    for layout in ("tp=2", "cp=2", "pp=2,schedule=gpipe"):
        assert losses[layout][:20] == pytest.approx(losses["single"][:20], rel=1e-4), layout
    found = {record.case.layout: evaluation(record) for record in records}
    for layout in ("cp=2", "pp=2,schedule=gpipe"):
        reason = f"no evaluation under {layout}: with {layout[:2]} no rank has whole logits of sequences of any length"
        assert found[layout] == Evaluation(metrics={}, reasons=(reason,))
    for layout in ("single", "fsdp=2", "tp=2"):
        assert found[layout].metrics["perplexity"] < 500


def test_ranks_that_share_out_experts_or_products_have_whole_logits_together(tmp_path: Path) -> None:
    for workload, layout in (("moe", "dp=2,ep=2"), ("llama", "branches=2")):
        (folder := tmp_path / workload).mkdir()
        (record,) = learned(folder, workload, "--set", "distribution=text", "--processes", "1", "--layout", layout)
        assert evaluation(record).reasons == ()
        assert 1 < evaluation(record).metrics["perplexity"] < 550


def test_without_torchmetrics_there_is_a_reason_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "torchmetrics.py").write_text("raise ImportError('not on this machine')\n")
    path = f"{tmp_path / 'blocked'}:{environment()['PYTHONPATH']}"
    (record,) = learned(tmp_path, "gpt", PYTHONPATH=path)
    assert record.outcome == "done"
    assert measured(record).batches == "repeated"
    assert evaluation(record).metrics == {}
    assert evaluation(record).reasons == ("no evaluation: torchmetrics can't be imported: not on this machine (pip install torchmetrics)",)
