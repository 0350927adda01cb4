"""One version of an A/B comparison: run by path under that version's interpreter; itself it needs the standard library only.

The process that the parent starts, the nursery, imports torch once and stays as it is: it measures nothing. Each measured process is a
fork of it, which finds the workload through the hwbench of its own path, moves its memory about, builds, and times blocks of calls until
its connection closes. A fork costs milliseconds where `import torch` costs seconds. It gets fresh physical pages and a heap, maps
and a stack of its own at random offsets; where libraries lie in the address space is the nursery's, so that conclusions which
matter are confirmed in other nurseries (docs/ab.md).

The parent says one JSON object a line, `{"do": …}`, and gets one back; an object with "failed" is the last one of its process.
"""

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

SOCKET_VARIABLE = "HWBENCH_AB_SOCKET"
LENT_VARIABLE = "HWBENCH_AB_LENT"
SIDE_VARIABLE = "HWBENCH_AB_SIDE"
PRIORITY_VARIABLE = "HWBENCH_AB_PRIORITY"
USER, UNAVAILABLE, FAILED = "user", "unavailable", "failed"
_PR_SET_PDEATHSIG = 1
_PAGES = 1024
"""Maps move by up to so many pages."""
RAISED_NICE = -10
SHARED_PACKAGES = ("torch", "sympy", "mpmath", "numpy", "hwbench")
"""What a nursery imports for all forks once the first of them needed it; the user's own modules stay each fork's business."""
_BUSY_FRACTION = 0.1
_DEEPEST = 24
"""Levels of C stack under the measuring loop, of some 500 bytes each."""


def main() -> None:
    """The nursery: import what measured processes need, then fork one at each order and tell how those ended."""
    _die_with(os.getppid())
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.environ.get(PRIORITY_VARIABLE):
        _raise_priority()  # importing torch is a good part of a short comparison
    connection = _connected({"nursery": os.environ[SIDE_VARIABLE], "pid": os.getpid()})
    sys.path.append(os.environ[LENT_VARIABLE])
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("hwbench.core.value")  # needs msgspec
    except ImportError as error:
        _send(connection, {"failed": UNAVAILABLE, "message": f"can't import {error.name or 'a module'}: {_first_line(error)}"})
        return
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    gc.freeze()  # else every collection in a fork would copy the pages of all that was imported
    _send(connection, {"ready": torch.__version__, "python": sys.version.split()[0], "hwbench": _hwbench_version()})
    for order in _orders(connection):
        if order["do"] == "fork":
            _fork(connection)
        elif order["do"] == "reap":
            _send(connection, {"status": _status_of(order["pid"])})
        elif order["do"] == "import":
            _send(connection, {"imported": _imported(order["modules"])})


def _imported(names: list[str]) -> int:
    """Import what a fork had to, so that later ones need not; some modules can't be imported by their own name, and nobody misses them."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    return len(names)


def _fork(connection: socket.socket) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        _send(connection, {"forked": pid})
        return
    with contextlib.ExitStack() as stack:
        stack.push(_leave)
        connection.close()
        _die_with(parent)
        os.setsid()  # the kernel's autogroup scheduling counts it apart from everything else
        _measured_process(raised=bool(os.environ.get(PRIORITY_VARIABLE)) and _raise_priority())


def _leave(kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> bool:
    """End a fork here, whatever happened in it: the rest of the program is the nursery's, and torch's teardown takes time."""
    if kind is not None and error is not None:
        sys.excepthook(kind, error, where)
    sys.stderr.flush()
    os._exit(int(kind is not None))


def _status_of(pid: int) -> int:
    """How a fork ended, negative for a signal; it is killed if it hasn't."""
    for attempt in range(20):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if attempt:
            time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def _raise_priority() -> bool:
    """Prefer this process to others, where that is allowed: by its autogroup, under which niceness itself counts for nothing (sched(7))."""
    try:
        Path("/proc/self/autogroup").write_text(str(RAISED_NICE), encoding="ascii")
    except OSError:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, RAISED_NICE)
        except OSError:
            return False
    return True


