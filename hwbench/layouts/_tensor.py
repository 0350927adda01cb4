"""Tensor parallelism carried out: torch's parallelize_module on what `divisions` names, and the edges of sequence parallelism.

Imported without torch by tp.py; each function imports what it needs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._models import mixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import ParallelStyle

    from hwbench.core.layout import Layout
    from hwbench.core.parallel import Step
    from hwbench.core.workload import Division

    from ._mixtures import Shares

SEQUENCE_DIMENSIONS = 3
"""Samples, positions, width."""


def divide(part: nn.Module, tp: DeviceMesh, layout: Layout) -> Shares:
    """Divide a model, or a stage of one, in place. Parameters become DTensors; activations stay plain tensors between modules.

    What mixtures of experts have divided stays plain: that is named in the result.
    """
    from torch.distributed.tensor import Replicate, Shard

    from ._mixtures import divide_mixture
    from ._recurrence import divide_recurrent

    ties = list(_ties(part))
    outside = Shard(1) if layout.sp else Replicate()
    found = mixtures([part])
    shares = [share for mixture in found for share in divide_mixture(mixture, tp, outside)]
    inside = {id(module) for mixture in found for module in mixture.modules()}
    for module in list(part.modules()):
        divisions: Mapping[str, Division] = getattr(module, "divisions", {})
        if divisions and id(module) not in inside:
            _divide_children(module, divisions, tp, outside, layout)
    divide_recurrent(part, tp)
    if layout.sp:
        _divide_sequence(part, tp, inside)
    for (owner, name), *others in ties:
        for module, attribute in others:
            module.register_parameter(attribute, getattr(owner, name))
    return shares


def _ties(part: nn.Module) -> Iterator[list[tuple[nn.Module, str]]]:
    """The places of each parameter that has several: dividing one would leave the others with the whole."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in part.modules():
        for name, parameter in module.named_parameters(recurse=False):
            places.setdefault(id(parameter), []).append((module, name))
    yield from (found for found in places.values() if len(found) > 1)


def _divide_children(module: nn.Module, divisions: Mapping[str, Division], tp: DeviceMesh, outside: Any, layout: Layout) -> None:
    """Divide a module's children. An input becomes one DTensor that all column products share, so that their gradients are summed once."""
    from torch.distributed.tensor.parallel import parallelize_module

    children = {name: child for name in divisions if (child := getattr(module, name)) is not None}  # a stage may lack one
    plan = {name: _style(child, divisions[name], outside, layout) for name, child in children.items()}
    parallelize_module(module, tp, plan, src_data_rank=None)
    if "column" in divisions.values():
        module.register_forward_pre_hook(_entering(tp, outside))


def _entering(tp: DeviceMesh, outside: Any) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """Makes DTensors, whole on each rank, of a module's inputs."""
    from torch import Tensor
    from torch.distributed.tensor import DTensor, Replicate

    def enter(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return DTensor.from_local(x, tp, (outside,), run_check=False).redistribute(placements=(Replicate(),))

    return lambda _module, inputs: tuple(enter(x) for x in inputs)


def _style(child: nn.Module, division: Division, outside: Any, layout: Layout) -> ParallelStyle:
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel
    from torch.nn import Embedding

    if division in ("column", "heads"):
        return ColwiseParallel()
    if division == "row":
        return RowwiseParallel(output_layouts=outside)
    if isinstance(child, Embedding):
        return RowwiseParallel(input_layouts=Replicate())
    whole = layout.loss == "full"
    return ColwiseParallel(output_layouts=Replicate() if whole else Shard(-1), use_local_output=whole)


def _divide_sequence(part: nn.Module, tp: DeviceMesh, inside: set[int]) -> None:
    """Norms of layers work on shares of the sequence; the embedding hands out shares, and the head gathers them.

    Mixtures gather what they need: what is `inside` them, by id, is left alone.
    """
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import SequenceParallel, parallelize_module

    divided = inside | {id(getattr(m, name)) for m in part.modules() for name in getattr(m, "divisions", {})}
    for module in part.get_submodule("layers").modules():
        if id(module) not in divided and next(module.parameters(recurse=False), None) is not None:
            parallelize_module(module, tp, SequenceParallel(use_local_output=True))
    if embed := getattr(part, "embed", None):
        shared = _moved(tp, Replicate(), Shard(1))
        embed.register_forward_hook(lambda _module, _inputs, output: _sequences(shared, output))
    if head := getattr(part, "head", None):
        gathered = _moved(tp, Shard(1), Replicate())
        head.register_forward_pre_hook(lambda module, inputs: (_read(gathered, module, inputs[0]), *inputs[1:]))


def _read(moved: Callable[[Tensor], Tensor], head: Any, state: Any) -> Any:
    """What layers hand on to a head, of a tuple the sequence that it `reads` moved."""
    if not isinstance(state, tuple):
        return moved(state)
    place = getattr(head, "reads", 0)
    return (*state[:place], moved(state[place]), *state[place + 1 :])


def _sequences(moved: Callable[[Tensor], Tensor], output: Any) -> Any:
    """What an embedding hands out, each sequence of vectors (b, s, h) moved; a tuple of several may have other things beside."""
    if isinstance(output, tuple):
        return tuple(_sequences(moved, x) for x in output)
    return moved(output) if output.dim() == SEQUENCE_DIMENSIONS else output


def _moved(tp: DeviceMesh, before: Any, after: Any) -> Callable[[Tensor], Tensor]:
    from torch.distributed.tensor import DTensor

    def moved(x: Tensor) -> Tensor:
        whole = DTensor.from_local(x, tp, (before,), run_check=False)
        return whole.redistribute(placements=(after,)).to_local()

    return moved


def parallel_loss(step: Step) -> Step:
    """The loss of logits that stay divided over the vocabulary (torch's loss_parallel), forward and backward."""
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.parallel import loss_parallel

    def loss(module: nn.Module, *inputs: Tensor) -> Tensor:
        value = step.loss(module, *inputs)
        return value.to_local() if isinstance(value, DTensor) else value

    def passes(divided: Step) -> Callable[[], Tensor]:
        inner = step.passes(divided)

        def run() -> Tensor:
            with loss_parallel():
                return inner()

        return run

    return replace(step, loss=loss, passes=passes)


def complete_gradients(step: Step, tp: DeviceMesh) -> Callable[[], None]:
    """Brings gradients to the form of their parameters, as FSDP does with those it shards, so that clipping and update need not.

    Those of norms, of which each rank saw a share of the sequence, are added up in one all_reduce. A token table's come out whole on each
    rank, which keeps its share.
    """
    import torch
    from torch.distributed import all_reduce
    from torch.distributed.tensor import DTensor, Replicate

    parameters: list[Any] = [p for part in step.parts for p in part.parameters()]
    group = tp.get_group()

    def unlike(p: Any) -> bool:
        return isinstance(p, DTensor) and isinstance(p.grad, DTensor) and p.grad.placements != p.placements

    @torch.no_grad()
    def complete() -> None:
        summed = []
        for p in filter(unlike, parameters):
            if any(placement.is_partial() for placement in p.grad.placements):
                summed.append(p)
            else:
                p.grad = p.grad.redistribute(placements=p.placements)
        if not summed:
            return
        local = [p.grad.to_local() for p in summed]
        flat = torch.cat([gradient.flatten() for gradient in local])
        all_reduce(flat, group=group)
        for p, part, like in zip(summed, torch.split(flat, [x.numel() for x in local]), local, strict=True):
            p.grad = DTensor.from_local(part.view_as(like), tp, (Replicate(),), run_check=False)

    return complete
