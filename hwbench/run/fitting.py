"""A suite fitted to a machine: words such as "<memory>" in its settings become numbers of that machine's inventory. Pure.

What a suite's file may say instead of a value (docs/ceilings.md explains them to its readers):
  cpus                    <nodes>: each NUMA node's CPUs in turn; <machine>: all CPUs. Only CPUs that this process may use.
  threads                 <all>: one for each of these CPUs; <doubling>: 1, 2, 4 … and as many as CPUs
  working_set_bytes       <memory>: three arrays beyond the last-level cache; <caches>: 16 KiB, doubled until it is beyond that cache
  last_level_cache_bytes  <caches>: what of it these CPUs reach
  layouts                 dp=<all>: as many ranks as accelerators, or as CPUs, 16 of them at most
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from hwbench.core.cpulist import format_cpu_list, parse_cpu_list
from hwbench.core.errors import unknown_name
from hwbench.core.inventory import Inventory
from hwbench.core.suite import Entry, Suite

_TIMES_THE_CACHE: Final = 12
"""Three arrays of four times the last-level cache each, as STREAM's run rules want them."""
_LEAST_MEMORY_BYTES: Final = 192 << 20
"""Where that cache is small, or nobody knows it."""
_MOST_BYTES_A_CPU: Final = 256 << 20
"""A small part of a large host is shown all of the host's cache, for which arrays would take it minutes to fill. The record then warns."""
_MEMORY_SHARE: Final = 4
"""The arrays take at most this part of memory."""
_FIRST_CACHE_BYTES: Final = 16 << 10
_MOST_SWEPT_BYTES: Final = 512 << 20
_MOST_RANKS: Final = 16
"""Each rank imports torch: 0.3 GiB and seconds of a CPU."""


class Place(NamedTuple):
    """CPUs that measure together."""

    cpu_list: str
    """Empty where the inventory doesn't say which CPUs there are."""
    cpus: int
    """How many of them may be busy at a time; a quota may allow fewer than the list names."""
    last_level_bytes: int
    """The last-level cache that they reach together; 0 where nobody knows."""
    memory_bytes: float
    """Memory that their arrays may take; infinite where nobody knows."""


_PLACES: Final = ("<nodes>", "<machine>")
_WORDS: Final[Mapping[str, Mapping[str, Callable[[Place], list[int]]]]] = {
    "threads": {"<all>": lambda place: [place.cpus], "<doubling>": lambda place: _doubled(1, place.cpus)},
    "working_set_bytes": {"<memory>": lambda place: [_memory_sized(place)], "<caches>": lambda place: _cache_sweep(place)},
    "last_level_cache_bytes": {"<caches>": lambda place: [place.last_level_bytes]},
}


def fitted(suite: Suite, inventory: Inventory, device: str) -> Suite:
    """The suite with every word replaced by what it means on this machine; UserError for a word that a setting doesn't know.

    `device` is the kind of device that will be measured ("cpu", "cuda" …). Suites without words come back as they are.
    """
    entries = tuple(fit for entry in suite.entries for fit in _fitted(entry, inventory))
    ranks = _ranks(inventory, device)
    return msgspec.structs.replace(
        suite,
        layouts=_layouts(suite.layouts, ranks),
        entries=tuple(
            msgspec.structs.replace(entry, layouts=None if entry.layouts is None else _layouts(entry.layouts, ranks)) for entry in entries
        ),
    )


def _layouts(layouts: Iterable[str], ranks: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layout.replace("<all>", str(ranks)) for layout in layouts))


def _ranks(inventory: Inventory, device: str) -> int:
    """As many as there are devices; never fewer than two, so that where there is one the case is skipped with that reason."""
    if device == "cpu":
        return max(2, min(_MOST_RANKS, machine(inventory).cpus))
    return max(2, len(inventory.accelerators.devices) if inventory.accelerators else 0)


def _fitted(entry: Entry, inventory: Inventory) -> Iterator[Entry]:
    if not any(_is_word(value) for setting in entry.set.values() for value in _listed(setting)):
        yield entry
        return
    for value, place in _placed(entry.set.get("cpus"), inventory):
        settings = {key: _filled(key, setting, place) for key, setting in entry.set.items() if key != "cpus"}
        yield msgspec.structs.replace(entry, set=settings | ({} if value is None else {"cpus": value}))


