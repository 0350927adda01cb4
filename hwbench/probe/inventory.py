"""The whole inventory of a machine, or of a copy of another machine's files: one probe after the other, gaps and sources collected."""

from pathlib import Path

from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory

from ._cpuinfo import read_cpuinfo
from ._notes import Notes
from ._parse import cpu_list
from ._sysroot import Sysroot
from .accelerators import probe_accelerators
from .cpu import probe_cpu
from .limits import probe_limits
from .machine import probe_machine
from .memory import probe_memory
from .network import probe_network
from .pci import probe_pci
from .software import probe_software
from .storage import probe_storage
from .tuning import probe_tuning


def take_inventory(sysroot: Path = Path("/")) -> Inventory:
    """Everything that the files under `sysroot` tell. Facts of this process (affinity, packages) only where that is '/'.

    Reading alone, so it changes nothing. UserError where `sysroot` is no directory; anything else that is missing is a Gap.
    """
    if not sysroot.is_dir():
        raise UserError(f"{sysroot}: not a directory", hint="--sysroot wants a folder that holds sys/ and proc/")
    root, notes = Sysroot(sysroot), Notes()
    cpu = probe_cpu(root, notes)
    online = cpu_list(cpu.online_list)
    memory = probe_memory(root, online, notes)
    limits = probe_limits(root, online, memory.total_bytes, notes)
    pci, network = probe_pci(root, notes), probe_network(root, notes)
    return Inventory(
        cpu=cpu,
        limits=limits,
        memory=memory,
        pci=pci,
        network=network,
        storage=probe_storage(root, notes),
        machine=probe_machine(root, read_cpuinfo(root), notes),
        software=probe_software(root, notes),
        tuning=probe_tuning(root, cpu.frequency, limits.effective_cpus, notes),
        accelerators=probe_accelerators(root, notes, pci, network, memory),
        gaps=notes.gaps,
        sources=notes.sources,
    )
