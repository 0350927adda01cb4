"""What probes write beside their values: gaps with reasons, and where each fact came from."""

from hwbench.core.inventory import Gap

from ._sysroot import Sysroot

_SHOWN = 3


class Notes:
    """Collects gaps and sources while an inventory is taken."""

    def __init__(self) -> None:
        self._gaps: dict[tuple[str, str], Gap] = {}
        self.sources: dict[str, str] = {}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every gap once, in the order found."""
        return tuple(self._gaps.values())

    def gap(self, path: str, reason: str) -> None:
        """Say that a fact could not be seen, and why."""
        self._gaps.setdefault((path, reason), Gap(path=path, reason=reason))

    def read(self, root: Sysroot, path: str, fact: str) -> str | None:
        """A file's text, with a gap where it can't be read or is empty."""
        text = root.text(path) or None
        if text is None:
            self.gap(fact, root.why(path))
        return text

    def source(self, path: str, where: str) -> None:
        """Say which file (or call) a fact came from."""
        self.sources[path] = where


def some(items: list[str]) -> str:
    """The first few of many reasons, and how many more."""
    rest = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
