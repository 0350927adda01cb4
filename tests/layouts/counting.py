"""Counts the bytes of the tensors that are handed to torch.distributed, by collective, as nccl-tests counts a message."""

from collections import Counter
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

SPACES = ("c10d", "_c10d_functional", "_c10d_functional_autograd")
COLLECTIVES = {  # operator -> the collective, and which argument is the message
    "allreduce_": ("all_reduce", 0),
    "allreduce_coalesced_": ("all_reduce", 0),
    "_allgather_base_": ("all_gather", 0),
    "allgather_": ("all_gather", 0),
    "allgather_into_tensor_coalesced_": ("all_gather", 0),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "reduce_scatter_": ("reduce_scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 1),
    "alltoall_base_": ("all_to_all", 1),
    "broadcast_": ("broadcast", 0),
    "send": ("send_recv", 0),
    "all_reduce": ("all_reduce", 0),
    "all_reduce_": ("all_reduce", 0),
    "all_gather_into_tensor": ("all_gather", 0),
    "all_gather_into_tensor_out": ("all_gather", 0),
    "reduce_scatter_tensor": ("reduce_scatter", 0),
    "all_to_all_single": ("all_to_all", 0),
}
SILENT = ("recv_", "barrier", "wait_tensor", "monitored_barrier_", "_wrap_tensor_autograd")


class Counting(TorchDispatchMode):
    """`sent` has the bytes, `calls` the number of calls, by collective, while the context lasts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # let DTensor take it apart: its collectives then come here
        space, _, name = func.name().partition("::")
        name = name.partition(".")[0]
        if space in SPACES and name not in SILENT:
            collective, place = COLLECTIVES[name]
            size = bytes_of(args[place])
            if name == "all_gather_into_tensor":
                size *= args[1]
            self.sent[collective] += size
            self.calls[collective] += 1
        return func(*args, **(kwargs or {}))


def bytes_of(value: Any) -> int:
    """Bytes of a tensor, or of all tensors in lists of them."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(bytes_of(one) for one in value)
