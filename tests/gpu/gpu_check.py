"""Everything about workloads that a CPU can't verify, on one accelerator: offline, in ten minutes. Prints a Markdown table.

    make gpu-check        or        python tests/gpu/gpu_check.py [--minutes 10] [--device cuda]

Exit status: 0 all passed, 3 no accelerator here, 4 something failed or was not reached in time. `--device cpu` rehearses what it can.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

import hwbench

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout: as a script, only this folder is looked into

from tests.gpu.checks import CHECKS, Row

MINUTES = 10.0
SPARE_S = 30.0
"""No check is begun with less time left."""


def accelerator(wanted: str | None) -> torch.device | None:
    """The device to check: what was asked for, or torch's own accelerator; None without one."""
    if wanted == "cpu":
        return torch.device("cpu")
    here = torch.accelerator.current_accelerator(check_available=True)
    if here is None or (wanted and here.type != wanted):
        return None
    return torch.device(here.type, 0)


def rows(device: torch.device, until_s: float) -> Iterator[Row]:
    """All checks' rows, one after the other; what is not begun in time is a failed row."""
    for name, check in CHECKS.items():
        began_s = time.monotonic()
        if until_s - began_s < SPARE_S:
            yield Row(name, False, "not reached in time")
            continue
        yield from guarded(name, check, device, until_s)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)


def guarded(name: str, check: Callable[[torch.device, float], Iterator[Row]], device: torch.device, until_s: float) -> Iterator[Row]:
    """The rows of one check; an error is its last row, and the other checks go on."""
    try:
        yield from check(device, until_s)
    except Exception as error:  # noqa: BLE001  # whatever a driver raises is what this program is to find
        yield Row(name, False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


def table(device: torch.device, found: Sequence[Row], took_s: float) -> str:
    """The rows as Markdown, with what they were found on."""
    name = torch.get_device_module(device).get_device_name(device) if device.type != "cpu" else "CPU (a rehearsal)"
    failed = sum(row.passed is False for row in found)
    head = (
        f"{name}, torch {torch.__version__}, hwbench {hwbench.__version__}: {len(found) - failed} of {len(found)} passed in {took_s:.0f} s"
    )
    lines = [head, "", "| check | result | |", "|---|---|---|"]
    words = {True: "passed", False: "**failed**", None: "not here"}
    return "\n".join([*lines, *(f"| {row.name} | {words[row.passed]} | {row.detail.replace('|', '/')} |" for row in found)])


def main() -> int:
    """Check, print, and say by the exit status how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--device", help="cuda, xpu …; the one that torch has, if not given")
    options = parser.parse_args()
    began_s = time.monotonic()
    device = accelerator(options.device)
    if device is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        print(f"gpu-check: no {options.device or 'accelerator'} here (torch {torch.__version__} has {found or 'none'})", file=sys.stderr)
        return 3
    found_rows = list(rows(device, began_s + 60 * options.minutes))
    print(table(device, found_rows, time.monotonic() - began_s))
    return 4 if any(row.passed is False for row in found_rows) else 0


if __name__ == "__main__":
    sys.exit(main())
