"""Captured machines whose facts are known, scored as the shared scorer scores them; skipped where they are not at hand.

The scorer's own `compare` decides what is right. Folders that no probe reads (interrupts, idle states, memory blocks) are not unpacked.
"""

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hwbench.core.codec import to_builtins
from hwbench.probe.inventory import take_inventory

DATA = Path(os.environ.get("HWBENCH_SHARED_DATA", Path(__file__).parents[2].parent / "shared/data"))
SCORER = DATA.parent / "bin/score_inventory"
UNREAD = (
    "*/irq", "*/power", "*/cpuidle", "*/system/memory", "*/node[0-9]*/memory[0-9]*", "*/node[0-9]*/cpu[0-9]*", "*/thermal_throttle",
    "*/statistics", "*/uevent", "*_list", "*/number_of_sets", "*/ways_of_associativity", "*/coherency_line_size", "*/queues",
)  # fmt: skip
SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # tens of thousands of small files: spare the disk

WRONG_TRUTH = {
    ("ghw-linux-arm64-c288e0776090cd558ef793b2a4e61939", "cpu_model"),
    ("ghw-linux-arm64-c288e0776090cd558ef793b2a4e61939", "cpu_vendor"),
    ("hwloc-8ia64-2s2c2t", "cpu_model"),
    ("lscpu-rv64-milkvpioneer", "cpu_model"),
    ("procfs-fixtures", "numa_memory_bytes"),
}
"""Facts where truth.json is wrong; docs/inventory.md says why of each."""

pytestmark = pytest.mark.skipif(not (DATA / "machines/truth.json").is_file(), reason=f"no captured machines in {DATA}")


def scorer() -> ModuleType:
    loader = SourceFileLoader("score_inventory", str(SCORER))
    spec = importlib.util.spec_from_loader("score_inventory", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def unpacked(archive: Path, root: Path) -> Path:
    """The archive's one folder, without what no probe reads; by tar(1), as tarfile takes minutes for 200,000 members."""
    skipped = [f"--exclude={pattern}" for pattern in UNREAD]
    subprocess.run(["tar", "--extract", "--gzip", "--no-same-owner", f"--file={archive}", f"--directory={root}", *skipped], check=True)
    folders = [path for path in root.iterdir() if path.is_dir()]
    return folders[0] if len(folders) == 1 and folders[0].name not in ("sys", "proc") else root


def scored() -> Iterator[tuple[str, str, Any, Any, bool]]:
    """(machine, fact, expected, found, right) of every fact of every machine."""
    judge = scorer()
    truth: dict[str, Any] = judge.json.loads((DATA / "machines/truth.json").read_text())
    for name, facts in truth.items():
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            inventory = to_builtins(take_inventory(unpacked(DATA / "machines" / facts["file"], Path(folder))))
        for fact, want, found, right in judge.compare(facts, inventory):
            yield name, fact, want, found, right


@pytest.mark.heavy
def test_at_least_99_percent_of_the_facts_of_captured_machines() -> None:
    rows = list(scored())
    wrong = [row for row in rows if not row[4]]
    assert 1 - len(wrong) / len(rows) >= 0.99, wrong
    assert {(name, fact) for name, fact, *_ in wrong} <= WRONG_TRUTH, wrong
