"""The operators that `operator` calls: their operands, and one call of each, forward and backward. n rows, h width, f inner."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional

from . import _tensors, _training
from ._llama_blocks import rms_norm, rotary_table, rotate
from ._losses import cross_entropy
from ._translation_blocks import biased_attention

if TYPE_CHECKING:
    from .operator import Config

MOST_SETS: Final = 64
EPSILON: Final = 1e-5
ROTARY_BASE: Final = 500_000.0
"""Llama 3's; the time does not depend on it."""
Call = Callable[[], tuple[Tensor, ...]]


def draw(config: "Config", device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """A fresh set of operands, in the order in which `prepare` takes them apart; ids are int64, the rest normal numbers."""
    n, h, f = config.rows, config.width, config.inner

    def ids(below: int) -> Tensor:
        return torch.randint(below, (n,), device=device)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=dtype)

    match config.function:
        case "linear":
            return [some(n, f), some(n, h), some(f, h) / h**0.5, some(f)]
        case "attention" | "causal_attention":
            return [some(n // config.length, config.length, h), some(n // config.length, config.length, 3 * h)]
        case "plain_attention":
            bias = some(1, config.heads, config.length, config.length)
            return [some(n // config.length, config.length, h), some(n // config.length, config.length, 3 * h), bias]
        case "layer_norm":
            return [some(n, h), some(n, h), some(h), some(h)]
        case "rms_norm":
            return [some(n, h), some(n, h), some(h)]
        case "rotary":
            shape = (n // config.length, config.length, config.heads, h // config.heads)
            return [some(*shape), some(*shape)]
        case "cross_entropy":
            return [some(n, h), ids(h)]
        case "lookup":
            return [some(n, h), some(f, h), ids(f)]
        case "lstm":
            batch, steps = n // config.length, config.length
            weights = [some(4 * f, h) / h**0.5, some(4 * f, f) / f**0.5, some(4 * f), some(4 * f)]
            return [some(batch, steps, f), some(batch, steps, h), *weights]
        case "adamw":
            return [some(n, h) for _ in range(2 * f)]
        case _:
            return [some(n, h) for _ in range(3)]


def prepare(config: "Config", operands: list[Tensor]) -> Call:
    """A function that calls the operator once and returns its result and the gradients of its operands."""
    match config.function:
        case "adamw":
            return _update(config, operands)
        case "add":
            return lambda: (operands[0] + operands[1], operands[0] + operands[2])
        case "cross_entropy":
            logits, targets = operands[0].requires_grad_(), operands[1]
            return lambda: _both(cross_entropy(logits, targets), [logits], None)
        case "lookup":
            table = operands[1].requires_grad_()
            return lambda: _both(functional.embedding(operands[2], table), [table], operands[0])
        case "rotary":
            x = operands[1].requires_grad_()
            angles = rotary_table(config.length, x.shape[-1], ROTARY_BASE).to(x.device)
            return lambda: _both(rotate(x, angles), [x], operands[0])
    upstream, inputs = operands[0], [operand.requires_grad_() for operand in operands[1:]]
    if config.function in ("gelu", "gelu_tanh", "relu", "dropout"):
        inputs = inputs[:1]
    return lambda: _both(_forward(config, inputs), inputs, upstream)


def _both(result: Tensor, inputs: list[Tensor], upstream: Tensor | None) -> tuple[Tensor, ...]:
    return (result.detach(), *torch.autograd.grad(result, inputs, upstream))


def _forward(config: "Config", inputs: list[Tensor]) -> Tensor:
    from .operator import DROPPED

    x = inputs[0]
    match config.function:
        case "linear":
            return functional.linear(*inputs)
        case "layer_norm":
            return functional.layer_norm(x, (config.width,), inputs[1], inputs[2])
        case "rms_norm":
            return rms_norm(x, inputs[1], EPSILON)
        case "relu":
            return functional.relu(x)
        case "silu_gate":
            return functional.silu(x) * inputs[1]
        case "gelu" | "gelu_tanh":
            return functional.gelu(x, approximate="tanh" if config.function == "gelu_tanh" else "none")
        case "dropout":
            return functional.dropout(x, DROPPED)
        case "lstm":
            state = x.new_zeros(1, x.shape[0], config.inner)
            output: Tensor = torch.lstm(x, (state, state), inputs[1:], True, 1, 0.0, True, False, True)[0]
            return output
        case _:  # attention, as in `_blocks.SelfAttention`
            q, k, v = x.view(*x.shape[:2], config.heads, 3, -1).transpose(1, 2).unbind(3)
            if config.function == "plain_attention":
                return biased_attention(q, k, v, inputs[1]).transpose(1, 2).flatten(2)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=config.function == "causal_attention")
            return mixed.transpose(1, 2).flatten(2)


def _update(config: "Config", operands: list[Tensor]) -> Call:
    """Clipping and an optimizer step; the first half of the operands are parameters, the second their gradients."""
    parameters = [operand.requires_grad_() for operand in operands[: config.inner]]
    for parameter, gradient in zip(parameters, operands[config.inner :], strict=True):
        parameter.grad = gradient
    optimizer = _training.adamw(parameters)

    def step() -> tuple[Tensor, ...]:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return tuple(parameter.detach() for parameter in parameters)

    return step


def error(config: "Config", operands: list[Tensor]) -> float:
    """The largest relative distance of a call's results from float64's; of dropout, from what it may be: nothing, or the input scaled."""
    wide = [_tensors.exact(operand) if operand.is_floating_point() else operand.cpu() for operand in operands]
    if config.function == "dropout":
        from .operator import DROPPED

        result, gradient = prepare(config, operands)()
        scaled = [wide[1] / (1 - DROPPED), wide[0] / (1 - DROPPED)]
        found = [_tensors.exact(tensor) for tensor in (result, gradient)]
        return _tensors.relative_distance(found, [torch.where(ours != 0, theirs, 0.0) for ours, theirs in zip(found, scaled, strict=True)])
    return _tensors.relative_distance(prepare(config, operands)(), prepare(config, wide)())
