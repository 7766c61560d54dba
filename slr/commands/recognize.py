"""`slr recognize`: thin, no logic; everything heavy is imported when the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signwave import command
from signwave.options import (
    AsJson,
    Device,
    DryRun,
    FailFast,
    Formats,
    Limit,
    ModelFolder,
    OutFolder,
    Quiet,
    SkipExisting,
    Verbose,
    setup_logging,
)

if TYPE_CHECKING:
    from signwave.transcript import Word
    from slr.decoding import Decoding
    from slr.infer import Recognizer
    from slr.streaming import Sliding, StreamRecognizer

EXAMPLES = (
    "slr recognize --model runs/demo/signs clip.pose",
    "slr recognize --model runs/demo/signs clips --out glosses --format vtt,eaf,json --skip-existing",
    "slr recognize --model runs/p14 video.mp4 --lm glosses.arpa --beam 16 --n-best 5 --json",
    "slr recognize --model runs/p14 clips --out glosses --picture",
    "ffmpeg -i rtsp://camera -f yuv4mpegpipe - | slr recognize --model runs/p14 --stream -",
)
"""For the command's help."""

_SPANS = ("alignment", "grown")


def recognize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|FOLDER|-…",
            help="Videos, .pose files, folders of frames, archive.zip::member, or folders of those; - reads stdin.",
        ),
    ],
    model: ModelFolder,
    out: OutFolder = None,
    format_: Formats = None,
    beam: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Hypotheses kept; 1 without a language model is greedy.")
    ] = None,
    lm: Annotated[
        Path | None, typer.Option(help="n-gram model of glosses, an ARPA file (`slr lm train`); default: the model's.")
    ] = None,
    lm_weight: Annotated[
        float | None, typer.Option(min=0.0, max=100.0, help="Factor on the language model's log probabilities.")
    ] = None,
    num_best: Annotated[
        int, typer.Option("--n-best", min=1, max=1000, help="Hypotheses a passage in the JSON record.")
    ] = 1,
    spans: Annotated[
        str, typer.Option(help="alignment: a gloss lasts as long as its peak; grown: as long as it is second to blank.")
    ] = "alignment",
    picture: Annotated[
        bool, typer.Option("--picture", help="Write NAME.png: posteriors over thumbnails, with the glosses.")
    ] = False,
    window_seconds: Annotated[
        float | None,
        typer.Option(min=0.0, max=86_400.0, help="The longest stretch the model sees at once; 4 with --stream."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read frame by frame and print each gloss when it is final.")
    ] = False,
    hop_seconds: Annotated[
        float | None, typer.Option(min=0.0, max=600.0, help="With --stream: decided by each window; 0.5 by default.")
    ] = None,
    lookahead_seconds: Annotated[
        float | None, typer.Option(min=0.0, max=600.0, help="With --stream: seen after what is decided; 1 by default.")
    ] = None,
    device: Device = "auto",
    skip_existing: SkipExisting = False,
    limit: Limit = None,
    fail_fast: FailFast = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Name the signs of clips of any length, with times and confidences.

    With --stream each gloss is one line, as soon as it is final: start, end, gloss, confidence.

    Exit code 0 = done, also when no sign is seen; 1 = nothing could be done; 3 = some inputs failed, the rest is done;
    130 = interrupted, the same command with --skip-existing goes on.
    """
    from signwave import transcription
    from slr.medium import medium_of

    setup_logging(quiet=quiet, verbose=verbose)
    if spans not in _SPANS:
        raise typer.BadParameter(f"{spans}: unknown; allowed are {', '.join(_SPANS)}", param_hint="--spans")
    _check_stream(
        stream, hop_seconds=hop_seconds, lookahead_seconds=lookahead_seconds, picture=picture, spans=spans, n=num_best
    )

    def load() -> "Recognizer | StreamRecognizer":
        from slr.infer import Recognizer

        recognizer = Recognizer.load(
            model,
            device=device,
            decoding=_decoding(beam, lm, lm_weight, num_best),
            spans=spans,
            window_seconds=None if stream else window_seconds,
            keep_posteriors=picture,
        )
        if not stream:
            return recognizer
        settings = _sliding(window_seconds, hop_seconds, lookahead_seconds)
        return _streaming(recognizer, settings, shows=not as_json, quiet=quiet)

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
        picture=picture,
        live=stream,
    )
    return transcription.transcribe(request, medium_of(model), load)


def _check_stream(
    stream: bool, *, hop_seconds: float | None, lookahead_seconds: float | None, picture: bool, spans: str, n: int
) -> None:
    """Refuse options that contradict each other."""
    if not stream:
        for value, name in ((hop_seconds, "--hop-seconds"), (lookahead_seconds, "--lookahead-seconds")):
            if value is not None:
                raise typer.BadParameter("is for streams; add --stream, or leave it out", param_hint=name)
        return
    for wrong, name in ((picture, "--picture"), (spans != "alignment", "--spans"), (n > 1, "--n-best")):
        if wrong:
            raise typer.BadParameter("is for whole clips; leave --stream or this out", param_hint=name)


def _decoding(beam: int | None, lm: Path | None, lm_weight: float | None, num_best: int) -> "Decoding":
    from slr.decoding import Decoding

    return Decoding(beam=beam, lm=lm, lm_weight=lm_weight, num_best=num_best)


def _sliding(window_seconds: float | None, hop_seconds: float | None, lookahead_seconds: float | None) -> "Sliding":
    from slr.streaming import Sliding

    given = {"window_seconds": window_seconds, "hop_seconds": hop_seconds, "lookahead_seconds": lookahead_seconds}
    return Sliding(**{name: value for name, value in given.items() if value is not None})


def _streaming(recognizer: "Recognizer", settings: "Sliding", *, shows: bool, quiet: bool) -> "StreamRecognizer":
    from slr.streaming import StreamRecognizer

    stream = StreamRecognizer(recognizer, settings=settings, on_word=_show if shows else None)
    if not quiet:
        exactness = "as exact as one pass" if stream.is_exact else "the model sees further than the window"
        mean, most = stream.latency
        command.say(f"algorithmic latency {mean:.2f} s on average, at most {most:.2f} s; {exactness}")
    return stream


def _show(word: "Word") -> None:
    typer.echo(f"{word.start_seconds:.2f}\t{word.end_seconds:.2f}\t{word.text}\t{word.score:.3f}")
