"""Resident ranks for equality cases: one launch a world size, a fresh one after a case that failed."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
CASE_LIMIT_S: Final = 240.0


class Fallen(Exception):
    """The ranks of a case ended without an answer; the message is what one of them said last."""


class Ranks:
    """The processes of one launch."""

    def __init__(self, world_size: int, folder: Path) -> None:
        self.logs = [folder / f"rank-{rank}.log" for rank in range(world_size)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        self.processes: list[subprocess.Popen[str]] = []
        for rank, log in enumerate(self.logs):
            command = (sys.executable, "-m", "tests.layouts.ranks", str(rank), str(world_size), str(folder / "store"))
            with log.open("wb") as errors:
                out = subprocess.PIPE if rank == 0 else subprocess.DEVNULL
                self.processes.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=errors, env=environment, cwd=ROOT, text=True)
                )

    def answer(self, case: dict[str, Any]) -> dict[str, Any]:
        """What rank 0 found about a case; Fallen where there is no answer."""
        for process in self.processes:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(case) + "\n")
                process.stdin.flush()
        first = self.processes[0].stdout
        assert first
        ready, _, _ = select.select([first], [], [], CASE_LIMIT_S)
        line = first.readline() if ready else ""
        if not line:
            raise Fallen(self._last_words() if ready else f"no answer within {CASE_LIMIT_S:g} s")
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        self.end()
        lines = [line for log in self.logs for line in log.read_text(errors="replace").splitlines() if "Error: " in line]
        return lines[0] if lines else "the ranks ended"

    def end(self) -> None:
        """End all of them."""
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def answers(world_size: int, wanted: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | str]]:
    """Each case with its answer, or with why there is none."""
    waiting = list(wanted)
    while waiting:
        with tempfile.TemporaryDirectory() as folder:
            ranks = Ranks(world_size, Path(folder))
            try:
                while waiting:
                    case = waiting.pop(0)
                    try:
                        yield case, ranks.answer(case)
                    except Fallen as error:
                        yield case, str(error)
                        break
            finally:
                ranks.end()
