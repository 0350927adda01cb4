"""What measured ceilings say in sentences."""

from hwbench.analyse.ceiling_words import sentences
from hwbench.core.ceilings import Ceilings
from tests.made_ceilings import ceilings


def test_every_kind_has_a_sentence_with_the_best_figures() -> None:
    assert sentences(ceilings()) == (
        "Streams on bound threads get up to 72.4 GB/s from memory (triad, 16 threads).",
        "A load that waits for the one before takes 1.56 ns from L1, 5.33 ns from L2, 23.4 ns from L3 and 136 ns from memory.",
        "all_reduce among 4 ranks reaches a busbw of 4.49 GB/s; a small one takes 60.3 µs.",
    )


def test_what_was_not_measured_is_not_said() -> None:
    assert sentences(Ceilings(run="r")) == ()
    assert len(sentences(Ceilings(run="r", latencies=ceilings().latencies))) == 1
