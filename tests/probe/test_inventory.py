"""The inventory of machines that the project wrote itself: right facts, and no fact that a missing file would make wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hwbench.core.codec import from_json, to_builtins, to_json
from hwbench.core.comparability import comparison_key, differences
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.probe.inventory import take_inventory

Plain = dict[str, Any]


def at(plain: Any, path: str) -> Any:
    for part in path.split("."):
        if plain is None:
            return None
        plain = plain[int(part)] if isinstance(plain, list | tuple) else plain.get(part)
    return plain


def test_facts_are_those_the_tree_was_written_from(machine: Any, tree: Path) -> None:
    plain = to_builtins(take_inventory(tree))
    wrong = {path: (want, at(plain, path)) for path, want in machine.truth.items() if _plain(at(plain, path)) != want}
    assert not wrong


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_an_unknown_fact_has_a_gap(tree: Path) -> None:
    inventory = take_inventory(tree)
    gaps = {gap.path for gap in inventory.gaps}
    for fact in ("cpu.vendor", "cpu.model", "cpu.caches", "cpu.frequency", "cpu.sockets", "memory.total_bytes", "pci.devices"):
        if at(to_builtins(inventory), fact) is None:
            assert fact in gaps


def test_the_inventory_survives_a_file(tree: Path) -> None:
    inventory = take_inventory(tree)
    assert from_json(to_json(inventory), Inventory, source="test") == inventory


def leaves(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf by dotted path; a list of plain values is one leaf."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from leaves(value, f"{path}.{key}")
    elif isinstance(plain, list | tuple) and plain and isinstance(plain[0], dict):
        yield f"{path}.#", len(plain)
        for index, value in enumerate(plain):
            yield from leaves(value, f"{path}.{index}")
    else:
        yield path, plain


def facts_of(inventory: Inventory) -> Plain:
    plain = to_builtins(inventory)
    del plain["gaps"], plain["sources"]
    return dict(leaves(plain))


@pytest.mark.parametrize(
    "name", ["x86_two_sockets", "container_v1", "container_v2", "hybrid", "power_offline_threads", "mainframe", "device_tree"]
)
def test_a_missing_file_makes_no_fact_wrong(name: str, tmp_path: Path, written: Callable[[str, Path], Path]) -> None:
    """Delete any one file: every fact stays what it was, or becomes null and a gap names the file."""
    tree = written(name, tmp_path)
    before = facts_of(take_inventory(tree))
    broken = []
    for path in sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()):
        broken += _without(tree, path, before)
    assert not broken


def _without(tree: Path, path: Path, before: Plain) -> list[str]:
    content = path.read_bytes()
    path.unlink()
    try:
        inventory = take_inventory(tree)
    finally:
        path.write_bytes(content)
    after = facts_of(inventory)
    changed = {fact: after.get(fact) for fact, value in before.items() if after.get(fact) != value}
    invented = {fact: value for fact, value in after.items() if value not in (None, (), {}) and before.get(fact) is None}
    wrong = {fact: value for fact, value in changed.items() if value not in (None, (), {})} | invented
    named = any(_names(gap.reason, path) for gap in inventory.gaps)
    said = f"{path.relative_to(tree)}: "
    return ([f"{said}wrong {wrong}"] if wrong else []) + ([f"{said}silent {sorted(changed)}"] if changed and not named else [])


def _names(reason: str, path: Path) -> bool:
    """Whether a reason names the file: its path, or its folder and its name."""
    return path.name in reason and (path.parent.name in reason or path.parent.parent.name in reason)


def test_an_empty_tree_is_all_gaps(tmp_path: Path) -> None:
    inventory = take_inventory(tmp_path)
    assert inventory.cpu.online_count is None
    assert inventory.memory.numa_nodes is None
    assert {"cpu.online_list", "memory.total_bytes", "pci.devices", "network.interfaces"} <= {gap.path for gap in inventory.gaps}


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a directory"):
        take_inventory(tmp_path / "nothing")


def test_this_machine() -> None:
    inventory = take_inventory()
    assert inventory.cpu.online_count
    assert inventory.memory.total_bytes
    assert inventory.limits.affinity_list
    assert inventory.software.packages
    assert "torch" in inventory.software.packages


def test_comparison_key_ignores_state_and_sees_hardware(tmp_path: Path, written: Callable[[str, Path], Path]) -> None:
    tree = written("x86_two_sockets", tmp_path)
    first = take_inventory(tree)
    (tree / "proc/loadavg").write_text("9.00 9.00 9.00 1/200 4242\n")
    (tree / "proc/pressure/cpu").write_text("some avg10=99.00 avg60=0.00 avg300=0.00 total=1\n")
    busy = take_inventory(tree)
    assert busy.tuning.load_average != first.tuning.load_average
    assert comparison_key(busy) == comparison_key(first)
    assert differences(first, busy) == ()
    (tree / "sys/kernel/mm/transparent_hugepage/enabled").write_text("always [madvise] never\n")
    other = take_inventory(tree)
    assert comparison_key(other) != comparison_key(first)
    assert [(one.path, one.before, one.after) for one in differences(first, other)] == [
        ("tuning.transparent_huge_pages", "always", "madvise")
    ]
