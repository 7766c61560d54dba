"""The command `slr`: thin, no logic. Heavy packages are imported inside the commands, so that --help comes at once."""

import importlib
import json
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signwave import __version__, command
from signwave.errors import UserError
from slr import datasets, search_cli

if TYPE_CHECKING:
    from slr.transcript import Transcript


def _examples(*lines: str) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b keeps the lines apart


CORPORA = ("fingerspelling", "poses", "videos")

app = typer.Typer(
    name="slr",
    help="Sign language: prepare corpora, recognise signs, index and search sign videos.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Training is a recipe: python recipes/slr/NAME.py [conf.yaml] [key=value …]",
)
app.add_typer(search_cli.index_app, name="index")
app.command("search")(search_cli.search)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More on stderr; -vv for everything.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take at most this many.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first problem.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done; write nothing.")]


def main() -> int:
    """Run the command line; the return value is the exit code."""
    return command.run(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"signwave {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog=_examples(
        "slr prepare fingerspelling package data/fingerspelling",
        "slr prepare poses my-clips data/mine --json",
        "slr prepare videos my-clips data/mine",
    )
)
def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help=f"One of: {', '.join(CORPORA)}.")],
    raw_dir: Annotated[
        str, typer.Argument(metavar="RAW_DIR", help="Folder as distributed; for fingerspelling also: package.")
    ],
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the manifests go.")],
    num_workers: Annotated[int, typer.Option(min=1, help="Clips checked at the same time.")] = 4,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Turn a corpus into checked manifests, one per split. Problems are named with file and line; the rest is done."""
    from signwave.prepare import run_prepare

    _logging(quiet, verbose)
    module = _corpus(corpus)
    report = run_prepare(
        module.prepare(raw_dir),
        out_dir,
        check=module.check,
        num_workers=num_workers,
        limit=limit,
        fail_fast=fail_fast,
        dry_run=dry_run,
        show_progress=not quiet,
        extra=lambda: {"corpus": corpus},
    )
    typer.echo(_json(report.to_dict()) if as_json else report.summary())
    return report.exit_code


@app.command(
    epilog=_examples(
        "slr recognize --model runs/demo/signs clip.pose",
        "slr recognize --model runs/demo/signs clips --out glosses --format vtt,json --skip-existing",
        "slr recognize --model runs/demo/signs clip.pose --json",
    )
)
def recognize(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER…", help="Pose files, or folders of them.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Run folder (runs/NAME) or bundle folder.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the results; without it: stdout.")] = None,
    format_: Annotated[
        list[str] | None, typer.Option("--format", "-f", help="txt json srt vtt ctm; several with commas.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Pass over inputs whose every requested format is in --out.")
    ] = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Name the signs of clips, with times and confidences."""
    from slr import formats
    from slr import recognize as work

    _logging(quiet, verbose)
    format_names = formats.parse_formats(format_ or ["txt"])
    paths = work.find_inputs(inputs, limit=limit)
    if skip_existing and out is None:
        raise typer.BadParameter("needs --out DIR: it looks there for results", param_hint="--skip-existing")
    if out is None and not as_json and len(format_names) > 1:
        raise UserError(f"several formats ({', '.join(format_names)}) can't share stdout; give --out DIR")
    if dry_run:
        typer.echo("\n".join(str(path) for path in paths))
        return command.EXIT_DONE
    from slr.infer import Recognizer

    recognizer = Recognizer.load(model, device=device)
    running = work.run(
        recognizer, paths, format_names=format_names, out_dir=out, skip_existing=skip_existing, fail_fast=fail_fast
    )
    done: list[Transcript] = []
    for transcript in command.progress(running, "recognising", total=len(paths), quiet=quiet):
        done.append(transcript)
        _tell(transcript, quiet=quiet)
        if out is None and not as_json and transcript.status != "failed":
            prefix = f"{transcript.path}\t" if len(paths) > 1 and format_names == ("txt",) else ""
            sys.stdout.write(prefix + formats.write(transcript, format_names[0]))
            sys.stdout.flush()
    if as_json:
        typer.echo(_json(work.document(done, recognizer)))
    if not quiet:
        command.say(work.summary(done))
    return command.exit_code([transcript.status for transcript in done])


@app.command(epilog=_examples("slr doctor", "slr doctor --json"))
def doctor(as_json: AsJson = False) -> int:
    """Say what this machine can do and what is missing. Exit code 1 when something must be mended."""
    from signwave import doctor as examination

    findings = examination.report()
    typer.echo(_json(examination.to_dict(findings)) if as_json else examination.to_text(findings))
    return command.EXIT_DONE if examination.is_usable(findings) else command.EXIT_FAILED


def _tell(transcript: "Transcript", *, quiet: bool) -> None:
    if transcript.failure is not None:
        command.say(f"failed: {transcript.failure.message}")
    elif not quiet:
        for warning in transcript.warnings:
            command.say(f"{transcript.path}: {warning}")


def _corpus(name: str) -> ModuleType:
    module = name.replace("-", "_")
    found = {info.name for info in pkgutil.iter_modules(datasets.__path__)}
    if name not in CORPORA or module not in found:
        raise UserError(f"no corpus '{name}'; allowed are {', '.join(CORPORA)}")
    return importlib.import_module(f"slr.datasets.{module}")


def _logging(quiet: bool, verbose: int) -> None:
    if quiet and verbose:
        raise UserError("-q and -v contradict each other; give one of them")
    command.setup_logging(verbosity=-1 if quiet else verbose)


def _json(value: dict[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
