"""`asr collect`: thin, no logic; everything heavy is imported when it runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from signwave import command
from signwave.errors import UserError
from signwave.options import AsJson, Device, Quiet, Verbose, examples, setup_logging, to_json

if TYPE_CHECKING:
    from asr.similar_index import ClipEmbedder

EXAMPLES = examples(
    "asr collect raw/radio data/radio --language fa --against cv/dev.jsonl.gz --against cv/test.jsonl.gz",
    "asr collect raw/radio data/radio --language fa --rescreen keep.min_snr_db=5 --report",
    "asr collect raw data/pool --language fa --language-id my_models.lid:identify --near cv/dev.jsonl.gz",
)


def collect(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="Folder of recordings of any length and format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for scores, manifest and report; kept and grown.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]…", help="Such as keep.min_snr_db=5, measure.max_seconds=20."),
    ] = None,
    language: Annotated[str, typer.Option(help="Code of the language wanted.")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML with such settings.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Manifest of dev or test recordings to keep out; may be repeated.")
    ] = None,
    near: Annotated[
        list[Path] | None, typer.Option(help="Manifest of the target domain: scores closeness; may be repeated.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Speech encoder for --near (transformers folder or our run), not statistics.")
    ] = None,
    language_id: Annotated[
        str, typer.Option("--language-id", metavar="MODULE:FUNCTION", help="Called with samples and rate.")
    ] = "",
    sound_kind: Annotated[
        str, typer.Option("--sound-kind", metavar="MODULE:FUNCTION", help="Tells music and overlapping voices.")
    ] = "",
    engine: Annotated[Literal["processes", "ray"], typer.Option(help="Where to measure.")] = "processes",
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="Recordings at the same time; default: one per core; 0: no processes.")
    ] = None,
    rescreen: Annotated[bool, typer.Option("--rescreen", help="Decide again from the scores; opens no audio.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Write OUT/report.html: what was dropped and why.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Turn raw recordings into screened segments without copies and without test data; every score is kept.

    Interrupted or killed, the same command measures the rest. Exit code 3 if some recordings can't be used; they are
    named, the rest is done.
    """
    from asr.curation import collecting
    from asr.curation.picture import write_page
    from asr.curation.settings import CollectSettings
    from signwave.config import load

    setup_logging(quiet=quiet, verbose=verbose)
    if rescreen and (
        against or near or language_id or sound_kind or any(s.startswith("measure.") for s in settings or ())
    ):
        raise UserError(
            "--rescreen opens no audio; leave --against, --near, --language-id, --sound-kind and measure.… out"
        )
    hooks = [f"measure.language_id={language_id}", f"measure.sound_kind={sound_kind}"]
    chosen = load(CollectSettings, config, [*(hook for hook in hooks if not hook.endswith("=")), *(settings or [])])
    request = collecting.Request(
        raw=raw,
        out=out,
        language=language,
        settings=chosen,
        against=tuple(against or ()),
        near=tuple(near or ()),
        embedder=_embedder(encoder, device) if near else None,
        engine=engine,
        num_workers=(os.cpu_count() or 1) if num_workers is None else num_workers,
        rescreen=rescreen,
        quiet=quiet,
    )
    done = collecting.collect(request)
    for failure in done.report["failures"]:
        command.say(f"failed: {failure['message']}")
    if report:
        write_page(out / "report.html", done, chosen.keep, language=language)
    typer.echo(to_json(done.report) if as_json else collecting.summary(done))
    return done.exit_code


def _embedder(encoder: Path | None, device: str) -> "ClipEmbedder":
    from asr.similar_domain import EncoderMean, SpectrumStatistics

    return SpectrumStatistics() if encoder is None else EncoderMean.load(encoder, device=command.pick_device(device))
