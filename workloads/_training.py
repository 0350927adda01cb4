"""A training step put together: weights, data, optimizer, loss and its check, the same way for every model.

Precision: in fp32 and fp64 everything is in that dtype. In bf16 and fp16 weights, activations and gradients are in that dtype, the loss in
fp32, and the optimizer keeps fp32 master weights and moments (Megatron-LM's and ZeRO's scheme, 16 bytes a parameter). fp16 does not
scale the loss: its speed is that of a real step, small gradients are lost.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from hwbench.core.value import Value
from hwbench.core.workload import Check, Context, Training

from . import _tensors

C = TypeVar("C", bound=Value)

CHECK_SIZES = {"micro_batch": 1, "layers": 2, "seq_len": 64, "vocabulary": 8192}
"""The largest sizes a check works with: a float64 step on a CPU has to stay cheap beside what is measured."""


def training(
    config: C,
    context: Context,
    *,
    model: Callable[[C], nn.Module],
    inputs: Callable[[C, torch.device], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
) -> Training:
    """The step of `model(config)` on this rank's own `inputs(config, device)`.

    Weights are drawn from the context's seed, so they are equal on all ranks; data from seed + rank; dropout masks follow the data's draws.
    """
    dtype = _tensors.begin(context)
    module = _weighted(model, config, context, dtype)
    torch.manual_seed(context.seed + context.rank)
    micro_batches = context.micro_batches * getattr(config, "accumulation", 1)
    drawn = [inputs(config, context.device) for _ in range(micro_batches)]
    return Training(
        module=module,
        inputs=tuple(torch.cat(parts) for parts in zip(*drawn, strict=True)),
        accumulation=micro_batches,
        loss=loss,
        optimizer=adamw,
        check=lambda: _check(config, context, model, inputs, loss, dtype),
    )


def _weighted(model: Callable[[C], nn.Module], config: C, context: Context, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(context.seed)
    with torch.device(context.device):
        return model(config).to(dtype)


def _check(
    config: C,
    context: Context,
    model: Callable[[C], nn.Module],
    inputs: Callable[[C, torch.device], tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    dtype: torch.dtype,
) -> Check:
    """Loss and whole gradient of one short sequence against float64: full widths, sizes cut to CHECK_SIZES, no dropout.

    The error is the larger of the loss's relative error and the gradient's relative Euclidean distance. Rounding errors of a forward and
    backward pass add up like a random walk over the about 20 roundings a layer each way: √(2·2·20) ≈ 9u; 64u is allowed, since
    norms and softmax magnify some.
    """
    smaller: dict[str, Any] = {key: min(getattr(config, key), limit) for key, limit in CHECK_SIZES.items()}
    part = msgspec.structs.replace(config, **smaller, **({"dropout": 0.0} if hasattr(config, "dropout") else {}))
    module = _weighted(model, part, context, dtype)
    wide = copy.deepcopy(module).to("cpu", torch.float64)
    data = inputs(part, context.device)
    found, wanted = _loss_and_gradients(module, data, loss), _loss_and_gradients(wide, tuple(t.cpu() for t in data), loss)
    error = _tensors.worst([_tensors.whole_distance(found[:1], wanted[:1]), _tensors.whole_distance(found[1:], wanted[1:])])
    return Check(
        name="loss and gradient", error=error, tolerance=64 * _tensors.unit_roundoff(context.dtype), reference="float64 on the CPU"
    )


def _loss_and_gradients(module: nn.Module, data: tuple[Tensor, ...], loss: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    value = loss(module, *data)
    return (value, *torch.autograd.grad(value, list(module.parameters())))


def next_token_batch(config: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and the tokens that follow them, both int64 (micro_batch, seq_len), covering the vocabulary by the config's distribution."""
    drawn = _tensors.token_ids((config.micro_batch, config.seq_len + 1), config.vocabulary, config.distribution, device)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def token_loss(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Mean cross entropy of the logits that `module(*inputs[:-1])` gives against the targets `inputs[-1]`, in fp32 at least."""
    logits = module(*inputs[:-1])
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    return nn.functional.cross_entropy(wide.flatten(0, -2), inputs[-1].flatten())


def adamw(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Fused AdamW with GPT-3's betas, over fp32 master weights where a parameter is narrower than fp32."""
    chosen = list(parameters)
    fused = all(p.device.type != "meta" for p in chosen)
    kind = MasterAdamW if any(p.dtype.itemsize < 4 for p in chosen) else torch.optim.AdamW
    return kind(chosen, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=fused)


class MasterAdamW(torch.optim.AdamW):
    """AdamW on fp32 copies of narrower parameters: gradients are widened before, weights narrowed after each step."""

    def __init__(self, parameters: Iterable[Tensor], **settings: Any) -> None:
        self._narrow = list(parameters)
        self._wide = [p.detach().to(torch.float32, copy=True).requires_grad_() for p in self._narrow]
        super().__init__(self._wide, **settings)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # a closure would have to know the copies
        """One update from the gradients that the narrow parameters have."""
        for wide, narrow in zip(self._wide, self._narrow, strict=True):
            wide.grad = None if narrow.grad is None else narrow.grad.to(torch.float32)
        super().step(closure)
        torch._foreach_copy_(self._narrow, self._wide)
        super().zero_grad()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the narrow parameters."""
        for narrow in self._narrow:
            if set_to_none or narrow.grad is None:
                narrow.grad = None
            else:
                narrow.grad.zero_()
