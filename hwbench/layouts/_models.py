"""What layouts know of a workload without torch, from its configuration and its cost, and the parts of a model with torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

    from hwbench.core.workload import Block, Cost


def attends(block: Block) -> bool:
    """Whether a block has attention."""
    return any(op.kind == "attention" for op in block.operators)


def is_recurrent(cost: Cost) -> bool:
    """Whether the model has recurrent layers, each step of which needs the one before."""
    return any(op.kind == "recurrent" for block in cost.blocks for op in block.operators)


def has_experts(cost: Cost) -> bool:
    """Whether the model is a mixture of experts."""
    return any(block.expert_parameters for block in cost.blocks)


def indivisible(config: Mapping[str, Any], ranks: int, *keys: str) -> str:
    """The first of these settings that so many ranks can't share evenly, as 'heads=3'; '' where they can share all that there are."""
    return next((f"{key}={config[key]}" for key in keys if isinstance(config.get(key), int) and config[key] % ranks), "")


def shares_tensor(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have a parameter in common: tied weights."""
    mine = {id(p) for p in one.parameters()}
    return any(id(p) in mine for p in other.parameters())


def mixtures(parts: Iterable[nn.Module]) -> list[Any]:
    """The mixtures of experts in parts of a model, known by what docs/layouts.md says that they offer."""
    return [m for part in parts for m in part.modules() if hasattr(m, "dispatch") and hasattr(m, "experts")]


def keep(module: nn.Module, name: str, dim: int, ranks: DeviceMesh) -> None:
    """Leave of one of a module's own parameters only this rank's share, along a dimension that the ranks share evenly."""
    import torch

    share = module.get_parameter(name).detach().chunk(ranks.size(), dim)[ranks.get_local_rank()]
    module.register_parameter(name, torch.nn.Parameter(share.clone(memory_format=torch.contiguous_format)))


def groups(part: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules of a model, or of a stage of one, that are gathered and averaged together: layers; embedding and head, as one if tied.

    Nothing for a module of another form, which is one group as a whole.
    """
    from torch.nn import ModuleDict, ModuleList

    layers = getattr(part, "layers", None)
    if not isinstance(layers, ModuleList | ModuleDict):
        return
    embed, head = getattr(part, "embed", None), getattr(part, "head", None)
    if embed is not None and head is not None and shares_tensor(embed, head):
        yield [embed, head]
    else:
        yield from ([end] for end in (embed, head) if end is not None)
    yield from ([layer] for layer in (layers.values() if isinstance(layers, ModuleDict) else layers))