def _measured_process(*, raised: bool) -> None:
    connection = _connected({"process": os.environ[SIDE_VARIABLE], "pid": os.getpid(), "raised": raised})
    dice = random.Random(os.urandom(8))  # noqa: S311  # its own: workloads may use Python's generator
    held = _moved_about(dice)
    _at_depth(dice.randrange(_DEEPEST), lambda: _serve(connection))
    del held


def _serve(connection: socket.socket) -> None:
    """Answer orders until the connection closes."""
    kernel: dict[str, Any] = {}
    inherited = set(sys.modules)
    for order in _orders(connection):
        try:
            if order["do"] == "build":
                kernel = _build(order)
                answer = kernel["told"]
            elif order["do"] == "check":
                answer = _checked(kernel)
            elif order["do"] == "imports":
                answer = {"modules": [name for name in sys.modules if name not in inherited and name.partition(".")[0] in SHARED_PACKAGES]}
            elif order["do"] == "warm":
                answer = _warmed(kernel, order["limit_s"])
            else:
                with _kept_on(order["cpu"]):
                    answer = _block(kernel, order["samples"], order["repeat"])
        except BaseException as error:
            _send(connection, _failure(error))
            raise
        _send(connection, answer)


def _build(order: dict[str, Any]) -> dict[str, Any]:
    """The one case that the order's workload and settings make, built."""
    from hwbench.core.suite import Suite
    from hwbench.run import cases, devices
    from hwbench.run.build import build

    entries = [cases.entry_of(name) for name in order["workloads"]]
    entry = cases.with_settings(entries, order["settings"])[order["index"]]
    found = cases.expand(Suite(description="", entries=(entry,), dtypes=(order["dtype"],)), order["device"])
    if len(found) != 1:
        from hwbench.core.errors import UserError

        raise UserError(
            f"{entry.workload}: the settings make {len(found)} cases", hint="one value a setting: an A/B comparison sweeps nothing"
        )
    (case,) = found
    context = devices.context_of(case, 0)
    built = build(case, context)
    return {"run": built.run, "check": built.check, "queue": devices.queue(context.device), "told": {"built": _changed(case)}}


def _changed(case: Any) -> dict[str, str]:
    """The case's settings that differ from the workload's defaults."""
    from hwbench.core import codec, registry
    from hwbench.core.workload import Workload

    defaults = codec.to_builtins(registry.load("workloads", case.workload, Workload).config())
    return {key: str(value) for key, value in case.config.items() if value != defaults.get(key)}


def _checked(kernel: dict[str, Any]) -> dict[str, Any]:
    check = kernel["check"]()
    if check is not None and not check.passed:
        raise ValueError(f"correctness check {check.name}: error {check.error:.3g} above {check.tolerance:.3g} (against {check.reference})")
    return {"checked": check is not None}


