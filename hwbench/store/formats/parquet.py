"""Parquet, written by DuckDB: the same columns as the CSV, with their types; unknown is NULL."""

import tempfile
from pathlib import Path
from typing import Final

from hwbench.core.codec import to_json
from hwbench.core.record import Run

from ._figures import Figures
from ._samples import COLUMNS, rows
from ._told import Writer


def write(run: Run, figures: Figures) -> tuple[bytes, ...]:
    """One Parquet file. DuckDB reads the rows as JSON Lines with the types given, so that it guesses nothing, and loads no extension."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="hwbench-export-") as folder, duckdb.connect(config=_ALONE) as database:
        lines, made = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        with lines.open("wb") as file:
            file.writelines(to_json(row) + b"\n" for row in rows(run, figures))
        table = database.read_json(str(lines), columns=dict(COLUMNS), format="newline_delimited")
        table.write_parquet(str(made), compression="zstd")
        return (made.read_bytes(),)


_ALONE: Final[dict[str, str | bool | int | float | list[str]]] = {"autoinstall_known_extensions": "false", "threads": "1"}
WRITER: Final = Writer(suffix=".parquet", write=write)
