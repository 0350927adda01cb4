"""See training steps learn the text that hwbench ships, faster than a measured run shows it: small models, a ten times higher rate.

    python tests/benchmarks/learn_text.py [--workload gpt|llama|moe|lstm_lm|rnn_lm|bert|transformer] [--steps 300]

Every step gets new pieces of the first nine tenths of the text, and the model is scored as a record is: language models by the last tenth;
`bert` tells from which half of the text a passage is; `transformer` says sentences backwards. Measured: `hwbench run gpt --set
distribution=text --train-steps 300`.
"""

import argparse
import sys
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
    workload = registry.load("workloads", asked.workload, Workload)
    config = workload.config(**SMALL[asked.workload], vocabulary=asked.vocabulary, micro_batch=32, distribution="text")
    step: Any = workload.build(config, Context(device=torch.device("cpu"), dtype="fp32"))
    optimizer = torch.optim.AdamW(step.module.parameters(), lr=3e-3)
    print(f"{asked.workload}: {sum(p.numel() for p in step.module.parameters()):,} parameters; before: {scored(step)}")
    for i in range(1, asked.steps + 1):
        loss = step.loss(step.module, *step.inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.renew()
        if i % EVERY == 0 or i == asked.steps:
            print(f"step {i:4}: loss {loss.item():.3f}, {scored(step)}", flush=True)


def scored(step: Any) -> str:
    """What evaluation finds, and of what."""
    found = step.evaluate()
    return f"{', '.join(f'{name} {value:.4g}' for name, value in found.metrics.items())} ({found.data})"


if __name__ == "__main__":
    main()
