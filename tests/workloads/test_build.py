"""What `build` makes, held against `cost`: parameters, FLOPs, activations, devices, seeds and checks."""

import math
from typing import Any

import msgspec
import pytest
import torch
from hwbench.workloads import attention, embedding, gpt, lstm, lstm_lm
from hwbench.workloads._tensors import relative_distance, whole_distance
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwbench.core import registry
from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Check, Context, Kernel, Training, Workload

CPU, META = torch.device("cpu"), torch.device("meta")
TRAINING = ["bert", "gpt", "llama", "lstm_lm", "moe", "rnn_lm", "seq2seq", "t5", "transformer"]
COUNTED = ["bert", "gpt", "llama", "moe", "rnn_lm", "t5", "transformer"]
"""Those whose every operator torch's counters and hooks see."""
KERNELS = ["attention", "embedding", "lstm", "matmul", "triad"]
DTYPES = ["fp64", "fp32", "bf16", "fp16"]
SMALL: dict[str, dict[str, Any]] = {
    "attention": {"batch": 1, "heads": 4, "kv_heads": 2, "seq_len": 40, "head_dim": 16},
    "embedding": {"vocabulary": 500, "dim": 32, "tokens": 700},
    "lstm": {"batch": 3, "seq_len": 7, "input_size": 12, "hidden": 16, "layers": 2},
    "matmul": {"m": 70, "n": 50, "k": 90},
    "triad": {"elements": 100_003},
    "bert": {"vocabulary": 211, "hidden": 48, "layers": 3, "seq_len": 40, "positions": 64},
    "gpt": {"vocabulary": 211, "hidden": 48, "layers": 3, "seq_len": 40, "positions": 64},
    "llama": {"vocabulary": 211, "hidden": 48, "layers": 3, "seq_len": 40, "mlp": 100},
    "moe": {"vocabulary": 211, "hidden": 48, "layers": 3, "seq_len": 40, "mlp": 36, "experts": 5, "topk": 2, "shared_mlp": 20},
    "rnn_lm": {"vocabulary": 211, "embedding": 20, "hidden": 24, "seq_len": 9, "micro_batch": 4},
    "seq2seq": {"vocabulary": 211, "embedding": 20, "hidden": 24, "source_len": 9, "target_len": 7, "micro_batch": 4},
    "t5": {"vocabulary": 211, "hidden": 48, "layers": 2, "heads": 3, "head_dim": 20, "mlp": 100, "source_len": 40, "target_len": 30},
    "transformer": {"vocabulary": 211, "hidden": 48, "layers": 2, "mlp": 100, "source_len": 40, "target_len": 30},
    "lstm_lm": {"vocabulary": 211, "embedding": 20, "hidden": 24, "seq_len": 9, "micro_batch": 4},
}


def load(name: str) -> tuple[Workload, Any]:
    workload = registry.load("workloads", name, Workload)
    return workload, workload.config(**SMALL[name])


def build(name: str, device: torch.device = CPU, dtype: str = "fp32", **context: int) -> Any:
    workload, config = load(name)
    return workload.build(config, Context(device=device, dtype=dtype, **context))


def losses(step: Training, count: int = 3) -> list[float]:
    optimizer, found = step.optimizer(step.module.parameters()), []
    for _ in range(count):
        loss = step.loss(step.module, *step.inputs)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", TRAINING)
def test_training_runs_where_a_stray_cpu_tensor_would_fail(name: str) -> None:
    step = build(name, META)
    assert isinstance(step, Training)
    assert step.clip_norm == 1.0
    loss = step.loss(step.module, *step.inputs)
    torch.autograd.backward(loss)
    step.optimizer(step.module.parameters()).step()
    assert loss.device == META
    assert all(p.grad is not None and p.grad.device == META for p in step.module.parameters())


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_run_where_a_stray_cpu_tensor_would_fail(name: str) -> None:
    kernel = build(name, META)
    assert isinstance(kernel, Kernel)
    results = kernel.run()
    assert all(t.device == META for t in (results if isinstance(results, tuple) else (results,)))


@pytest.mark.parametrize("name", TRAINING)
def test_parameters_equal_the_closed_form(name: str) -> None:
    workload, config = load(name)
    assert sum(p.numel() for p in build(name, META).module.parameters()) == workload.cost(config, "fp32").parameters


