"""AMD's own names of its GPUs through `amdsmi`, where that package is installed; everything else comes from the kernel's files."""

import contextlib
import importlib
import importlib.util
import io
from types import ModuleType

from ._accelerator_text import pci_address


def market_names() -> tuple[dict[str, str], tuple[str, ...]]:
    """Market names by PCI address, and reasons for what failed; both empty where amdsmi is not installed. Never raises.

    amdsmi prints when it finds no library, which would end in the JSON on the standard output: what it prints is thrown away.
    """
    if importlib.util.find_spec("amdsmi") is None:
        return {}, ()
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            binding = importlib.import_module("amdsmi")
        except (ImportError, KeyError, OSError, AttributeError) as error:  # KeyError: its way of saying that libamd_smi.so is missing
            return {}, (f"amdsmi can't be used: {type(error).__name__}: {error}",)
        return _asked(binding)


def _asked(binding: ModuleType) -> tuple[dict[str, str], tuple[str, ...]]:
    names: dict[str, str] = {}
    reasons: list[str] = []
    faults = (binding.AmdSmiException, AttributeError, KeyError, OSError, TypeError, ValueError)
    try:
        binding.amdsmi_init()
        for handle in binding.amdsmi_get_processor_handles():
            address = pci_address(str(binding.amdsmi_get_gpu_device_bdf(handle)))
            name = str(binding.amdsmi_get_gpu_asic_info(handle)["market_name"])
            if address is not None and name not in ("", "N/A") and not name.startswith("0x"):
                names[address] = name
    except faults as error:
        reasons.append(f"amdsmi: {error}")
    with contextlib.suppress(*faults):
        binding.amdsmi_shut_down()
    return names, tuple(reasons)