def _placed(setting: Any, inventory: Inventory) -> Iterator[tuple[Any, Place]]:
    """(value of `cpus`, place), for every place that the setting names; the whole machine where it names none."""
    if setting is None:
        yield None, machine(inventory)
        return
    for value in _listed(setting):
        if not _is_word(value):
            yield value, _part(inventory, parse_cpu_list(value), math.inf)
        elif value not in _PLACES:
            raise unknown_name("value of cpus", value, _PLACES)
        else:
            places = nodes(inventory) if value == "<nodes>" else (machine(inventory),)
            yield from ((place.cpu_list, place) for place in places)


def _filled(key: str, setting: Any, place: Place) -> Any:
    """A setting with its words replaced; a list, to be swept over, where it had any."""
    values = _listed(setting)
    if not any(_is_word(value) for value in values):
        return setting
    known = _WORDS.get(key, {})
    made: list[Any] = []
    for value in values:
        if _is_word(value) and value not in known:
            raise unknown_name(f"value of {key}", value, known)
        made += known[value](place) if _is_word(value) else [value]
    return list(dict.fromkeys(made))


def _listed(setting: Any) -> list[Any]:
    return setting if isinstance(setting, list) else [setting]


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def machine(inventory: Inventory) -> Place:
    """All CPUs that this process may use."""
    return _part(inventory, parse_cpu_list(inventory.limits.effective_cpu_list or ""), math.inf)


def nodes(inventory: Inventory) -> tuple[Place, ...]:
    """The NUMA nodes that have CPUs which this process may use; the machine as one place where no nodes are known."""
    usable = parse_cpu_list(inventory.limits.effective_cpu_list or "")
    found = [(parse_cpu_list(node.cpu_list or ""), node.memory_bytes) for node in inventory.memory.numa_nodes or ()]
    mine = [(cpus & usable if usable else cpus, memory_bytes) for cpus, memory_bytes in found]
    places = tuple(_part(inventory, cpus, math.inf if memory is None else memory) for cpus, memory in mine if cpus)
    return places or (machine(inventory),)


def _part(inventory: Inventory, cpus: set[int], memory_bytes: float) -> Place:
    """The place that these CPUs are. A quota counts for each place alone, since places are measured one after the other."""
    quota = inventory.limits.effective_cpus
    count = max(1, min(len(cpus) or math.inf, int(quota) if quota else len(cpus)))
    limit = inventory.limits.effective_memory_bytes
    return Place(
        cpu_list=format_cpu_list(cpus),
        cpus=int(count),
        last_level_bytes=_last_level_bytes(inventory, len(cpus)),
        memory_bytes=min(memory_bytes, math.inf if limit is None else limit),
    )


def _last_level_bytes(inventory: Inventory, cpus: int) -> int:
    """What so many CPUs reach of the last-level cache, if they are neighbours; 0 where the inventory has no caches."""
    data = [cache for cache in inventory.cpu.caches or () if cache.kind != "instruction"]
    if not data:
        return 0
    last = max(data, key=lambda cache: cache.level)
    reached = math.ceil(cpus / max(last.cpus_per_instance, default=max(cpus, 1)))
    return last.size_bytes * max(1, min(last.instances, reached))


def _memory_sized(place: Place) -> int:
    """Whole MiB for three arrays that a cache doesn't hold, as far as the place has memory and time for them."""
    wanted = max(_LEAST_MEMORY_BYTES, _TIMES_THE_CACHE * place.last_level_bytes)
    most = min(_MOST_BYTES_A_CPU * place.cpus, place.memory_bytes / _MEMORY_SHARE)
    return int(min(wanted, most)) >> 20 << 20 or 1 << 20


def _cache_sweep(place: Place) -> list[int]:
    """16 KiB, 32 KiB … up to four times the last-level cache, or what memory and patience allow."""
    last = max(4 * place.last_level_bytes, _LEAST_MEMORY_BYTES)
    most = min(_MOST_SWEPT_BYTES, place.memory_bytes / (2 * _MEMORY_SHARE))
    sizes = [_FIRST_CACHE_BYTES]
    while sizes[-1] < last and 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    return sizes


def _doubled(first: int, last: int) -> list[int]:
    """`first`, twice that … and `last`."""
    powers = [first << shift for shift in range(last.bit_length()) if first << shift < last]
    return [*powers, last]