@pytest.mark.parametrize("layers, width", [(1, 12), (3, 5)])
def test_lstm_parameters_equal_the_closed_form(layers: int, width: int) -> None:
    counted = lstm.cost(lstm.Config(input_size=width, hidden=7, layers=layers), "fp32").parameters
    assert counted == sum(p.numel() for p in nn.LSTM(width, 7, layers).parameters())


def counted_flops(run: Any) -> int:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", COUNTED)
def test_flops_equal_torchs_counter_exactly(name: str) -> None:
    workload, config = load(name)
    step, cost = build(name, META), workload.cost(config, "fp32")
    loss: list[Tensor] = []
    assert counted_flops(lambda: loss.append(step.loss(step.module, *step.inputs))) == cost.forward_flops
    assert counted_flops(loss[0].backward) == cost.flops - cost.forward_flops


@pytest.mark.parametrize("name", ["matmul", "attention", "embedding"])
def test_flops_of_kernels_equal_torchs_counter_exactly(name: str) -> None:
    workload, config = load(name)
    assert counted_flops(build(name, META).run) == workload.cost(config, "fp32").flops


def unrolled(config: Any, width: int) -> Tensor:
    """The LSTM layers of a config as nn.LSTMCell steps on the meta device, from an input and a state that need gradients."""
    batch = getattr(config, "batch", None) or config.micro_batch
    steps = [torch.randn(batch, width, device=META, requires_grad=True) for _ in range(config.seq_len)]
    for layer in range(config.layers):
        cell = nn.LSTMCell(width if layer == 0 else config.hidden, config.hidden, device=META)
        state = tuple(torch.zeros(batch, config.hidden, device=META, requires_grad=True) for _ in range(2))
        outputs = []
        for x in steps:
            state = cell(x, state)
            outputs.append(state[0])
        steps = outputs
    return torch.stack(steps, 1)


def test_flops_of_lstm_layers_equal_those_of_their_cells() -> None:
    """torch's counter is blind to fused LSTMs. Fused kernels also find the gradient of the first state, so it is asked for here."""
    config = lstm.Config(**SMALL["lstm"])
    cost = lstm.cost(config, "fp32")
    assert counted_flops(lambda: unrolled(config, config.input_size).sum().backward()) == cost.flops  # type: ignore[no-untyped-call]


def test_flops_of_the_lstm_language_model_equal_those_of_its_cells_and_head() -> None:
    config = lstm_lm.Config(**SMALL["lstm_lm"])
    head = nn.Linear(config.hidden, config.vocabulary, device=META)

    def step() -> None:
        head(unrolled(config, config.embedding)).sum().backward()

    assert counted_flops(step) == lstm_lm.cost(config, "fp32").flops


def saved_bytes(step: Training) -> int:
    """Bytes of the storages that autograd keeps from one forward pass, each once, without the weights themselves."""
    weights = {p.untyped_storage().data_ptr() for p in step.module.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors too, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step.loss(step.module, *step.inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("wider", [False, True])
def test_activations_are_what_autograd_keeps(name: str, dtype: str, wider: bool) -> None:
    workload, config = load(name)
    if wider:
        config = msgspec.structs.replace(config, hidden=128, micro_batch=3)
    step: Any = workload.build(config, Context(device=CPU, dtype=dtype))
    assert saved_bytes(step) == pytest.approx(workload.cost(config, dtype).activation_bytes, rel=0.02)


def test_a_fused_lstm_keeps_at_least_what_is_counted() -> None:
    """oneDNN's workspace holds 15.75 hidden vectors a step where 5 are counted. Without dropout, whose mask on a CPU is in the dtype."""
    config = lstm_lm.Config(vocabulary=300, micro_batch=8, seq_len=16, dropout=0.0)
    step = lstm_lm.build(config, Context(device=CPU, dtype="fp32"))
    workspace = 2 * 8 * 16 * 128 * 4 * (15.75 - 5)
    assert saved_bytes(step) - workspace == pytest.approx(lstm_lm.cost(config, "fp32").activation_bytes, rel=0.05)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*KERNELS, *TRAINING])
