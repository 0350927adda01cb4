"""torch's implementations of attention by name, and why one of them can't be used here. Imports torch."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Context

BACKENDS: Final = {"math": "MATH", "flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION"}
"""hwbench's name -> torch's `SDPBackend` member."""
_NONE_HERE: Final = ("No available kernel", "No viable backend", "FlexAttention does not support")
_TITLES: Final = {"flash": "Flash", "efficient": "Memory efficient", "cudnn": "cuDNN"}
"""How torch's warnings begin that say why an implementation was passed over."""


def only(backend: str) -> AbstractContextManager[object]:
    """A context in which scaled_dot_product_attention takes this implementation or fails; `default` leaves the choice to torch."""
    return nullcontext() if backend == "default" else sdpa_kernel(SDPBackend.__members__[BACKENDS[backend]])


def try_once(step: Callable[[], object], backend: str, context: Context) -> None:
    """Call the step once. UnavailableError, with torch's reason, where the device has no such implementation for the shape and dtype."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            step()
        except RuntimeError as error:
            if not any(words in str(error) for words in _NONE_HERE):
                raise
            first = str(error).partition("\n")[0]
            reason = next((text for text in map(_first_line, said) if text.startswith(_TITLES.get(backend, "\n"))), first)
            raise UnavailableError(f"attention backend {backend} on {context.device.type} in {context.dtype}: {reason}") from error


def _first_line(warning: warnings.WarningMessage) -> str:
    return str(warning.message).partition("\n")[0].partition(" (Triggered internally")[0]


def flex(length: int, device: torch.device, *, causal: bool) -> Callable[[Tensor, Tensor, Tensor, bool], Tensor]:
    """flex_attention, compiled (its eager form is for debugging), with a causal block mask where asked: f(q, k, v, grouped).

    Compiling needs a compiler on the machine and takes a minute on a CPU; it happens in the first call.
    """
    mask = create_block_mask(_earlier, None, None, length, length, device=device.type) if causal else None
    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(q: Tensor, k: Tensor, v: Tensor, grouped: bool) -> Tensor:
        mixed: Tensor = compiled(q, k, v, block_mask=mask, enable_gqa=grouped)
        return mixed

    return attend


def _earlier(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key
