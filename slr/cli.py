"""The command `slr`: thin, no logic. Heavy packages are imported inside the commands, so that --help comes at once."""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import (
    AsJson,
    Device,
    DryRun,
    FailFast,
    Formats,
    Isolate,
    Limit,
    ModelFolder,
    OutFolder,
    Quiet,
    SkipExisting,
    Verbose,
    examples,
    new_app,
    setup_logging,
    to_json,
)
from slr import datasets, search_cli

if TYPE_CHECKING:
    from slr.infer import Recognizer

CORPORA = ("fingerspelling", "poses", "videos")

app = new_app("slr", "Sign language: prepare corpora, recognise signs, index and search sign videos.")
app.add_typer(search_cli.index_app, name="index")
app.command("search")(search_cli.search)


def main() -> int:
    """Run the command line; the return value is the exit code."""
    return command.run(app)


@app.command(
    epilog=examples(
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
    isolate: Isolate = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Turn a corpus into checked manifests, one per split. Problems are named with file and line; the rest is done."""
    from signwave.prepare import run_prepare

    setup_logging(quiet=quiet, verbose=verbose)
    module = _corpus(corpus)
    report = run_prepare(
        module.prepare(raw_dir),
        out_dir,
        check=module.check,
        isolate=isolate,
        num_workers=num_workers,
        limit=limit,
        fail_fast=fail_fast,
        dry_run=dry_run,
        show_progress=not quiet,
        extra=lambda: {"corpus": corpus},
    )
    typer.echo(to_json(report.to_dict()) if as_json else report.summary())
    return report.exit_code


@app.command(
    epilog=examples(
        "slr recognize --model runs/demo/signs clip.pose",
        "slr recognize --model runs/demo/signs clips --out glosses --format vtt,json --skip-existing",
        "slr recognize --model runs/demo/signs clip.pose --json",
    )
)
def recognize(
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE|FOLDER|-…", help="Pose files, or folders of them; - reads stdin.")
    ],
    model: ModelFolder,
    out: OutFolder = None,
    format_: Formats = None,
    device: Device = "auto",
    skip_existing: SkipExisting = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Name the signs of clips, with times and confidences.

    Exit code 0 = done, also when no sign is seen; 1 = nothing could be done; 3 = some inputs failed, the rest is done;
    130 = interrupted, the same command with --skip-existing goes on.
    """
    from signwave import transcription
    from slr.medium import SIGNS

    setup_logging(quiet=quiet, verbose=verbose)

    def load() -> "Recognizer":
        from slr.infer import Recognizer

        return Recognizer.load(model, device=device)

    request = transcription.Request(
        arguments=inputs,
        out_dir=out,
        formats=format_,
        limit=limit,
        skip_existing=skip_existing,
        fail_fast=fail_fast,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )
    return transcription.transcribe(request, SIGNS, load)


def _corpus(name: str) -> ModuleType:
    module = name.replace("-", "_")
    found = {info.name for info in pkgutil.iter_modules(datasets.__path__)}
    if name not in CORPORA or module not in found:
        raise UserError(f"no corpus '{name}'; allowed are {', '.join(CORPORA)}")
    return importlib.import_module(f"slr.datasets.{module}")
