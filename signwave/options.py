"""The options that every command of `slr` and `asr` spells the same, and the root that both commands share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from signwave import __version__, command
from signwave.errors import UserError
from signwave.formats import FORMATS

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More on stderr; -vv for everything.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take at most this many.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first problem.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done; write nothing.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Isolate = Annotated[
    bool,
    typer.Option("--isolate", help="Check each clip in its own process: a crashing decoder costs one clip. Slower."),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Pass over inputs whose every requested format is in --out.")
]

ModelFolder = Annotated[Path, typer.Option("--model", "-m", help="Run folder (runs/NAME) or bundle folder.")]
OutFolder = Annotated[
    Path | None, typer.Option("--out", "-o", "--output_dir", help="Folder for the results; without it: stdout.")
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", "-f", "--output_format", help=f"{' '.join(FORMATS)}; several with commas."),
]


def examples(*lines: str) -> str:
    """The epilogue of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b keeps the lines apart


def new_app(name: str, help_text: str) -> typer.Typer:
    """The root of a command, with --version and the subcommand `doctor`."""
    app = typer.Typer(
        name=name,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=f"Training is a recipe: python recipes/{name}/NAME.py [conf.yaml] [key=value …]",
    )
    app.callback()(_root)
    app.command(epilog=examples(f"{name} doctor", f"{name} doctor --json"))(doctor)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"signwave {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def doctor(as_json: AsJson = False) -> int:
    """Say what this machine can do and what is missing. Exit code 1 when something must be mended."""
    from signwave import doctor as examination

    findings = examination.report()
    typer.echo(to_json(examination.to_dict(findings)) if as_json else examination.to_text(findings))
    return command.EXIT_DONE if examination.is_usable(findings) else command.EXIT_FAILED


def setup_logging(*, quiet: bool, verbose: int) -> None:
    """Log as -q and -v say.

    Raises:
        UserError: both were given.
    """
    if quiet and verbose:
        raise UserError("-q and -v contradict each other; give one of them")
    command.setup_logging(verbosity=-1 if quiet else verbose)


def to_json(value: dict[str, Any] | Sequence[Any]) -> str:
    """A document for stdout."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
