"""Names of the files in a run's folder, in one place."""

from typing import Final

HEADER: Final = "run.json"
RECORDS_PATTERN: Final = "records-*.jsonl"


def records_file(host: str) -> str:
    """The records file of one node; characters that a file name can't hold become '_'."""
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in host)
    return f"records-{safe or 'unknown'}.jsonl"
