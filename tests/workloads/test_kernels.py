"""Every kernel: counted by hand and by torch's counter, right in every dtype, free of stray CPU tensors."""

import contextlib
from typing import Any

import pytest
import torch
from hwbench.workloads import (
    attention,
    decode_attention,
    embedding,
    embedding_bag,
    gru,
    layer_norm,
    linear,
    linear_24,
    linear_int8,
    lstm,
    mlp,
    optimizer,
    rms_norm,
    rnn,
    rnn_cell,
    rotary,
    softmax,
    vocabulary,
)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwbench.core import registry
from hwbench.core.errors import UnavailableError, UserError
from hwbench.core.workload import Context, Kernel, Workload

CPU, META = torch.device("cpu"), torch.device("meta")
DTYPES = ["fp64", "fp32", "bf16", "fp16"]
ROWS = {"rows": 33, "width": 70}
LAYERS = {"batch": 3, "seq_len": 7, "input_size": 12, "hidden": 16, "layers": 2}
BAGS = {"vocabulary": 90, "dim": 20, "bags": 40, "bag_size": 6}
HEAD = {"tokens": 30, "hidden": 24, "vocabulary": 100}
KERNELS: list[tuple[str, dict[str, Any]]] = [
    ("softmax", ROWS),
    ("layer_norm", ROWS),
    ("rms_norm", ROWS),
    ("rotary", {"seq_len": 40, "heads": 4, "kv_heads": 2, "head_dim": 16}),
    ("mlp", {"tokens": 30, "hidden": 24, "inner": 50}),
    ("mlp", {"tokens": 30, "hidden": 24, "inner": 50, "variant": "gated"}),
    ("vocabulary", HEAD),
    ("linear", {"tokens": 20, "shape": "custom", "inputs": 24, "outputs": 40}),
    ("linear", {"tokens": 20, "shape": "custom", "inputs": 24, "outputs": 40, "bias": False}),
    ("embedding", {"vocabulary": 90, "dim": 20, "tokens": 70, "gradient": "sparse", "distribution": "zipf"}),
    ("embedding_bag", BAGS),
    ("embedding_bag", BAGS | {"mode": "mean", "distribution": "zipf"}),
    ("embedding_bag", BAGS | {"gradient": "sparse"}),
    ("rnn_cell", {"batch": 3, "seq_len": 7, "input_size": 12, "hidden": 16}),
    ("rnn_cell", {"batch": 3, "seq_len": 7, "input_size": 12, "hidden": 16, "variant": "per_step"}),
    *[(name, LAYERS | {"variant": variant}) for name in ("rnn", "lstm", "gru") for variant in ("fused", "per_step")],
    ("decode_attention", {"batch": 2, "heads": 4, "kv_heads": 2, "cache_len": 50, "head_dim": 16}),
    ("attention", {"batch": 1, "heads": 4, "kv_heads": 1, "seq_len": 40, "head_dim": 64, "causal": False}),
    ("optimizer", {"tensors": 3, "size": 500, "method": "sgd", "variant": "foreach"}),
    *[
        ("optimizer", {"tensors": 3, "size": 500, "method": method, "variant": variant})
        for method in ("momentum", "adam", "adamw")
        for variant in ("foreach", "fused")
    ],
    ("linear_int8", {"tokens": 20, "shape": "custom", "inputs": 64, "outputs": 32}),
]
IDS = [f"{name} {' '.join(str(v) for v in settings.values())}" for name, settings in KERNELS]


def loaded(name: str, settings: dict[str, Any]) -> tuple[Workload, Any]:
    workload = registry.load("workloads", name, Workload)
    return workload, workload.config(**settings)


def made(name: str, settings: dict[str, Any], device: torch.device = CPU, dtype: str = "fp32") -> Kernel:
    workload, config = loaded(name, settings)
    kernel = workload.build(config, Context(device=device, dtype=dtype))
    assert isinstance(kernel, Kernel)
    return kernel


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, settings", KERNELS, ids=IDS)
def test_every_dtype_passes_its_check(name: str, settings: dict[str, Any], dtype: str) -> None:
    if name == "linear_int8" and dtype == "fp64":
        pytest.skip("torch has no weight-only int8 product of fp64")
    if settings.get("method") == "momentum" and settings["variant"] == "fused" and dtype in ("bf16", "fp16"):
        pytest.skip("torch 2.13's fused SGD of narrow dtypes is wrong on a CPU: a test of its own says so")
    kernel = made(name, settings, dtype=dtype)
    kernel.run()
    result = kernel.check()
    assert result.passed, f"{name} in {dtype}: {result}"
    assert result.tolerance < 0.6


