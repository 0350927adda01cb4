"""Every preset is the model it names: its parameters are the published number."""

import pytest

from hwbench.core import codec, registry
from hwbench.core.workload import Cost, Workload

PUBLISHED = {
    # Parameters of the released checkpoints: transformers' GPT2LMHeadModel (tied), BertForMaskedLM (no pooler, tied with its bias),
    # LlamaForCausalLM and MixtralForCausalLM (untied), T5ForConditionalGeneration (version 1.0, tied).
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "bert-base": 109_514_298,
    "bert-large": 335_174_458,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    # No checkpoints. The table of 25,000·100, layers 4·128·(100 + 128 + 2) and 4·128·(128 + 128 + 2), projection 128·25,000 + 25,000.
    # Tables 2·V·h, final norm h; a layer: attention 2.5h², norms 2h, router 8h, experts 8·3·h·f, and shared 3·h·256 in the tiny one.
    "moe-small": 2 * 16384 * 512 + 512 + 6 * (655_360 + 1024 + 4096 + 24 * 512 * 896),
    "moe-tiny": 2 * 4096 * 128 + 128 + 2 * (49_152 + 256 + 1024 + 24 * 128 * 256 + 3 * 128 * 256),
    "rnn-lm-10k": 10_000 * 300 + 100 * 400 + 100 + 101 * 10_000,
    "seq2seq-10k": 2 * 10_000 * 256 + 2 * 4 * 128 * (256 + 128 + 2) + 129 * 10_000,
    "lstm-lm-25k": 2_500_000 + 117_760 + 132_096 + 3_225_000,
}
ROUNDED = {
    "transformer-base": (65e6, 0.03),
    "transformer-big": (213e6, 0.01),
    "gpt3-175b": (175e9, 0.005),
    "turing-nlg-17b": (17e9, 0.02),
}  # published rounded only: "175 billion", "17 billion"


def _cost(name: str, dtype: str = "bf16") -> Cost:
    preset = registry.load_model(name)
    workload = registry.load("workloads", preset.workload, Workload)
    return workload.cost(codec.convert(preset.config, workload.config, source=name), dtype)


@pytest.mark.parametrize("name, parameters", PUBLISHED.items())
def test_parameters_are_the_published_number(name: str, parameters: int) -> None:
    assert _cost(name).parameters == parameters


@pytest.mark.parametrize("name, published", ROUNDED.items())
def test_parameters_round_to_the_published_number(name: str, published: tuple[float, float]) -> None:
    parameters, tolerance = published
    assert _cost(name).parameters == pytest.approx(parameters, rel=tolerance)


def test_berts_110_million_count_the_pooler_and_not_the_head() -> None:
    """Devlin et al. say 110M: the encoder with pooler, 109,482,240. The masked-language-model head replaces the pooler's h² + h."""
    h, v = 768, 30_522
    head, pooler = (h * h + h) + 2 * h + v, h * h + h
    assert _cost("bert-base").parameters - head + pooler == 109_482_240


def test_every_preset_is_checked_here_and_names_its_source() -> None:
    names = registry.names("models")
    assert set(names) == PUBLISHED.keys() | ROUNDED.keys()
    for name in names:
        preset = registry.load_model(name)
        assert preset.description
        assert len(preset.source) > 20


def test_gpt3_flops_are_those_of_its_paper() -> None:
    """Table D.1 of arXiv 2005.14165: 3.14e23 for 300 billion tokens, at 6 a parameter and token, without attention."""
    cost = _cost("gpt3-175b")
    products = sum(b.count * (op.flops + op.backward_flops) for b in cost.blocks for op in b.operators if op.kind == "matmul")
    assert products / cost.items * 300e9 == pytest.approx(3.14e23, rel=0.005)
