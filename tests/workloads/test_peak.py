"""Peak of live tensor bytes, from the profiler's memory events, against the closed form."""

from typing import Any

import pytest
import torch
from hwbench.workloads._peak import peak_bytes, transient_peak_bytes
from torch.profiler import ProfilerActivity, profile

from hwbench.core import registry
from hwbench.core.workload import Context, Cost, Workload

LSTMS = {"lstm_lm": [(10, 100), (10, 128)], "seq2seq": [(20, 256), (20, 256)]}
"""Steps and width of the input of each LSTM layer; all have 128 units and 64 sequences."""


def measured_bytes(step: Any) -> int:
    """The highest sum of allocations and releases in a step that starts with no gradients, over its start."""
    optimizer = step.optimizer(step.module.parameters())

    def once() -> None:
        torch.autograd.backward(step.loss(step.module, *step.inputs))
        torch.nn.utils.clip_grad_norm_(step.module.parameters(), 1.0)
        optimizer.step()

    once()  # what is made once, the optimizer's state too, is there afterwards
    optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        once()
    events = sorted((e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    now = peak = 0
    for event in events:
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def workspace_bytes(name: str) -> float:
    """What oneDNN's fused LSTM keeps beside what is counted: 3.75 hidden vectors a step, and seven of the wider of input and hidden."""
    return sum(4.0 * 64 * steps * (3.75 * 128 + 7 * max(width, 128)) for steps, width in LSTMS.get(name, []))


@pytest.mark.parametrize("name", ["bert", "gpt", "llama", "lstm_lm", "moe", "rnn_lm", "seq2seq", "t5", "transformer"])
def test_the_profilers_peak_is_the_closed_forms_within_a_tenth(name: str) -> None:
    workload = registry.load("workloads", name, Workload)
    config = workload.config(**({"dropout": 0.0} if name == "lstm_lm" else {}))  # a mask on a CPU is in the dtype
    step: Any = workload.build(config, Context(device=torch.device("cpu"), dtype="fp32"))
    counted = transient_peak_bytes(workload.cost(config, "fp32")) + workspace_bytes(name)
    assert measured_bytes(step) == pytest.approx(counted, rel=0.1)


def test_the_whole_peak_has_weights_and_optimizer_state_in_it() -> None:
    workload = registry.load("workloads", "gpt", Workload)
    cost: Cost = workload.cost(workload.config(), "fp32")
    assert peak_bytes(cost) == 12 * cost.parameters + transient_peak_bytes(cost)  # weight and two moments of 4 bytes
    narrow: Cost = workload.cost(workload.config(), "bf16")
    assert peak_bytes(narrow) == 14 * narrow.parameters + transient_peak_bytes(narrow)  # weight 2, master and two moments 4
