"""Layout evaluations a second of the vectorised step model on one core: `python tests/benchmarks/planner_speed.py`.

Target: at least 100,000. GPT-3 175B on 512 A100, every column of the layout changed.
"""

import time

import numpy as np

from hwbench.planner.constants import fitted
from hwbench.planner.model import evaluate
from hwbench.planner.reading import read_setup
from hwbench.planner.rows import spread

ROW = {
    "hardware": "A100-SXM4-80GB",
    "gpus": "512",
    "layers": "96",
    "hidden": "12288",
    "heads": "96",
    "seq_len": "2048",
    "dtype": "bf16",
    "framework": "Megatron-LM",
    "year": "2024",
    "zero_stage": "1",
    "global_batch": "1536",
    "recompute": "full",
}


def main(count: int = 20_000, repeats: int = 7) -> None:
    """Print the best and the median rate over a few repeats."""
    rng = np.random.default_rng(1)
    tensor, stages = 2.0 ** rng.integers(0, 4, count), 2.0 ** rng.integers(0, 5, count)
    replicas, micro = 512 / tensor / stages, 2.0 ** rng.integers(0, 3, count)
    changes = {"tensor": tensor, "stages": stages, "replicas": replicas, "micro_batch": micro, "micro_batches": 1536 / replicas / micro}
    rows = spread(read_setup(ROW), changes)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        evaluate(rows, fitted())
        seconds.append(time.process_time() - start)
    print(f"{count / min(seconds):,.0f} layouts/s at best, {count / float(np.median(seconds)):,.0f} in the median")


if __name__ == "__main__":
    main()
