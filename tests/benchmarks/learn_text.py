"""See training steps learn the text that hwbench ships: the loss falls, and so does the perplexity of text never trained on.

    python tests/benchmarks/learn_text.py [--workload gpt|llama|moe|lstm_lm|rnn_lm|bert|transformer] [--steps 300]

Every step gets new pieces of the first nine tenths of the text. Language models are scored by the perplexity of the last tenth; `bert`
tells from which half of the text a passage is (accuracy, precision, recall, F1); `transformer` says sentences backwards (BLEU). Needs
torchmetrics.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

SMALL: dict[str, dict[str, Any]] = {
    "gpt": {"hidden": 64, "layers": 2, "heads": 2, "seq_len": 32},
    "llama": {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "mlp": 192, "seq_len": 32},
    "moe": {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "mlp": 96, "seq_len": 32},
    "lstm_lm": {"embedding": 64, "hidden": 64, "layers": 1, "dropout": 0.2, "seq_len": 32},
    "rnn_lm": {"embedding": 64, "hidden": 64, "seq_len": 32},
    "bert": {"hidden": 32, "layers": 1, "heads": 2, "seq_len": 48, "task": "classification", "classes": 2},
    "transformer": {"hidden": 64, "layers": 1, "heads": 2, "mlp": 128, "source_len": 8, "target_len": 8},
}
EVERY = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="gpt", choices=list(SMALL))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--vocabulary", type=int, default=2000)
    asked = parser.parse_args()
    import torch

    from hwbench.core import registry
    from hwbench.core.workload import Context, Workload

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    workload = registry.load("workloads", asked.workload, Workload)
    config = workload.config(**SMALL[asked.workload], vocabulary=asked.vocabulary, micro_batch=32, distribution="text")
    step: Any = workload.build(config, Context(device=cpu, dtype="fp32"))
    draw, scored = task(asked.workload, config, step.module)
    optimizer = torch.optim.AdamW(step.module.parameters(), lr=3e-3)
    print(f"{asked.workload}: {sum(p.numel() for p in step.module.parameters()):,} parameters; before: {scored()}")
    for i in range(1, asked.steps + 1):
        step.module.train()
        loss = step.loss(step.module, *draw())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % EVERY == 0 or i == asked.steps:
            print(f"step {i:4}: loss {loss.item():.3f}, {scored()}", flush=True)


def task(name: str, config: Any, module: Any) -> tuple[Callable[[], tuple[Any, ...]], Callable[[], str]]:
    """What draws a batch, and what says how good the module is."""
    import torch
    from hwbench.workloads import _metrics, _text, _training
    from hwbench.workloads._heads import class_batch

    cpu = torch.device("cpu")

    def perplexity() -> str:
        rows = _text.held_out(config.vocabulary, config.seq_len + 1)
        return f"held-out perplexity {_metrics.perplexity(module(rows[:, :-1]), rows[:, 1:]):.0f} of {config.vocabulary}"

    def classes() -> str:
        passages, halves = class_batch(config, cpu, config.classes)
        found = _metrics.classified(module(passages)[:, 0], halves[:, 0])
        return f"accuracy {found.accuracy:.2f}, precision {found.precision:.2f}, recall {found.recall:.2f}, F1 {found.f1:.2f}"

    def translation() -> str:
        source, target, following = _training.pair_batch(config, cpu)
        return f"BLEU {_metrics.bleu(_metrics.translated(module, source, target[:, :1], config.target_len), following):.3f}"

    draw, score = {
        "bert": (lambda: class_batch(config, cpu, config.classes), classes),
        "transformer": (lambda: _training.pair_batch(config, cpu), translation),
    }.get(name, (lambda: _training.next_token_batch(config, cpu), perplexity))

    def scored() -> str:
        module.eval()
        with torch.no_grad():
            return score()

    return draw, scored


if __name__ == "__main__":
    main()
