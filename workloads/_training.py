"""A training step put together: weights, data, optimizer, loss and its check, the same way for every model.

Precision: in fp32 and fp64 everything is in that dtype. In bf16 and fp16 weights, activations and gradients are in that dtype, the loss in
fp32, and the optimizer keeps fp32 master weights and moments (Megatron-LM's and ZeRO's scheme, 16 bytes a parameter). In fp16 gradients are
scaled by LOSS_SCALE from the loss on and scaled back in fp32 by the optimizer, which leaves a step out where one is not finite.
"""

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from hwbench.core.value import Value
from hwbench.core.workload import Check, Context, Evaluation, Training

from . import _tasks, _tensors
from ._count import Recompute
from ._losses import cross_entropy

C = TypeVar("C", bound=Value)

LOSS_SCALE = 1024.0
"""Of fp16, static: gradients down to 6e-11 stay above its smallest number, and a whole gradient's norm up to 60 below its largest."""

LEARNING_RATE, FLOOR_FRACTION = 3e-4, 0.1
WARM_UP_STEPS, DECAY_STEPS = 100, 10_000
"""The rate rises linearly, then falls along half a cosine to a tenth and stays there (GPT-3, arXiv 2005.14165, appendix B)."""

CLIP_NORM = 1.0

_BATCH_STRIDE = 1_000_003
"""Between the seeds of a rank's batches: more than there are ranks, so that no two ranks get the same one."""

CHECK_SIZES = {"micro_batch": 1, "layers": 2, "seq_len": 64, "source_len": 64, "target_len": 64, "vocabulary": 8192, "accumulation": 1}
"""The largest sizes a check works with: a float64 step on a CPU has to stay cheap beside what is measured."""


def training(
    config: C,
    context: Context,
    *,
    model: Callable[[C], nn.Module],
    task: _tasks.Task,
    loss: Callable[..., Tensor],
    warnings: tuple[str, ...] = (),
) -> Training:
    """The step of `model(config)` on this rank's own batch of the task; of the text, on a new one whenever it is renewed.

    Weights are drawn from the context's seed, so they are equal on all ranks; data from seed + rank; dropout masks follow the data's draws.
    """
    dtype = _tensors.begin(context)
    module = weighted(model, config, context, dtype)
    recompute(module, getattr(config, "recompute", "none"))
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    if dtype == torch.float16:
        loss = functools.partial(scaled_loss, loss)
    torch.manual_seed(context.seed + context.rank)
    micro_batches = context.micro_batches * getattr(config, "accumulation", 1)
    inputs = _drawn(task, config, context, micro_batches)
    text = getattr(config, "distribution", "") == "text"
    return Training(
        module=module,
        inputs=inputs,
        accumulation=micro_batches,
        loss=loss,
        optimizer=functools.partial(adamw, scale=scale),
        clip_norm=CLIP_NORM * scale,
        predicted=task.predicted,
        renew=_renewal(task, config, context, inputs, micro_batches) if text else None,
        evaluate=lambda: _evaluation(task, config, context, module, None if text else [x.chunk(micro_batches) for x in inputs]),
        warnings=warnings,
        check=lambda: _check(config, context, model, task.draw, loss, dtype),
    )


def _drawn(task: _tasks.Task, config: Any, context: Context, micro_batches: int) -> tuple[Tensor, ...]:
    """A batch of the task for each micro-batch, one behind the other."""
    drawn = [task.draw(config, context.device) for _ in range(micro_batches)]
    return tuple(torch.cat(parts) for parts in zip(*drawn, strict=True))


def _renewal(task: _tasks.Task, config: Any, context: Context, inputs: tuple[Tensor, ...], micro_batches: int) -> Callable[[], None]:
    """What lays the next batch into `inputs`: by its number alone, so that ranks which share a model's work get the same."""
    numbers = itertools.count(1)

    def renew() -> None:
        with _tasks.drawn_apart(context.device, context.seed + context.rank + next(numbers) * _BATCH_STRIDE):
            for kept, new in zip(inputs, _drawn(task, config, context, micro_batches), strict=True):
                kept.copy_(new)

    return renew


def _evaluation(task: _tasks.Task, config: Any, context: Context, module: nn.Module, own: Sequence[Sequence[Tensor]] | None) -> Evaluation:
    """Scores without dropout: on the rank's `own` micro-batches, or where there are none on what the task keeps from training."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), _tasks.drawn_apart(context.device, context.seed):
            batches = list(task.unseen(config, context.device) if own is None else zip(*own, strict=True))
            return Evaluation(metrics=task.scores(config, module, batches), data=task.data if own is None else "batch")
    finally:
        module.train(training)


def weighted(model: Callable[[C], nn.Module], config: C, context: Context, dtype: torch.dtype) -> nn.Module:
    """The model on the device with weights drawn from the seed alone."""
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
    smaller: dict[str, Any] = {key: min(getattr(config, key), limit) for key, limit in CHECK_SIZES.items() if hasattr(config, key)}
    part = msgspec.structs.replace(config, **smaller, **({"dropout": 0.0} if hasattr(config, "dropout") else {}))
    module = weighted(model, part, context, dtype)
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


def token_loss(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Mean cross entropy of the logits that `module(*inputs[:-1])` gives against the targets `inputs[-1]`, in fp32 at least."""
    return mean_cross_entropy(module(*inputs[:-1]), inputs[-1])


def mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of logits (…, V) against int64 targets (…), in fp32 at least."""
    return cross_entropy(logits.flatten(0, -2), targets.flatten())


def scaled_loss(loss: Callable[..., Tensor], module: nn.Module, *inputs: Tensor) -> Tensor:
    """The loss itself, whose gradient is LOSS_SCALE times the loss's."""
    value = loss(module, *inputs)
    return value + (LOSS_SCALE - 1) * (value - value.detach())


def recompute(module: nn.Module, what: Recompute) -> None:
    """Let the backward pass compute again what the forward pass then need not keep: every `attend`, or every one of `module.layers`."""
    again = functools.partial(checkpoint, use_reentrant=False)
    if what == "selective":
        for part in module.modules():
            if hasattr(part, "attend"):
                part.attend = functools.partial(again, part.attend)  # type: ignore[assignment]  # an attribute, not a parameter
    if what == "full":
        for layer in module.get_submodule("layers").children():
            layer.forward = functools.partial(again, layer.forward)


def learning_rate(step: int) -> float:
    """The rate of the step that comes after `step` others: linear warm-up, then half a cosine down to a tenth."""
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    done = min(1.0, (step - WARM_UP_STEPS) / (DECAY_STEPS - WARM_UP_STEPS))
    return LEARNING_RATE * (FLOOR_FRACTION + (1 - FLOOR_FRACTION) * (1 + math.cos(math.pi * done)) / 2)


def adamw(parameters: Iterable[Tensor], scale: float = 1.0) -> torch.optim.Optimizer:
    """Fused AdamW with GPT-3's betas and the schedule above, over fp32 master weights where a parameter is narrower than fp32.

    `scale` is what narrow gradients were multiplied with.
    """
    chosen = list(parameters)
    settings: dict[str, Any] = {
        "lr": learning_rate(0),
        "betas": (0.9, 0.95),
        "weight_decay": 0.1,
        "fused": all(p.device.type != "meta" for p in chosen),
    }
    if any(p.dtype.itemsize < 4 for p in chosen):
        return MasterAdamW(chosen, scale, **settings)
    return ScheduledAdamW(chosen, **settings)


class ScheduledAdamW(torch.optim.AdamW):
    """AdamW that sets its learning rate before each step."""

    taken = 0

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody here needs closures
        """One update at the rate of this step."""
        for group in self.param_groups:
            group["lr"] = learning_rate(self.taken)
        self.taken += 1
        super().step(closure)


def _local(x: Tensor) -> Tensor:
    """A rank's own share of what layouts have divided: torch can't copy lists of DTensors."""
    return x.to_local() if isinstance(x, DTensor) else x


class MasterAdamW(ScheduledAdamW):
    """AdamW on fp32 copies of narrower parameters: gradients are widened before, weights narrowed after each step."""

    def __init__(self, parameters: Iterable[Tensor], scale: float, **settings: Any) -> None:
        self._narrow, self._scale = list(parameters), scale
        self._wide = [p.detach().to(torch.float32, copy=True).requires_grad_() for p in self._narrow]
        super().__init__(self._wide, **settings)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # a closure would have to know the copies
        """One update from the gradients that the narrow parameters have."""
        for wide, narrow in zip(self._wide, self._narrow, strict=True):
            wide.grad = None if narrow.grad is None else narrow.grad.to(torch.float32)
        if self._scale == 1 or self._scaled_back():
            super().step(closure)
            torch._foreach_copy_([_local(p) for p in self._narrow], [_local(p) for p in self._wide])
        super().zero_grad()

    def _scaled_back(self) -> bool:
        """Undo the scale of the wide gradients; False where one was not finite, or all were clipped to 0 for that: the step is left out."""
        gradients = [wide.grad for wide in self._wide if wide.grad is not None]
        torch._foreach_mul_(gradients, 1 / self._scale)
        total = torch.nn.utils.get_total_norm(gradients)
        whole = total.full_tensor() if isinstance(total, DTensor) else total
        return whole.is_meta or 0 < float(whole) < math.inf

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the narrow parameters."""
        for narrow in self._narrow:
            if set_to_none or narrow.grad is None:
                narrow.grad = None
            else:
                narrow.grad.zero_()