def _warmed(kernel: dict[str, Any], limit_s: float) -> dict[str, Any]:
    """Call until the times show one level, or the time is over; tells the time of an undisturbed call and of a usual one."""
    from hwbench.run.measure import is_steady

    gc.collect()
    gc.disable()
    walls: list[float] = []
    calls: list[float] = []
    began = time.perf_counter()
    repeat = max(1, round(1e-3 / max(_block(kernel, 1, 1)["wall_ns"][0] / 1e9, 1e-7)))
    while True:
        found = _block(kernel, 1, repeat)
        walls.append(found["wall_ns"][0] / 1e9)
        calls.append(_own_s(found["wall_ns"][0], found["cpu_ns"][0]))
        steady = is_steady(walls)
        if steady or (len(walls) >= 2 and time.perf_counter() - began >= limit_s):
            return {"call_s": min(calls[-5:]), "wall_s": sorted(walls[-5:])[len(walls[-5:]) // 2], "steady": steady}


def _own_s(wall_ns: int, cpu_ns: int) -> float:
    """What a call takes when nobody disturbs it: its CPU time, unless it waits for something most of the time (an accelerator, a disk)."""
    return (cpu_ns if cpu_ns > _BUSY_FRACTION * wall_ns else wall_ns) / 1e9


def _block(kernel: dict[str, Any], samples: int, repeat: int) -> dict[str, list[int]]:
    """So many samples of `repeat` calls each; times are of one call, in nanoseconds."""
    step, queue = kernel["run"], kernel["queue"]
    if queue is not None:
        return _queued_block(step, queue, samples, repeat)
    usage, who, cpu_clock, wall_clock = resource.getrusage, resource.RUSAGE_THREAD, time.thread_time_ns, time.perf_counter_ns
    rows = []
    for _ in range(samples):
        before = usage(who)
        cpu = cpu_clock()
        wall = wall_clock()
        for _ in range(repeat):
            step()
        wall = wall_clock() - wall
        cpu = cpu_clock() - cpu
        after = usage(who)
        rows.append((wall // repeat, cpu // repeat, after.ru_nivcsw - before.ru_nivcsw, after.ru_minflt - before.ru_minflt))
    return _columns(rows)


@contextlib.contextmanager
def _kept_on(cpu: int | None) -> Iterator[None]:
    """Keep this thread on one CPU; where that is not allowed, or for None, it stays where the system puts it."""
    before = os.sched_getaffinity(0) if cpu is not None else set()
    with contextlib.suppress(OSError):
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        if cpu is not None:
            os.sched_setaffinity(0, before)


def _queued_block(step: Callable[[], object], queue: Any, samples: int, repeat: int) -> dict[str, list[int]]:
    """Accelerators: events around queued calls, one synchronisation a sample."""
    from hwbench.run.clocks import time_calls

    rows = []
    for _ in range(samples):
        sample, _ = time_calls(step, repeat, queue)
        rows.append((round(1e9 * sample.wall_s / repeat), round(1e9 * sample.cpu_s / repeat), sample.involuntary_switches or 0, 0))
    return _columns(rows)


def _columns(rows: list[tuple[int, int, int, int]]) -> dict[str, list[int]]:
    wall, cpu, switches, faults = (list(column) for column in zip(*rows, strict=True))
    return {"wall_ns": wall, "cpu_ns": cpu, "switches": switches, "faults": faults}


def _failure(error: BaseException) -> dict[str, object]:
    """An error as the parent reports it: whose fault, one line, and a hint."""
    status = getattr(error, "exit_code", 4)
    kind = {2: USER, 3: UNAVAILABLE}.get(status, FAILED)
    text = getattr(error, "message", "") or f"{type(error).__name__}: {_first_line(error)}"
    if isinstance(error, ImportError):
        kind = UNAVAILABLE
    return {"failed": kind, "message": text, "hint": getattr(error, "hint", "")}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _moved_about(dice: random.Random) -> list[object]:
    """Random offsets for the heap and for what is mapped from now on; keep what it returns alive."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    import mmap

    held: list[object] = [mmap.mmap(-1, mmap.PAGESIZE * dice.randrange(1, _PAGES))]
    held += [libc.malloc(16 * dice.randrange(1, 256)) for _ in range(dice.randrange(64))]
    held.append(bytearray(dice.randrange(1, 1 << 16)))
    return held


def _at_depth(levels: int, run: Callable[[], None]) -> None:
    """Run below so many levels of C stack: its address is known to shift times (Mytkowicz et al. 2009)."""
    if levels == 0:
        run()
    else:
        list(map(lambda left: _at_depth(left, run), [levels - 1]))  # noqa: C417  # through C: only that takes C stack


def _hwbench_version() -> str:
    try:
        return str(importlib.import_module("hwbench").__version__)
    except ImportError as error:
        return f"none ({_first_line(error)})"


def _die_with(parent: int) -> None:
    """End when the parent ends, however it ends (Linux; elsewhere the closed connection has to do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _connected(hello: dict[str, object]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[SOCKET_VARIABLE])
    _send(connection, hello)
    return connection


def _send(connection: socket.socket, message: dict[str, object]) -> None:
    connection.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def _orders(connection: socket.socket) -> Iterator[dict[str, Any]]:
    with connection.makefile("rb") as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    main()
