"""The command line: one small module per command, heavy imports only inside the command that runs."""

from __future__ import annotations

import sys

import typer

from scoregen import __version__
from scoregen.errors import InputError, ScoregenError

from .conformers import conformers
from .demo import demo
from .design import design
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .mel import mel
from .models import models
from .prepare import prepare
from .restore import restore
from .schedule import schedule
from .shortlist import shortlist
from .train import train
from .vocode import vocode

app = typer.Typer(
    name="scoregen",
    help="Score-based generation of molecules in 3D and of speech waveforms.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scoregen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


app.command()(conformers)
app.command()(design)
app.command()(shortlist)
app.command()(vocode)
app.command()(mel)
app.command()(restore)
app.command()(schedule)
app.command()(prepare)
app.command()(train)
app.command()(finetune)
app.command()(export)
app.add_typer(evaluate, name="evaluate")
app.add_typer(models, name="models")
app.command()(demo)


def main() -> None:
    """Entry point: errors made on purpose are one line on stderr.

    Exit code 0 all good, 1 some inputs failed or the work could not be done, 2 wrong usage.
    """
    try:
        app()
    except ScoregenError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:  # a full disk, a folder that may not be written
        typer.echo(f"error: {error.filename or 'file'}: {error.strerror or error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
