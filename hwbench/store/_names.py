"""Names of the files in a run's folder, in one place."""

from pathlib import Path
from typing import Final

HEADER: Final = "run.json"
RECORDS_PATTERN: Final = "records-*.jsonl"
NODES_PATTERN: Final = "node-*.json"


def records_file(host: str) -> str:
    """The records file of one node; characters that a file name can't hold become '_'."""
    return f"records-{_safe(host)}.jsonl"


def records_host(path: Path) -> str:
    """The host that a records file is named after."""
    return path.name.removeprefix("records-").removesuffix(".jsonl")


def node_file(node: int, host: str) -> str:
    """The file of what one node of several is. Numbers too, since a host's name need not be its own."""
    return f"node-{node:04d}-{_safe(host)}.json"


def outcomes_file(node: int, host: str) -> str:
    """The file of how one node's ranks fared, case by case."""
    return f"outcomes-{node:04d}-{_safe(host)}.jsonl"


def _safe(host: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in host) or "unknown"