def test_every_dtype_passes_its_check(name: str, dtype: str) -> None:
    result = build(name, dtype=dtype).check()
    assert result.passed, f"{name} in {dtype}: {result}"
    assert result.tolerance < 0.5


@pytest.mark.parametrize("name", TRAINING)
def test_a_step_trains_and_seeds_repeat_it_bit_for_bit(name: str) -> None:
    first, again, other = (losses(build(name, seed=seed), 4) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[0] == pytest.approx(math.log(211), rel=0.03)  # an untrained model knows nothing
    if name != "lstm_lm":  # dropout of one half hides the fall of the first steps
        assert first[-1] < first[0]


@pytest.mark.parametrize("name", TRAINING)
def test_ranks_have_equal_weights_and_data_of_their_own(name: str) -> None:
    zero, one = build(name, rank=0, world_size=2), build(name, rank=1, world_size=2)
    assert all(torch.equal(a, b) for a, b in zip(zero.module.parameters(), one.module.parameters(), strict=True))
    assert not torch.equal(zero.inputs[0], one.inputs[0])


@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
def test_token_ids_cover_the_vocabulary(distribution: Any) -> None:
    config = gpt.Config(vocabulary=40, hidden=16, layers=1, seq_len=128, micro_batch=64, distribution=distribution)
    tokens, targets = gpt.build(config, Context(device=CPU, dtype="fp32")).inputs
    counts = tokens.flatten().bincount(minlength=40)
    assert len(counts) == 40
    assert counts.min() > 0
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    expected = 1.0 if distribution == "uniform" else 40.0  # Zipf: the first id is 40 times as frequent as the last
    assert counts[0] / counts[-1] == pytest.approx(expected, rel=0.5)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_master_weights_keep_updates_that_the_dtype_would_lose(dtype: str) -> None:
    step = build("gpt", dtype=dtype)
    optimizer = step.optimizer(step.module.parameters())
    before = [p.detach().clone() for p in step.module.parameters()]
    for _ in range(3):
        step.loss(step.module, *step.inputs).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(p.grad is None for p in step.module.parameters())
    assert all(p.dtype == before[0].dtype for p in step.module.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(step.module.parameters(), before, strict=True))
    assert all(state["exp_avg"].dtype == torch.float32 for state in optimizer.state.values())


def test_a_backend_the_device_lacks_is_unavailable_with_torchs_reason() -> None:
    config = attention.Config(**SMALL["attention"], backend="cudnn")
    with pytest.raises(UnavailableError, match="cudnn on cpu in fp32"):
        attention.build(config, Context(device=CPU, dtype="fp32"))


@pytest.mark.parametrize("dtype", ["fp8", "tf32"])
def test_a_dtype_the_device_lacks_is_unavailable(dtype: str) -> None:
    with pytest.raises(UnavailableError, match=dtype):
        build("gpt", dtype=dtype)


@pytest.mark.parametrize("module, name", [(embedding, "embedding"), (lstm, "lstm"), (attention, "attention")])
def test_forward_alone_returns_no_gradient(module: Any, name: str) -> None:
    kernel = module.build(module.Config(**SMALL[name], passes="forward"), Context(device=CPU, dtype="fp32"))
    assert len(kernel.run()) == 1
    assert kernel.check().passed
    assert (
        module.cost(module.Config(**SMALL[name], passes="forward"), "fp32").flops * 3
        == module.cost(module.Config(**SMALL[name]), "fp32").flops
    )


def test_a_check_that_meets_nan_or_a_wrong_result_fails() -> None:
    right = [torch.tensor([3.0, 4.0]), torch.tensor([1.0])]
    assert relative_distance(right, right) == whole_distance(right, right) == 0
    wrong = [torch.tensor([3.0, 4.0]), torch.tensor([1.5])]
    assert relative_distance(wrong, right) == 0.5
    assert whole_distance(wrong, right) == pytest.approx(0.5 / math.sqrt(26))
    lost = [torch.tensor([math.nan, 4.0]), torch.tensor([1.5])]
    assert math.isnan(relative_distance(lost, right))
    assert math.isnan(relative_distance(lost[::-1], right[::-1]))
    assert not Check(name="c", error=whole_distance(lost, right), tolerance=1.0, reference="").passed
