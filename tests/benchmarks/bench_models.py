"""Training steps beside public code for the same models: same weights, sizes, batch, dtype, threads, optimizer, clipping, in one run.

    pip install transformers   # only here; nothing else of hwbench needs it
    python tests/benchmarks/bench_models.py [--models gpt,bert,...] [--processes 5] [--rounds 12] [--attention sdpa] [--size small]

A process builds both steps, compares their losses and gradients, warms both up, then takes rounds: ours and theirs in random order, each
forward and backward pass alone, then each whole step (gradients forgotten, passes, clipping by 1.0, fused AdamW). The ratio is their
CPU time over ours (above 1: ours is faster), the median over a process's rounds; the interval is over processes, models interleaved.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from hwbench.analyse.statistics import interval  # noqa: E402  # the repository is not on the path of a script

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "small": {
        "gpt": {}, "bert": {}, "llama": {}, "t5": {}, "transformer": {}, "rnn_lm": {}, "lstm_lm": {"dropout": 0.0}, "seq2seq": {},
    },
    "medium": {
        "gpt": {"hidden": 512, "heads": 8, "seq_len": 256}, "bert": {"hidden": 512, "heads": 8, "seq_len": 256},
        "llama": {"hidden": 512, "heads": 8, "kv_heads": 4, "mlp": 1408, "seq_len": 256},
        "t5": {"hidden": 512, "heads": 8, "mlp": 2048, "source_len": 128, "target_len": 128},
        "transformer": {"hidden": 512, "heads": 8, "mlp": 2048, "source_len": 128, "target_len": 128},
        "rnn_lm": {}, "lstm_lm": {"dropout": 0.0}, "seq2seq": {},
    },
}  # fmt: skip
NEAR = 1e-4
"""How far losses and gradients may be apart, relative."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(SIZES["small"]))
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--size", default="small", choices=list(SIZES))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(one_process(asked)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.models.split(",")}
    started = time.perf_counter()
    for process in range(asked.processes):
        for name in random.sample(list(found), len(found)):
            command = [sys.executable, __file__, "--one", str(process), "--models", name, "--rounds", str(asked.rounds)]
            command += ["--threads", str(asked.threads), "--attention", asked.attention, "--size", asked.size]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                sys.exit(f"{name}: {answer.stderr.strip()[-2000:]}")
            found[name].append(json.loads(answer.stdout.splitlines()[-1]))
            print(f"process {process} {name}: step {found[name][-1]['step_ratio']:.3f}", file=sys.stderr, flush=True)
    show(found, asked, time.perf_counter() - started)


def show(found: dict[str, list[dict[str, Any]]], asked: argparse.Namespace, took_s: float) -> None:
    print(f"fp32, {asked.threads} thread(s), size {asked.size}, {asked.processes} processes of {asked.rounds} rounds, {took_s:.0f} s")
    print("| model | beside | loss apart | ours, ms a step | theirs | step: theirs/ours (95 %) | passes alone (95 %) |")
    print("|---|---|---|---|---|---|---|")
    for name, answers in found.items():
        first = answers[0]
        step, passes = (interval([a[key] for a in answers]) for key in ("step_ratio", "passes_ratio"))
        ours, theirs = (1e3 * statistics.median(a[key] for a in answers) for key in ("ours_s", "theirs_s"))
        texts = [f"{x.median:.3f}" + (f" ({x.low:.3f} to {x.high:.3f})" if x.low is not None else "") for x in (step, passes)]
        apart = max(a["apart"] for a in answers)
        print(f"| `{name}` | {first['name']} ({first['setting']}) | {apart:.0e} | {ours:.1f} | {theirs:.1f} | {texts[0]} | {texts[1]} |")
    print("hwbench: its defaults (sdpa where the model has no position bias), fused AdamW. Sizes:")
    print(json.dumps({name: answers[0]["config"] for name, answers in found.items()}))


def one_process(asked: argparse.Namespace) -> dict[str, Any]:
    import torch

    from hwbench.core import registry
    from hwbench.core.workload import Context, Workload
    from tests.benchmarks.models_beside import BESIDE

    torch.set_num_threads(asked.threads)
    name = asked.models
    workload = registry.load("workloads", name, Workload)
    config = workload.config(**SIZES[asked.size][name])
    step: Any = workload.build(config, Context(device=torch.device("cpu"), dtype="fp32", seed=asked.one))
    theirs = BESIDE[name](config, step, asked.attention)
    theirs.module.train()
    losses = {"ours": lambda: step.loss(step.module, *step.inputs), "theirs": theirs.loss}
    modules = {"ours": step.module, "theirs": theirs.module}
    apart = difference(losses, modules)
    if not apart < NEAR:
        raise SystemExit(f"{name}: losses or gradients are {apart:.2e} apart, more than {NEAR}: not the same model")
    settings: dict[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True}
    optimizers = {
        "ours": step.optimizer(modules["ours"].parameters()),
        "theirs": torch.optim.AdamW(modules["theirs"].parameters(), **settings),
    }

    def passes(side: str) -> None:
        optimizers[side].zero_grad(set_to_none=True)
        losses[side]().backward()

    def whole(side: str) -> None:
        passes(side)
        torch.nn.utils.clip_grad_norm_(modules[side].parameters(), 1.0)
        optimizers[side].step()

    draw = random.Random(asked.one)
    steps, alone = rounds(whole, asked.rounds, draw), rounds(passes, asked.rounds, draw)
    return {
        "name": theirs.name, "setting": theirs.setting, "apart": apart, "config": SIZES[asked.size][name],
        "ours_s": statistics.median(steps["ours"]), "theirs_s": statistics.median(steps["theirs"]),
        "step_ratio": ratio(steps), "passes_ratio": ratio(alone),
    }  # fmt: skip


def difference(losses: dict[str, Any], modules: dict[str, Any]) -> float:
    """The larger of the losses' and of the gradient norms' relative differences."""
    import torch

    values, norms = [], []
    for side, loss in losses.items():
        value = loss()
        gradients = torch.autograd.grad(value, list(modules[side].parameters()), allow_unused=True)
        values.append(value.item())
        norms.append(float(torch.nn.utils.get_total_norm([g for g in gradients if g is not None])))
    return float(max(abs(a - b) / abs(b) for a, b in (values, norms)))


def rounds(step: Callable[[str], None], count: int, draw: random.Random) -> dict[str, list[float]]:
    """CPU seconds of each side's calls, in rounds of both in random order; the first three rounds are not kept."""
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for i in range(count + 3):
        for side in draw.sample(list(taken), 2):
            before = time.process_time()
            step(side)
            if i >= 3:
                taken[side].append(time.process_time() - before)
    return taken


def ratio(taken: dict[str, list[float]]) -> float:
    return float(statistics.median(theirs / ours for ours, theirs in zip(taken["ours"], taken["theirs"], strict=True)))


if __name__ == "__main__":
    main()
