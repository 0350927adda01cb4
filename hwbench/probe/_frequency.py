"""Frequency limits, governors and drivers of the CPUs (`cpuN/cpufreq`), as groups of CPUs that are governed alike.

Documentation/admin-guide/pm/cpufreq.rst: `cpuinfo_*_freq` are the hardware's limits, `scaling_*_freq` the policy's, both in kHz;
`base_frequency` (intel_pstate) is the guaranteed one.
"""

from hwbench.core.inventory import FrequencyGroup

from ._notes import Notes, some
from ._parse import as_list, each, integer
from ._sysroot import Sysroot
from ._topology import CPUS

_HZ = {
    "hardware_min_hz": "cpuinfo_min_freq",
    "hardware_max_hz": "cpuinfo_max_freq",
    "policy_min_hz": "scaling_min_freq",
    "policy_max_hz": "scaling_max_freq",
    "base_hz": "base_frequency",
}
_TEXT = {"driver": "scaling_driver", "governor": "scaling_governor", "energy_preference": "energy_performance_preference"}
_FILES = _HZ | _TEXT
_ALWAYS = ("cpuinfo_max_freq", "scaling_governor")
_MAX_KHZ = 100_000_000

Policy = dict[str, str | float | None]


def probe_frequency(root: Sysroot, online: int, notes: Notes) -> tuple[FrequencyGroup, ...] | None:
    """Groups of CPUs with equal limits; None, with a gap, where the kernel shows no frequencies or a part of them is missing."""
    policies: dict[str, Policy] = {}
    where: dict[int, str] = {}
    for cpu in each(online):
        folder = root.real(f"{CPUS}/cpu{cpu}/cpufreq") or ""
        where[cpu] = folder
        if folder and folder not in policies:
            policies[folder] = {field: _value(root, folder, field) for field in _FILES}
    if not policies:
        notes.gap("cpu.frequency", f"{CPUS}/cpu*/cpufreq: missing (usual in a virtual machine)")
        return None
    _share(root, where, policies)
    problems = [f"{CPUS}/cpu{cpu}/cpufreq: missing" for cpu, folder in where.items() if not folder]
    problems += _partial(root, policies)
    if problems:
        notes.gap("cpu.frequency", some(problems))
        return None
    notes.source("cpu.frequency", f"{CPUS}/cpu*/cpufreq/{{{','.join(_FILES.values())}}}")
    return _groups(where, policies, notes)


def _share(root: Sysroot, where: dict[int, str], policies: dict[str, Policy]) -> None:
    """CPUs without a folder of their own that another one's policy says it governs (kernels before 4.3 had one folder a policy)."""
    for folder in policies:
        for word in (root.text(f"{folder}/affected_cpus") or "").split():
            cpu = integer(word)
            if cpu in where and not where[cpu]:
                where[cpu] = folder


def _value(root: Sysroot, folder: str, field: str) -> str | float | None:
    text = root.text(f"{folder}/{_FILES[field]}", 4096)
    if field in _TEXT:
        return text or None
    khz = integer(text, 1, _MAX_KHZ)
    return None if khz is None else khz * 1e3


def _partial(root: Sysroot, policies: dict[str, Policy]) -> list[str]:
    """Files that some policies have and others lack."""
    return [
        f"{root.why(f'{folder}/{file}')}"
        for field, file in _FILES.items()
        if any(policy[field] is not None for policy in policies.values())
        for folder, policy in policies.items()
        if policy[field] is None
    ]


def _groups(where: dict[int, str], policies: dict[str, Policy], notes: Notes) -> tuple[FrequencyGroup, ...]:
    for field, file in _FILES.items():
        if file in _ALWAYS and all(policy[field] is None for policy in policies.values()):
            notes.gap(f"cpu.frequency.{field}", f"{next(iter(policies))}/{file}: missing, empty or junk")
    groups: dict[tuple[str | float | None, ...], int] = {}
    for cpu, folder in where.items():
        key = tuple(policies[folder].values())
        groups[key] = groups.get(key, 0) | 1 << cpu
    return tuple(_group(cpus, dict(zip(_FILES, key, strict=True))) for key, cpus in groups.items())


def _group(cpus: int, policy: Policy) -> FrequencyGroup:
    numbers = {field: value for field, value in policy.items() if isinstance(value, float)}
    texts = {field: value for field, value in policy.items() if isinstance(value, str)}
    return FrequencyGroup(
        cpu_list=as_list(cpus),
        driver=texts.get("driver"),
        governor=texts.get("governor"),
        energy_preference=texts.get("energy_preference"),
        hardware_min_hz=numbers.get("hardware_min_hz"),
        hardware_max_hz=numbers.get("hardware_max_hz"),
        base_hz=numbers.get("base_hz"),
        policy_min_hz=numbers.get("policy_min_hz"),
        policy_max_hz=numbers.get("policy_max_hz"),
    )
