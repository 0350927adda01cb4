"""The results folder: one folder a run, `run.json` and one append-only `records-HOST.jsonl` a node; nothing is ever pickled or executed."""

from .find import find_run, list_runs
from .read import read_header, read_run
from .write import append, check_writable, create_run, new_run_id, writing

__all__ = ["append", "check_writable", "create_run", "find_run", "list_runs", "new_run_id", "read_header", "read_run", "writing"]
