"""The command line: finds sub-commands by file name, turns errors into one line and an exit status.

A sub-command is a file of this folder that exports `command`; it is imported only when called, so `hwbench --help` stays quick.
"""

import io
import os
import sys
from pathlib import Path

import click

import hwbench
from hwbench.core.errors import HwbenchError, UnavailableError, unknown_name

_FOLDER = Path(__file__).parent


def _modules() -> dict[str, str]:
    """Command -> module. A module whose name would be a word of the language has a `_` behind it: import_ is `import`."""
    stems = (file.stem for file in _FOLDER.glob("*.py") if file.stem != "main" and not file.stem.startswith("_"))
    return {stem.rstrip("_").replace("_", "-"): stem for stem in stems}


class _Commands(click.Group):
    """Sub-commands found in this folder: names and first docstring lines for the help, an import only for the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return sorted(_modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        import importlib

        module = importlib.import_module(f"hwbench.cli.{_modules()[cmd_name]}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"hwbench.cli.{cmd_name}: `command` is a {type(command).__name__}")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        from hwbench.core.docstrings import first_line

        rows = [(name, first_line((_FOLDER / f"{module}.py").read_text("utf-8"))) for name, module in sorted(_modules().items())]
        if not rows:
            return
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `hwbench bench`: inventory, measurements, roofline and a first sizing in one page, in about three minutes.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(hwbench.__version__, prog_name="hwbench")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Measure what you have, predict what you would buy, prove the prediction, notice when it gets slower."""
    ctx.obj = {"debug": debug}


def main() -> None:
    """Run the command line and end the process with the documented exit status."""
    debug = "--debug" in sys.argv[1:2] or bool(os.environ.get("HWBENCH_DEBUG"))
    _ready_streams()
    try:
        status = _run(debug)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) went away: not a fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:  # the last of the output could not be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _say(f"can't write the output: {error.strerror}", "", UnavailableError.exit_code)
    sys.exit(status)


def _ready_streams() -> None:
    """Output that may be closed (`>&-`) or know no `±` (a Latin-1 or ASCII locale) costs characters, never the command."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # Python leaves a closed descriptor so; one that is opened in its place must not become the output
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(debug: bool) -> int:
    try:
        result = cli.main(prog_name="hwbench", standalone_mode=False)
    except HwbenchError as error:
        if debug:
            raise
        return _say(error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", "", 130)
    except BrokenPipeError:
        raise
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", "check the place, its permissions and its free space", UnavailableError.exit_code)
    except Exception as error:  # the last line of defence: the user gets one line, not a traceback
        if debug:
            raise
        hint = "this is a fault of hwbench; `hwbench --debug …` shows where, please report it"
        return _say(f"{type(error).__name__}: {error}", hint, HwbenchError.exit_code)
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str, status: int) -> int:
    click.echo(f"hwbench: {message}", err=True)
    if hint:
        click.echo(f"  try: {hint}", err=True)
    return status
