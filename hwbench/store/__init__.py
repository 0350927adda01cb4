"""The results folder: one folder a run, `run.json` and append-only `records-HOST.jsonl`; nothing is ever pickled or executed."""

from .find import find_run, list_headless, list_runs
from .read import NodeRecords, read_header, read_run, records_by_node
from .write import append, check_writable, create_run, join_run, new_run_id, node_writing, writing

__all__ = [
    "NodeRecords",
    "append",
    "check_writable",
    "create_run",
    "find_run",
    "join_run",
    "list_headless",
    "list_runs",
    "new_run_id",
    "node_writing",
    "read_header",
    "read_run",
    "records_by_node",
    "writing",
]
