"""The sizes of linear layers of named models, shared by the plain, the quantised and the pruned layer. No torch."""

from typing import Any, Final, Literal

from hwbench.core.errors import UserError

from ._count import need_positive

Shape = Literal[
    "gpt2.qkv", "gpt2.out", "gpt2.up", "gpt2.down", "gpt2.vocabulary",
    "bert-large.out", "bert-large.up",
    "llama3-8b.qkv", "llama3-8b.out", "llama3-8b.gate_up", "llama3-8b.down", "llama3-8b.vocabulary",
    "gpt3-175b.qkv", "gpt3-175b.up",
    "custom",
]  # fmt: skip

SIZES: Final[dict[str, tuple[int, int]]] = {
    # (inputs, outputs). GPT-2 small: h = 768, 4h inside, 50,257 words. BERT large: h = 1,024. Llama 3 8B (its config.json): h = 4,096,
    # 32 query and 8 key heads of 128, 14,336 inside, 128,256 words; gate and up as one product. GPT-3: h = 12,288 (arXiv 2005.14165).
    "gpt2.qkv": (768, 3 * 768),
    "gpt2.out": (768, 768),
    "gpt2.up": (768, 3072),
    "gpt2.down": (3072, 768),
    "gpt2.vocabulary": (768, 50_257),
    "bert-large.out": (1024, 1024),
    "bert-large.up": (1024, 4096),
    "llama3-8b.qkv": (4096, (32 + 2 * 8) * 128),
    "llama3-8b.out": (4096, 4096),
    "llama3-8b.gate_up": (4096, 2 * 14_336),
    "llama3-8b.down": (14_336, 4096),
    "llama3-8b.vocabulary": (4096, 128_256),
    "gpt3-175b.qkv": (12_288, 3 * 12_288),
    "gpt3-175b.up": (12_288, 4 * 12_288),
}


def sizes(config: Any) -> tuple[int, int]:
    """(inputs, outputs) of a config with `tokens`, `shape`, `inputs` and `outputs`.

    UserError for sizes below 1, for a custom layer without sizes, and for sizes beside a named layer's own.
    """
    need_positive(config, "tokens")
    if config.shape == "custom":
        need_positive(config, "inputs", "outputs")
        return config.inputs, config.outputs
    if config.inputs or config.outputs:
        raise UserError(
            f"shape={config.shape} has sizes of its own, found inputs={config.inputs}, outputs={config.outputs}",
            hint="add shape=custom, or leave inputs and outputs away",
        )
    return SIZES[config.shape]
