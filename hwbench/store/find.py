"""Finding runs in a results folder: all of them, the newest, or one by its id, the beginning of its id, or its path."""

from pathlib import Path

from hwbench.core.errors import UserError, unknown_name

from ._names import HEADER, RECORDS_PATTERN


def list_runs(results: Path) -> tuple[Path, ...]:
    """The folders of all runs in `results`, the newest last (ids sort by time); empty where there is no such folder."""
    try:
        return tuple(sorted((folder for folder in results.iterdir() if (folder / HEADER).is_file()), key=lambda folder: folder.name))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise UserError(f"{results}: can't read the results folder: {error.strerror or error}") from error


def list_headless(results: Path) -> tuple[Path, ...]:
    """The folders that hold records and no header: runs that nothing can show, since nobody knows what was measured."""
    try:
        folders = sorted(folder for folder in results.iterdir() if folder.is_dir() and not (folder / HEADER).is_file())
    except OSError:
        return ()
    return tuple(folder for folder in folders if any(folder.glob(RECORDS_PATTERN)))


def find_run(results: Path, wanted: str | None = None) -> Path:
    """The folder of one run: the newest for None, else by id, unambiguous beginning of an id, or path. UserError otherwise."""
    if wanted and "/" not in wanted and wanted != ".." and (results / wanted / HEADER).is_file():  # without looking at ten thousand others
        return results / wanted
    runs = list_runs(results)
    if wanted is None:
        return _newest(runs, results)
    if "/" in wanted or (Path(wanted) / HEADER).is_file():
        return _at_path(Path(wanted))
    by_id = {folder.name: folder for folder in runs}
    if wanted in by_id:
        return by_id[wanted]
    matches = [name for name in by_id if wanted and name.startswith(wanted)]
    if len(matches) > 1:
        raise UserError(f"run {wanted!r} could be any of {len(matches)}: {', '.join(matches[-5:])}", hint="give more of the id")
    if not matches:
        raise unknown_name(f"run in {results}:", wanted, by_id)
    return by_id[matches[0]]


def _newest(runs: tuple[Path, ...], results: Path) -> Path:
    if not runs:
        raise UserError(f"{results}: no runs here", hint="measure one with `hwbench run --suite quick`, or name the folder with --results")
    return runs[-1]


def _at_path(path: Path) -> Path:
    folder = path.parent if path.name == HEADER else path
    if not (folder / HEADER).is_file():
        raise UserError(f"{path}: not a run's folder (it has no {HEADER})", hint="give the folder that hwbench run printed")
    return folder
