"""Calling NVML through the real `pynvml` so that a failing call costs one fact: each failure becomes a CallFailed with its reason.

What may fail, and did in the field: the library says NOT_SUPPORTED, NO_PERMISSION or GPU_IS_LOST; an old driver lacks the symbol
(FUNCTION_NOT_FOUND, raised at call time); the binding lacks the function (AttributeError), gives ctypes a wrong type
(ArgumentError, TypeError), reads text that is not UTF-8 or a null pointer (ValueError).
"""

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

HINTS = {
    "LIBRARY_NOT_FOUND": "libnvidia-ml.so.1 is not here: no NVIDIA driver is installed, or the container was started without it",
    "DRIVER_NOT_LOADED": "the NVIDIA kernel driver is not loaded",
    "LIB_RM_VERSION_MISMATCH": "the library and the loaded kernel driver are of different versions: reboot, or reload the kernel driver",
    "GPU_IS_LOST": "the GPU has fallen off the bus: look for Xid 79 in the kernel log",
    "NO_PERMISSION": "not allowed for this user, or in this container",
    "FUNCTION_NOT_FOUND": "the installed driver is too old to know this call",
}
"""What an NVML error means to the person who sees it; the errors are those of the NVML reference, section "Return values"."""


class CallFailed(Exception):
    """One call of NVML failed; `code` is the error's name without NVML_ERROR_, or the Python exception's name."""

    def __init__(self, call: str, code: str, detail: str = "") -> None:
        hint = detail or HINTS.get(code, "")
        super().__init__(f"{call}: {code}" + (f" ({hint})" if hint else ""))
        self.code = code

    @property
    def lost(self) -> bool:
        """True where nothing more can be asked of this GPU."""
        return self.code == "GPU_IS_LOST"


def call(binding: ModuleType, name: str, *arguments: Any) -> Any:
    """`binding.name(*arguments)`; CallFailed where the library, the driver or the binding itself fails."""
    try:
        return getattr(binding, name)(*arguments)
    except binding.NVMLError as error:
        raise CallFailed(name, _code_name(binding, error)) from error
    except binding.NVMLLibraryMismatchError as error:
        raise CallFailed(name, "FUNCTION_NOT_FOUND") from error
    except (ctypes.ArgumentError, AttributeError, OSError, TypeError, ValueError) as error:
        raise CallFailed(name, type(error).__name__, str(error)) from error


def ask(binding: ModuleType, convert: Callable[[Any], T], name: str, *arguments: Any) -> T:
    """`call`, its answer put through `convert`; an answer that `convert` can't read is a CallFailed too."""
    answer = call(binding, name, *arguments)
    try:
        return convert(answer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CallFailed(name, "unreadable answer", str(error)) from error


def constant(binding: ModuleType, name: str) -> int:
    """A constant of the binding as a number: NVML_P2P_CAPS_INDEX_READ is a tuple of one in every release so far."""
    value = getattr(binding, name)
    return int(value[0] if isinstance(value, tuple) else value)


def _code_name(binding: ModuleType, error: Any) -> str:
    for name in dir(binding):
        if name.startswith("NVML_ERROR_") and getattr(binding, name) == error.value:
            return name.removeprefix("NVML_ERROR_")
    return f"error {error.value}"
