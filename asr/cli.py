"""The command `asr`: thin, no logic. Heavy packages are imported inside the commands, so that --help comes at once."""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr import datasets
from asr.commands import collect, donors, leaks, manifests, score, similar, tokenizer
from signwave import command
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

if TYPE_CHECKING:
    from asr.infer import Recognizer

CORPORA = ", ".join(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(datasets.__path__)))

app = new_app(
    "asr", "Speech recognition for languages with little labelled speech: prepare corpora, transcribe, score."
)
app.command("collect", epilog=collect.EXAMPLES)(collect.collect)
app.command("donors", epilog=donors.EXAMPLES)(donors.donors)
app.command("duplicates", epilog=similar.DUPLICATES_EXAMPLES)(similar.duplicates)
app.command("leaks", epilog=leaks.LEAKS_EXAMPLES)(leaks.leaks)
app.command("manifest", epilog=manifests.MANIFEST_EXAMPLES)(manifests.manifest)
app.add_typer(tokenizer.tokenizer_app, name="tokenizer")
app.command("score", epilog=score.EXAMPLES)(score.score)
app.command("nearest", epilog=similar.NEAREST_EXAMPLES)(similar.nearest)


def main() -> int:
    """Run the command line; the return value is the exit code."""
    return command.run(app)


@app.command(
    epilog=examples(
        "asr prepare common-voice cv-corpus-22.0/ur data/cv-ur",
        "asr prepare folder recordings data/mine --language fa text_column=transcript",
        "asr prepare common-voice cv-corpus-22.0/ur data/cv-ur splits=validated --split-by speaker",
    )
)
def prepare(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help=f"One of: {CORPORA}.")],
    raw_dir: Annotated[
        Path | None, typer.Argument(metavar="RAW_DIR", help="The corpus as distributed, unpacked.")
    ] = None,
    out_dir: Annotated[Path | None, typer.Argument(metavar="OUT_DIR", help="Where the manifests go.")] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]…", help="key=value for the corpus, see --describe.")
    ] = None,
    language: Annotated[str, typer.Option(help="Code of the language spoken.")] = "",
    model: Annotated[
        Path | None, typer.Option(help="Run whose vocabulary and normaliser the transcripts must fit.")
    ] = None,
    check: Annotated[str, typer.Option(help="decode = open and decode every clip; probe = headers only; none.")] = (
        "decode"
    ),
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Leave longer clips out.")] = 60.0,
    step_seconds: Annotated[float, typer.Option(min=0.001, help="Time per model step; a token needs one.")] = 0.02,
    split_by: Annotated[
        str, typer.Option(help="Draw splits anew that share no speaker, no prompt, or neither: speaker,prompt.")
    ] = "",
    split_sizes: Annotated[
        str, typer.Option(help="Their names and shares of the hours.")
    ] = "train=0.8,dev=0.1,test=0.1",
    split_seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    split_conflicts: Annotated[
        str, typer.Option(help="Two of --split-by: join what either ties, or drop clips that would share the second.")
    ] = "join",
    num_workers: Annotated[int, typer.Option(min=1, help="Clips checked at the same time.")] = 4,
    isolate: Isolate = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Say what the corpus is and which settings it takes.")
    ] = (False),
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Turn a corpus into checked manifests, one per split. Problems are named with file and line; the rest is done."""
    from asr import prepare as preparing
    from asr.corpora.splits import Splitter
    from signwave.prepare import run_prepare

    setup_logging(quiet=quiet, verbose=verbose)
    if describe:
        typer.echo(preparing.describe(corpus))
        return command.EXIT_DONE
    if raw_dir is None or out_dir is None:
        raise typer.BadParameter("give RAW_DIR and OUT_DIR, or --describe", param_hint="RAW_DIR OUT_DIR")
    checker = preparing.clip_check(check, model=model, max_seconds=max_seconds, step_seconds=step_seconds)
    characters = preparing.CharacterTable(checker.normaliser)
    splitter = Splitter.of(split_by, split_sizes, seed=split_seed, conflicts=split_conflicts) if split_by else None
    report = run_prepare(
        preparing.read_corpus(corpus, raw_dir, settings or [], language=language),
        out_dir,
        check=checker,
        on_clip=characters,
        isolate=isolate,
        num_workers=num_workers,
        limit=limit,
        fail_fast=fail_fast,
        dry_run=dry_run,
        show_progress=not quiet,
        finish=splitter,
        extra=lambda report: {
            **preparing.split_facts(report, splitter),
            "corpus": corpus,
            "characters": characters.to_dict(),
        },
    )
    typer.echo(to_json(report.to_dict()) if as_json else report.summary() + f"\n{characters.summary()}")
    return report.exit_code


@app.command(
    epilog=examples(
        "asr transcribe --model runs/demo/speech talk.mp3",
        "asr transcribe --model runs/demo/speech recordings --out subtitles --format srt,json --skip-existing",
        "cat talk.opus | asr transcribe --model runs/demo/speech - --json",
    )
)
def transcribe(
    inputs: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|-…", help="Audio or video; - reads stdin.")],
    model: ModelFolder,
    out: OutFolder = None,
    format_: Formats = None,
    lm: Annotated[bool | None, typer.Option("--lm/--no-lm", help="Use the n-gram model; default: if it has one.")] = (
        None
    ),
    beam: Annotated[int | None, typer.Option(min=1, help="Hypotheses kept; 1 = greedy.")] = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Windows of 20 s at once.")] = 4,
    skip_existing: SkipExisting = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Write down what is said, with word times and confidences. Any length, any audio or video container.

    Exit code 0 = done, also when nothing is said; 1 = nothing could be done; 3 = some inputs failed, the rest is done;
    130 = interrupted, the same command with --skip-existing goes on.
    """
    from asr.medium import SPEECH, Heartbeat
    from signwave import transcription

    setup_logging(quiet=quiet, verbose=verbose)

    def load() -> "Recognizer":
        from asr.infer import Recognizer

        recognizer = Recognizer.load(model, device=device, lm=lm, beam=beam, batch_size=batch_size)
        recognizer.on_progress = None if quiet else Heartbeat()
        return recognizer

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
    return transcription.transcribe(request, SPEECH, load)