@pytest.mark.parametrize("name, settings", KERNELS, ids=IDS)
def test_it_runs_where_a_stray_cpu_tensor_would_fail(name: str, settings: dict[str, Any]) -> None:
    results: Any = made(name, settings, META).run()
    assert all(t.device == META for t in (results if isinstance(results, tuple) else (results,)))


class Nowhere:
    """Stands for the counter's record of which module is at work: its hooks refuse autograd.grad."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def counted_flops(run: Any) -> int:
    counter: Any = FlopCounterMode(display=False)
    counter.mod_tracker = Nowhere()
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return int(counter.get_total_flops())


COUNTED = [(name, settings) for name, settings in KERNELS if name != "linear_int8" and settings.get("variant") != "fused"]


@pytest.mark.parametrize("name, settings", COUNTED, ids=[f"{n} {' '.join(str(v) for v in s.values())}" for n, s in COUNTED])
def test_flops_equal_torchs_counter_exactly(name: str, settings: dict[str, Any]) -> None:
    workload, config = loaded(name, settings)
    assert counted_flops(made(name, settings, META).run) == workload.cost(config, "fp32").flops


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "rnn_cell"])
def test_fused_layers_count_the_flops_of_their_steps(name: str) -> None:
    settings = LAYERS if name != "rnn_cell" else {k: v for k, v in LAYERS.items() if k != "layers"}
    workload, fused = loaded(name, settings | {"variant": "fused"})
    _, steps = loaded(name, settings | {"variant": "per_step"})
    assert workload.cost(fused, "fp32").flops == workload.cost(steps, "fp32").flops
    assert workload.cost(fused, "fp32").bytes < workload.cost(steps, "fp32").bytes


MODULES: list[tuple[Any, dict[str, Any]]] = [
    (softmax, ROWS), (layer_norm, ROWS), (rms_norm, ROWS), (rotary, {}), (mlp, {}), (mlp, {"variant": "gated"}), (vocabulary, HEAD),
    (linear, {}), (linear, {"bias": False}), (embedding_bag, BAGS), (rnn_cell, {}), (rnn_cell, {"variant": "per_step"}),
    *[(kind, LAYERS | {"variant": variant}) for kind in (rnn, lstm, gru) for variant in ("fused", "per_step")],
]  # fmt: skip


@pytest.mark.parametrize("kernel, settings", MODULES)
def test_parameters_equal_the_modules(kernel: Any, settings: dict[str, Any]) -> None:
    config = kernel.Config(**settings)
    with META:
        parameters = sum(p.numel() for p in kernel.module(config).parameters())
    assert parameters == kernel.cost(config, "fp32").parameters


def saved_bytes(kernel: Any, config: Any, dtype: torch.dtype) -> int:
    """Bytes of the storages that autograd keeps from one forward pass, each once, without the weights and the input of a first state."""
    module = kernel.module(config).to(dtype)
    if kernel is vocabulary:
        inputs = [torch.randn(config.tokens, config.hidden, dtype=dtype), torch.randint(config.vocabulary, (config.tokens,))]
    elif kernel is mlp:
        inputs = [torch.randn(config.tokens, config.hidden, dtype=dtype)]
    else:
        inputs = [torch.randn(config.rows, config.width, dtype=dtype)]
    inputs[0].requires_grad_()
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(*inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kernel, settings", [
    (softmax, ROWS), (layer_norm, ROWS), (rms_norm, ROWS), (mlp, {}), (mlp, {"variant": "gated"}), (vocabulary, HEAD),
])  # fmt: skip
def test_activations_are_what_autograd_keeps(kernel: Any, settings: dict[str, Any], dtype: str) -> None:
    config = kernel.Config(**settings)
    kept = saved_bytes(kernel, config, torch.float32 if dtype == "fp32" else torch.bfloat16)
    assert kept == pytest.approx(kernel.cost(config, dtype).activation_bytes, rel=0.03)


def test_forward_alone_returns_no_gradient_and_counts_none() -> None:
    for name, settings in KERNELS:
        workload, config = loaded(name, settings)
        if not hasattr(config, "passes"):
            continue
        forward = settings | {"passes": "forward"}
        results: Any = made(name, forward).run()
        assert len(results) == 1, name
        assert made(name, forward).check().passed, name
        one, both = (workload.cost(workload.config(**s), "fp32") for s in (forward, settings))
        assert one.flops * 3 == both.flops, name
        assert one.bytes < both.bytes, name
        assert one.activation_bytes == 0, name


def test_row_kernels_by_hand() -> None:
    for kernel, parameters, statistics in ((softmax, 0, 0), (layer_norm, 20, 2), (rms_norm, 10, 1)):
        counted = kernel.cost(kernel.Config(rows=3, width=10), "bf16")
        assert (counted.flops, counted.bytes, counted.parameters) == (0, 5 * 30 * 2, parameters)  # x in, y out; two in, one out
        assert counted.activation_bytes == 30 * 2 + statistics * 3 * 4


def test_rotary_by_hand() -> None:
    counted = rotary.cost(rotary.Config(batch=1, seq_len=3, heads=2, kv_heads=1, head_dim=4), "fp32")
    assert counted.bytes == 4 * (3 * 3 * 4 * 4)  # 3 tokens, 3 heads of 4, 4 bytes: read, written, and again backward
    assert (counted.flops, counted.items, counted.activation_bytes) == (0, 3, 0)


def test_mlp_by_hand() -> None:
    plain = mlp.cost(mlp.Config(tokens=2, hidden=3, inner=5), "fp32")
    assert plain.parameters == 3 * 5 + 5 + 5 * 3 + 3 == 38
    assert plain.flops == 3 * 2 * (2 * 2 * 3 * 5) == 360  # two products of 2·3·5, forward and twice that backward
    assert plain.activation_bytes == 4 * 2 * (3 + 2 * 5)
    gated = mlp.cost(mlp.Config(tokens=2, hidden=3, inner=5, variant="gated"), "fp32")
    assert (gated.parameters, gated.flops, gated.activation_bytes) == (45, 540, 4 * 2 * (3 + 4 * 5))


def test_vocabulary_by_hand() -> None:
    counted = vocabulary.cost(vocabulary.Config(tokens=2, hidden=3, vocabulary=5), "bf16")
    assert (counted.parameters, counted.flops) == (15, 3 * 2 * 2 * 3 * 5)
    product = 3 * 2 * (2 * 3 + 3 * 5 + 2 * 5)  # three products, 2 bytes an element of operands and result
    loss = 2 * 10 * (2 + 4)  # logits and log-probabilities, forward and backward
    assert counted.bytes == product + loss
    assert counted.activation_bytes == 2 * 2 * 3 + 2 * (5 * 4 + 8)


def test_linear_layers_by_hand() -> None:
    own = {"shape": "custom", "inputs": 8, "outputs": 4, "tokens": 2}
    assert linear.cost(linear.Config(**own), "fp32").parameters == 8 * 4 + 4
    assert linear.cost(linear.Config(**own), "fp32").flops == 3 * 2 * 2 * 8 * 4
    assert linear.cost(linear.Config(shape="llama3-8b.qkv", bias=False), "bf16").parameters == 4096 * 6144
    assert linear_int8.cost(linear_int8.Config(**own), "int8").bytes == 4 * (16 + 8) + 32 + 4 * 4  # in and out fp32, weights, scales
    assert linear_int8.cost(linear_int8.Config(**own), "bf16").bytes == 2 * (16 + 8) + 32 + 2 * 4
    pruned = linear_24.cost(linear_24.Config(**own), "fp16")
    assert pruned.bytes == 2 * (16 + 8) + 16 * (2 + 0.25)  # half of the weights and two bits each
    assert pruned.executed_flops == pruned.flops / 2 == 64


def test_embedding_bags_by_hand() -> None:
    sizes = {"vocabulary": 10, "dim": 4, "bags": 2, "bag_size": 3}
    forward, backward = 6 * (8 + 16) + 2 * 16, 6 * 8 + 2 * 16
    assert embedding_bag.cost(embedding_bag.Config(**sizes), "fp32").bytes == forward + backward + 10 * 16
    assert embedding_bag.cost(embedding_bag.Config(**sizes, gradient="sparse"), "fp32").bytes == forward + backward + 6 * (8 + 16)
    dense, sparse = (
        embedding.cost(embedding.Config(vocabulary=10, dim=4, tokens=3, gradient=g), "fp32").bytes for g in ("dense", "sparse")
    )
    assert dense - sparse == 10 * 16 - 3 * (8 + 16)


def test_recurrent_layers_by_hand() -> None:
    sizes = {"batch": 1, "seq_len": 2, "input_size": 3, "hidden": 2}
    for kind, gates in ((rnn, 1), (lstm, 4), (gru, 3)):
        counted = kind.cost(kind.Config(**sizes), "fp32")
        assert counted.parameters == gates * (2 * 3 + 2 * 2 + 2 + 2)
        assert counted.flops == 3 * 2 * (2 * gates * 2 * (3 + 2))  # two steps, 2·gates·h·(width + h) each
    cell = rnn_cell.cost(rnn_cell.Config(**sizes), "fp32")
    assert (cell.parameters, cell.flops) == (2 * (3 + 2) + 2, 3 * 2 * 2 * 2 * 5)


def test_optimizers_by_hand() -> None:
    words = {"sgd": 3, "momentum": 5, "adam": 7, "adamw": 7}
    for method, moved in words.items():
        counted = optimizer.cost(optimizer.Config(tensors=2, size=5, method=method), "fp32")
        assert (counted.bytes, counted.parameters, counted.flops) == (moved * 4 * 10, 10, 0)


def test_decode_attention_by_hand() -> None:
    counted = decode_attention.cost(decode_attention.Config(batch=2, heads=4, kv_heads=2, cache_len=5, head_dim=8), "fp16")
    assert counted.flops == 2 * 4 * (2 * 2 * 5 * 8)  # two sequences of four heads, two products of 1·5·8
    assert counted.bytes == 2 * 2 * 8 * (4 + 4 + 2 * 2 * 5)  # query and result of four heads, keys and values of two
    assert counted.items == 2


def test_a_sigmoid_cell_is_its_formula() -> None:
    config = rnn_cell.Config(batch=2, seq_len=3, input_size=4, hidden=5)
    cell, x, h = rnn_cell.module(config).double(), torch.randn(2, 3, 4).double(), torch.rand(2, 5).double()
    found = cell(x, h)
    for t in range(3):
        h = 1 / (1 + torch.exp(-(torch.cat((h, x[:, t]), 1) @ cell.joined.weight.t() + cell.joined.bias)))
        torch.testing.assert_close(found[:, t], h)


def test_pruned_weights_keep_the_two_largest_of_four() -> None:
    kept = linear_24.pruned(torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.0, 0.5, -0.25, 0.125]]))
    assert kept.tolist() == [[0.0, -4.0, 3.0, 0.0, 0.0, 0.5, -0.25, 0.0]]


def test_int8_products_are_near_the_dtypes() -> None:
    kernel = made("linear_int8", {"tokens": 20, "shape": "custom", "inputs": 64, "outputs": 32}, dtype="int8")
    assert kernel.check().passed
    assert 1e-4 < kernel.check().error < 0.03  # the input's quantisation shows, and no more than it


def test_what_a_cpu_lacks_is_unavailable_with_torchs_reason() -> None:
    with pytest.raises(UnavailableError, match=r"2:4 sparse products on cpu in fp16: .*CUDA"):
        made("linear_24", {}, dtype="fp16")
    for backend in ("efficient", "cudnn"):
        with pytest.raises(UnavailableError, match=f"attention backend {backend} on cpu in fp32"):
            made("decode_attention", {"backend": backend})


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_fused_update_that_is_wrong_is_unavailable_and_never_measured(dtype: str) -> None:
    """Where torch has repaired it, it has to be right."""
    settings = {"tensors": 2, "size": 4096, "method": "sgd", "variant": "fused"}
    with contextlib.suppress(UnavailableError):
        assert made("optimizer", settings, dtype=dtype).check().passed
    assert made("optimizer", settings | {"variant": "foreach"}, dtype=dtype).check().passed


@pytest.mark.parametrize("kernel, settings, says", [
    (linear, {"shape": "custom"}, "inputs=0"),
    (linear, {"inputs": 5}, "shape=gpt2.qkv has sizes of its own"),
    (linear_24, {"shape": "custom", "inputs": 6, "outputs": 8}, "inputs=6: expected a multiple of 4"),
    (rotary, {"head_dim": 5}, "head_dim=5"),
    (softmax, {"rows": 0}, "rows=0"),
    (gru, {"hidden": 0}, "hidden=0"),
    (decode_attention, {"heads": 6, "kv_heads": 4}, "kv_heads=4 does not divide heads=6"),
    (embedding_bag, {"bag_size": 0}, "bag_size=0"),
    (optimizer, {"size": 0}, "size=0"),
    (mlp, {"inner": -1}, "inner=-1"),
    (attention, {"heads": 6, "kv_heads": 4}, "kv_heads=4 does not divide heads=6"),
])  # fmt: skip
def test_impossible_sizes_are_refused(kernel: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        kernel.cost(kernel.Config(**settings), "fp32")
