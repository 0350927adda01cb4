"""One tree of errors; each leaf knows the exit status that the command line ends with.

    HwbenchError              70  a fault of hwbench itself
      GateFailed               1  a gate (`gate`, `ab --fail`, `accept`) found what it was to find
      UserError                2  the user's input: an argument, a file, a layout that makes no sense
      UnavailableError         3  something is not available here: a device, a permission, a package
      MeasurementError         4  a measurement failed
      NoPlanError              5  no feasible plan
      Interrupted            130  Ctrl-C (143 for SIGTERM)

Every error is one line that says what, where, what was expected and what was found, and a hint that says what to try.
"""

import difflib
from collections.abc import Iterable


class HwbenchError(Exception):
    """Base of all errors of hwbench. `hint` says what to try; `exit_code` is the process's exit status."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class GateFailed(HwbenchError):
    """A gate failed: the input was fine, the answer is no."""

    exit_code = 1


class UserError(HwbenchError):
    """The user's input can't be used as it is."""

    exit_code = 2


class UnavailableError(HwbenchError):
    """The machine lacks something that was asked for."""

    exit_code = 3


class MeasurementError(HwbenchError):
    """A measurement failed; what was measured before is kept."""

    exit_code = 4


class NoPlanError(HwbenchError):
    """Nothing fits: no layout, no cluster, no node count."""

    exit_code = 5


class Interrupted(HwbenchError):
    """The user or the system ended the command; what was measured is kept."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that nothing answers to, with the nearest known name as its hint."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(choices) or 'none'}"
    return UserError(f"unknown {kind} {name!r}", hint=hint)
