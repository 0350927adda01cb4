"""A team of threads that does its parts of a call side by side, each on a CPU of its own. The caller is its first member.

The caller does a part itself, since waking a thread up and being woken by it takes a tenth of a millisecond on a virtual machine; and a
member that would only wait is a member less.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

Part = TypeVar("Part")


class Team(NamedTuple):
    """The caller and its helpers; these end when nobody refers to the team any more."""

    cpu: int | None
    """Where the caller does its part; None for wherever the system has it."""
    helpers: tuple[ThreadPoolExecutor, ...]


def team(threads: int, cpus: Sequence[int]) -> Team:
    """So many threads, the i-th on the i-th of `cpus`; wherever the system puts them if there are none."""
    if not cpus:
        return Team(None, tuple(ThreadPoolExecutor(1) for _ in range(threads - 1)))
    pinned = (ThreadPoolExecutor(1, initializer=os.sched_setaffinity, initargs=(0, {cpu})) for cpu in cpus[1:threads])
    return Team(cpus[0], tuple(pinned))


def together(members: Team, calls: Sequence[Callable[[], Part]]) -> list[Part]:
    """Each member does one of the calls, all at the same time; returns what they returned, in order."""
    waiting = [helper.submit(call) for helper, call in zip(members.helpers, calls[1:], strict=True)]
    with _on(members.cpu):
        first = calls[0]()
    return [first, *(answer.result() for answer in waiting)]


@contextmanager
def _on(cpu: int | None) -> Iterator[None]:
    """The calling thread on that CPU, and afterwards wherever it might be before."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
