"""Runs the whole equality table, or the part that is asked for, and writes docs/equality.md.

python -m tests.layouts.equality [--workload NAME]… [--world-size N]… : without either the page is written.
"""

import argparse
import datetime
import sys
from importlib.metadata import version
from typing import Any

from hwbench.core.layout import parse_layout

from . import table
from .launching import answers

WORLD_SIZES = (2, 4)


def main() -> int:
    """Run, show each case as it comes, write the page; 1 where a case isn't equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", action="append", choices=table.training_workloads())
    parser.add_argument("--world-size", action="append", type=int, choices=WORLD_SIZES)
    asked = parser.parse_args()
    workloads = asked.workload or table.training_workloads()
    refused = {(w, layout): table.refusal(w, layout) for w in workloads for layout in table.LAYOUTS}
    found: dict[tuple[str, str], dict[str, Any] | str] = {}
    for world_size in asked.world_size or WORLD_SIZES:
        wanted = [
            {"workload": w, "settings": table.SIZES[w], "layout": layout}
            for (w, layout), reason in refused.items()
            if not reason and parse_layout(layout).world_size == world_size
        ]
        for case, answer in answers(world_size, wanted):
            found[case["workload"], case["layout"]] = answer
            print(f"{case['workload']:12} {case['layout']:48} {said(answer)}", flush=True)
    if not asked.workload and not asked.world_size:
        table.PAGE.write_text(page(workloads, refused, found), encoding="utf-8")
    return 1 if any(wrong(answer) for answer in found.values()) else 0


def wrong(answer: dict[str, Any] | str) -> list[str]:
    """Why a case isn't equal; nothing where it is."""
    return [answer] if isinstance(answer, str) else table.faults(answer)


def said(answer: dict[str, Any] | str) -> str:
    """A case's result in a line."""
    faults = wrong(answer)
    if faults or isinstance(answer, str):
        return f"FAILED: {'; '.join(faults)}"
    return f"equal: loss {answer['loss']:.1e}, parameters {answer['parameters']:.1e}, clipping {answer['clip']:.1e}, bytes as predicted"


def page(workloads: list[str], refused: dict[tuple[str, str], str], found: dict[tuple[str, str], dict[str, Any] | str]) -> str:
    """The page: a row a layout, a column a workload, and the reasons of refusals below."""
    letters: dict[str, str] = {}
    rows = []
    for layout in table.LAYOUTS:
        cells = (_cell(refused[w, layout], found.get((w, layout), "not run"), letters) for w in workloads)
        rows.append(f"| `{layout}` | {' | '.join(cells)} |")
    lines = [
        *_HEAD.format(
            date=datetime.datetime.now(datetime.UTC).date(),
            torch=version("torch"),
            loss=table.LOSS_TOLERANCE,
            parameters=table.PARAMETER_TOLERANCE,
            clip=table.CLIP_TOLERANCE,
            equal=sum(not wrong(answer) for answer in found.values()),
            run=len(found),
            refused=sum(map(bool, refused.values())),
        ).splitlines(),
        f"| layout | {' | '.join(workloads)} |",
        f"|---|{'---|' * len(workloads)}",
        *rows,
        "",
        "Refused, before anything starts:",
        "",
        *(f"* **{letter}** {reason}" for reason, letter in letters.items()),
    ]
    return "\n".join(lines) + "\n"


def _cell(reason: str, answer: dict[str, Any] | str, letters: dict[str, str]) -> str:
    if reason:
        return letters.setdefault(reason, _letter(len(letters)))
    if isinstance(answer, str) or wrong(answer):
        return "failed"
    return f"{max(answer['loss'], answer['parameters']):.0e}"


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"{chr(ord('a') + number // 26 - 1)}{chr(ord('a') + number % 26)}"


_HEAD = """# Every layout trains as one process does: the table

Made by `make equality` on {date} with torch {torch}, on a CPU with gloo; docs/layouts.md says how each layout works. {equal} of {run} pairs
that run are equal, {refused} are refused with a reason.

A number is the larger of two errors after three steps of SGD with momentum in fp32, against one process that trains on the same global
batch, written down plainly (tests/layouts/reference.py): that of the loss, relative, and the largest of any parameter on any rank, relative
to how far training moved that parameter, beyond two units in its last place. Allowed are {loss:g} and {parameters:g}. In every pair
clipping also finds the same norm, to {clip:g}, and the bytes of the tensors that ranks handed to torch.distributed in a step, counted
by collective as they were handed over, equal what the layout's `communication` predicts.
A letter is a reason below.

"""


if __name__ == "__main__":
    sys.exit(main())
