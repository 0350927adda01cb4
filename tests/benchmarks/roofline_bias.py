"""Measured over roofline time of the published dense runs: `python tests/benchmarks/roofline_bias.py`.

The constants FACTOR… of hwbench/planner/general.py are what this prints: what software adds to a roofline where no fitted model applies.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hwbench.cli._planning import sends
from hwbench.core import codec, registry
from hwbench.core.errors import UserError
from hwbench.core.layout import Layout
from hwbench.core.workload import Cost, Workload
from hwbench.planner.fit import measurements_path
from hwbench.planner.memory import Recompute
from hwbench.planner.reading import read_table
from hwbench.planner.search import lightest_recompute, predict

CLUSTERS = {
    "A100-SXM4-80GB": "dgx-a100-80gb",
    "A100-SXM4-40GB": "dgx-a100-40gb",
    "A100-SXM4-40GB (DGX A100)": "dgx-a100-40gb",
    "H100-SXM5-80GB": "dgx-h100",
    "B200-SXM-180GB": "dgx-b200",
    "B300-SXM": "dgx-b300",
    "GB200-NVL72": "gb200-nvl72",
    "GB300-NVL72": "gb300-nvl72",
    "V100-SXM3-32GB (DGX-2)": "dgx-2",
}
RECOMPUTE: dict[str, Recompute] = {"none": "none", "selective": "selective", "full": "full"}


def ratios() -> dict[str, list[float]]:
    """Measured over roofline by source family, rows that can't be expressed left out."""
    found: dict[str, list[float]] = {}
    for row in read_table(measurements_path()):
        if float(row["experts"] or 0) <= 1:
            for ratio in _ratio(row):
                found.setdefault(row["source_family"], []).append(ratio)
    return found


def _ratio(row: Mapping[str, str]) -> Iterator[float]:
    try:
        profile = registry.load_cluster(CLUSTERS[row["hardware"]])
        layout = _layout(row)
        cost = _cost(row, int(_number(row, "micro_batch", 1)))
        recompute = RECOMPUTE.get(row["recompute"]) or lightest_recompute(cost, layout, profile.accelerator.memory_bytes or 0.0)[0]
        step = predict(cost, layout, profile, sends, recompute or "full").step_time_s
    except (UserError, KeyError):
        return
    yield float(row["measured_step_time_s"]) / step


def _layout(row: Mapping[str, str]) -> Layout:
    tp, pp, cp = (int(_number(row, key, 1)) for key in ("tp", "pp", "cp"))
    data = int(_number(row, "gpus", 1)) // (tp * pp * cp)
    sharded = row["zero_stage"].removesuffix(".0") in ("3", "fsdp", "hsdp")
    zero = int(row["zero_stage"]) if row["zero_stage"] in ("1", "2") else 0
    count = int(_number(row, "global_batch", 1) // (data * _number(row, "micro_batch", 1)))
    return Layout(
        dp=1 if sharded else data, fsdp=data if sharded else 1, tp=tp, pp=pp, cp=cp, zero=zero, vpp=int(_number(row, "vpp", 1)),
        sp=_number(row, "seq_parallel", 0) > 0, microbatches=max(1, count),
    )  # fmt: skip


def _cost(row: Mapping[str, str], micro_batch: int) -> Cost:
    gated = _number(row, "gated_ffn", 0) > 0
    hidden = int(_number(row, "hidden", 0))
    config: dict[str, Any] = {
        "layers": int(_number(row, "layers", 0)), "hidden": hidden, "heads": int(_number(row, "heads", 0)),
        "vocabulary": int(_number(row, "vocab", 50304)), "seq_len": int(_number(row, "seq_len", 0)), "micro_batch": micro_batch,
        "mlp": int(_number(row, "ffn_hidden", 4 * hidden)),
    }  # fmt: skip
    if gated:
        config["kv_heads"] = int(_number(row, "kv_heads", _number(row, "heads", 0)))
    workload = registry.load("workloads", "llama" if gated else "gpt", Workload)
    return workload.cost(codec.convert(config, workload.config, source=row["id"]), row["dtype"])


def _number(row: Mapping[str, str], key: str, default: float) -> float:
    return float(row[key]) if row.get(key) else default


def main() -> None:
    """Print the median and the middle 90 % over rows, and the families' medians."""
    found = ratios()
    everything = np.array([ratio for family in found.values() for ratio in family])
    low, middle, high = np.percentile(everything, [5, 50, 95])
    print(f"{len(everything)} rows: median {middle:.2f}, 90 % within {low:.2f} to {high:.2f}")
    for family, one in sorted(found.items()):
        print(f"  {family}: {len(one)} rows, median {np.median(one):.2f}")


if __name__ == "__main__":
    main()
