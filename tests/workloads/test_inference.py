"""Inference steps: counted exactly, equal to the model without a cache, and by hand."""

from typing import Any

import pytest
import torch
from hwbench.workloads import decode, prefill
from hwbench.workloads._inference_blocks import served
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwbench.core.errors import UserError
from hwbench.core.workload import Context

CPU, META = torch.device("cpu"), torch.device("meta")
PHASES = pytest.mark.parametrize("module", [prefill, decode], ids=["prefill", "decode"])
MODELS = pytest.mark.parametrize("model, kv_heads", [("gpt", 4), ("llama", 4), ("llama", 2)])


def small(module: Any, **changes: Any) -> Any:
    length = {"seq_len": 20} if module is prefill else {"cache_len": 20}
    return module.Config(**{"vocabulary": 211, "hidden": 48, "layers": 3, "mlp": 100, "batch": 2, **length, **changes})


@PHASES
@MODELS
def test_flops_and_parameters_are_counted_exactly_on_the_meta_device(module: Any, model: str, kv_heads: int) -> None:
    config = small(module, model=model, kv_heads=kv_heads)
    kernel, cost = module.build(config, Context(device=META, dtype="fp32")), module.cost(config, "fp32")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        chosen = kernel.run()
    assert counter.get_total_flops() == cost.flops
    assert (chosen.shape, chosen.device) == ((2, 1), META)
    parts = served(config, Context(device=META, dtype="fp32"), 20, torch.float32)
    assert sum(p.numel() for p in parts.model.parameters()) == cost.parameters


@PHASES
@MODELS
@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16", "fp16"])
def test_every_dtype_passes_its_check_and_seeds_repeat(module: Any, model: str, kv_heads: int, dtype: str) -> None:
    config = small(module, model=model, kv_heads=kv_heads)
    kernels = [module.build(config, Context(device=CPU, dtype=dtype, seed=seed)) for seed in (0, 0)]
    result = kernels[0].check()
    assert result.passed, result
    first, again = (kernel.run() for kernel in kernels)
    assert torch.equal(first, again)
    assert torch.equal(kernels[0].run(), first)  # a step repeats in place


@MODELS
def test_decoding_token_by_token_equals_one_pass(model: str, kv_heads: int) -> None:
    config = small(decode, model=model, kv_heads=kv_heads, tied=True)
    tokens = torch.randint(211, (2, 20))
    parts = served(config, Context(device=CPU, dtype="fp64"), 20, torch.float64)
    whole = served(config, Context(device=CPU, dtype="fp64"), 20, torch.float64).model(tokens)
    torch.testing.assert_close(parts.run(tokens[:, :17], 0)[:, 0], whole[:, 16])
    for i in range(17, 20):
        torch.testing.assert_close(parts.run(tokens[:, i : i + 1], i)[:, 0], whole[:, i], rtol=1e-6, atol=1e-7)


def test_decode_by_hand() -> None:
    config = decode.Config(model="gpt", vocabulary=10, hidden=4, layers=1, heads=2, kv_heads=2, mlp=16, batch=3, cache_len=5)
    counted = decode.cost(config, "fp32")
    # One token meets 192 weights of the layer and the projection's 40; attention 4·5·4 over five positions. Three sequences.
    assert counted.flops == 3 * (2 * (192 + 40) + 4 * 5 * 4) == 1632
    assert counted.items == 3
    attention = next(op for op in counted.blocks[1].operators if op.kind == "attention")
    assert attention.bytes == 4 * 3 * (2 * 4 + 2 * 5 * 4)  # query and result, keys and values


def test_prefill_by_hand() -> None:
    config = prefill.Config(model="gpt", vocabulary=10, hidden=4, layers=1, heads=2, kv_heads=2, mlp=16, batch=1, seq_len=3)
    # Three tokens meet 192 weights; attention 4·9·4; one row meets the projection's 40.
    assert prefill.cost(config, "fp32").flops == 2 * 3 * 192 + 144 + 2 * 40 == 1376


@pytest.mark.parametrize(
    "module, changes, words",
    [
        (decode, {"cache_len": 1}, "cache_len=1"),
        (prefill, {"seq_len": 0}, "seq_len=0"),
        (prefill, {"model": "gpt", "kv_heads": 2}, "as many as heads=4"),
        (decode, {"hidden": 12}, "even head width"),
    ],
)
def test_impossible_shapes_are_refused(module: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        module.cost(small(module, **changes), "fp32")
