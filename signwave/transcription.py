"""The work behind `asr transcribe` and `slr recognize`: many inputs through one recogniser, results as each is ready.

Each result is written as soon as it is there, whole or not at all, so an interrupted run goes on where it stopped.
"""

import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import typer

from signwave import command, formats
from signwave.command import Status
from signwave.errors import UserError
from signwave.inputs import STDIN, Input, InputFile, check_outputs, find_inputs, is_done, open_input, output_path, sweep
from signwave.options import to_json
from signwave.rundir import atomic_write
from signwave.transcript import SCHEMA_VERSION, ModelName, Transcript

PICTURE = "png"
"""The format of the picture that is written beside the transcripts."""

_ONE_INPUT_FORMATS = ("json", "srt", "vtt", "eaf", "textgrid")  # several of these one after the other are no valid file
_STATUSES: tuple[Status, ...] = ("ok", "empty", "skipped", "failed")


class Write(Protocol):
    """Makes the content of a file."""

    def __call__(self, transcript: Transcript, format_name: str, *, folder: Path | None = None) -> str | bytes:
        """Return a transcript in a format, for a file that will lie in `folder` (None: on stdout)."""


class FileRecognizer(Protocol):
    """What this needs of a loaded model."""

    name: ModelName

    def transcribe_files(self, files: Iterable[InputFile], *, fail_fast: bool = False) -> Iterator[Transcript]:
        """Yield a transcript a file, in their order; one that can't be read has status "failed".

        Raises:
            UserError: with `fail_fast`, a file can't be read.
        """


@dataclass(frozen=True)
class Medium:
    """What is recognised.

    Attributes:
        suffixes: of its files, lower case; folders are searched for them.
        noun: what such files are called in messages.
        verb: what is done with them, for the progress bar.
        cue_pause_seconds: a pause this long ends a subtitle.
        picture_suffixes: a folder that holds such files is one input.
        beside: a file of another suffix is passed over where one of this suffix and its name lies beside it.
    """

    suffixes: frozenset[str]
    noun: str
    verb: str
    cue_pause_seconds: float = formats.CUE_PAUSE_SECONDS
    picture_suffixes: frozenset[str] = frozenset()
    beside: str = ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for; see `signwave.options`.

    Attributes:
        arguments: files, folders, `-`.
        out_dir: folder for the results; None = stdout.
        formats: as given: names or comma lists, None is txt.
        limit: take at most this many inputs.
        skip_existing: pass over inputs whose every format is there.
        fail_fast: end with the first input that can't be read.
        dry_run: only say what would be done.
        as_json: print one JSON document.
        quiet: only errors on stderr.
        picture: also write NAME.png, which the recogniser's `picture(transcript)` gives.
        live: the recogniser shows its results itself while it reads, also those of stdin, which isn't copied first.
    """

    arguments: Sequence[str]
    out_dir: Path | None = None
    formats: Sequence[str] | None = None
    limit: int | None = None
    skip_existing: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    as_json: bool = False
    quiet: bool = False
    picture: bool = False
    live: bool = False


def transcribe(request: Request, medium: Medium, load: Callable[[], FileRecognizer]) -> int:
    """Do what was asked for and return the exit code; the model is loaded when everything else is in order.

    Raises:
        UserError: the request contradicts itself or names no files; with `fail_fast`, an input can't be read.
        OSError: the output folder can't be made or written to.
    """
    out_dir, format_names = request.out_dir, _format_names(request)
    inputs = find_inputs(
        request.arguments,
        suffixes=medium.suffixes,
        noun=medium.noun,
        limit=request.limit,
        picture_suffixes=medium.picture_suffixes,
        beside=medium.beside,
    )
    if out_dir is not None:
        check_outputs(inputs)
    elif not request.as_json and not request.live:
        check_stdout(format_names, len(inputs))
    if request.dry_run:
        sys.stdout.write(plan(inputs, out_dir, format_names, skip_existing=request.skip_existing))
        return command.EXIT_DONE
    if out_dir is not None:
        out_dir.mkdir(parents=True, exist_ok=True)  # before the model is loaded: a bad name shows at once
    recognizer = load()
    write = _writer(recognizer, medium)
    options = {"skip_existing": request.skip_existing, "fail_fast": request.fail_fast, "live": request.live}
    running = run(recognizer, inputs, format_names=format_names, out_dir=out_dir, write=write, **options)
    done: list[Transcript] = []
    quiet_bar = request.quiet or request.live
    for transcript in command.progress(running, medium.verb, total=len(inputs), quiet=quiet_bar):
        done.append(transcript if request.as_json else transcript.without_segments())
        _tell(transcript, quiet=request.quiet)
        if out_dir is None and not request.as_json and not request.live:
            sys.stdout.write(stdout_text(transcript, format_names[0], several=len(inputs) > 1, write=write))
            sys.stdout.flush()
    if request.as_json:
        sys.stdout.write(to_json(document(done, recognizer.name)) + "\n")
    if not request.quiet:
        command.say(summary(done))
    return command.exit_code([transcript.status for transcript in done])


def _format_names(request: Request) -> tuple[str, ...]:
    """What is written for each input; wrong use is found here, before anything is read."""
    try:
        names = formats.parse_formats(request.formats or ["txt"])
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    if not names:
        raise typer.BadParameter(f"names no format; allowed are {', '.join(formats.FORMATS)}", param_hint="--format")
    if request.out_dir is None:
        for wanted, option in ((request.skip_existing, "--skip-existing"), (request.picture, "--picture")):
            if wanted:
                where = "it looks there for results" if option == "--skip-existing" else "pictures are files"
                raise typer.BadParameter(f"needs --out DIR: {where}", param_hint=option)
    return (*names, PICTURE) if request.picture else names


def _writer(recognizer: FileRecognizer, medium: Medium) -> Write:
    def write(transcript: Transcript, format_name: str, *, folder: Path | None = None) -> str | bytes:
        if format_name == PICTURE:
            picture: bytes = recognizer.picture(transcript)  # type: ignore[attr-defined]
            return picture
        return formats.write(transcript, format_name, cue_pause_seconds=medium.cue_pause_seconds, folder=folder)

    return write


def run(
    recognizer: FileRecognizer,
    inputs: Sequence[Input],
    *,
    format_names: Sequence[str],
    out_dir: Path | None,
    skip_existing: bool = False,
    fail_fast: bool = False,
    live: bool = False,
    write: Write = formats.write,
) -> Iterator[Transcript]:
    """Recognise the inputs, write their files and yield their records as each is done; skipped ones come first.

    Args:
        recognizer: the model.
        inputs: from `find_inputs`.
        format_names: what to write, of `formats.FORMATS`.
        out_dir: where to; None = nothing is written, the caller shows the records.
        skip_existing: pass over inputs whose every format is there.
        fail_fast: raise the first error instead of going on.
        live: stdin is the recogniser's to read: it is not copied to a file first.
        write: makes the text of a file.

    Raises:
        UserError: with `fail_fast`, an input can't be read.
    """
    if out_dir is not None:
        sweep(inputs, out_dir, format_names)
    todo = []
    for item in inputs:
        if skip_existing and out_dir is not None and is_done(item, out_dir, format_names):
            yield Transcript(file=item.name, status="skipped", model=recognizer.name)
        else:
            todo.append(item)
    with contextlib.ExitStack() as stack:
        reads_stdin = any(item.name == STDIN for item in todo) and not live
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="signwave-")) if reads_stdin else ""
        files = (_open(item, folder, live=live) for item in todo)
        results = recognizer.transcribe_files(files, fail_fast=fail_fast)
        for item, transcript in zip(todo, results, strict=True):
            if out_dir is not None and transcript.status != "failed":
                for name in format_names:
                    target = output_path(item, out_dir, name)
                    atomic_write(target, write(transcript, name, folder=target.parent))
            yield transcript


def _open(item: Input, folder: str, *, live: bool) -> InputFile:
    return InputFile(STDIN, STDIN) if live and item.name == STDIN else open_input(item, Path(folder))


def plan(inputs: Sequence[Input], out_dir: Path | None, format_names: Sequence[str], *, skip_existing: bool) -> str:
    """Return what --dry-run prints: a line an input, with where its results would go."""
    lines = []
    for item in inputs:
        if out_dir is None:
            target = "stdout"
        elif skip_existing and is_done(item, out_dir, format_names):
            target = "skipped, it is there"
        else:
            target = " ".join(str(output_path(item, out_dir, name)) for name in format_names)
        lines.append(f"{item.name} -> {target}\n")
    return "".join(lines)


def check_stdout(format_names: Sequence[str], num_inputs: int) -> None:
    """Refuse what can't be written to one stream.

    Raises:
        UserError: several formats, or several inputs in a format that holds one.
    """
    if len(format_names) > 1:
        raise UserError(f"--format {','.join(format_names)}: stdout takes one format; add --out DIR for several")
    if num_inputs > 1 and format_names[0] in _ONE_INPUT_FORMATS:
        raise UserError(
            f"--format {format_names[0]} with {num_inputs} inputs needs --out DIR; for one stream use --format jsonl"
        )


def stdout_text(transcript: Transcript, format_name: str, *, several: bool, write: Write = formats.write) -> str:
    """Return what one finished input adds to stdout; with several inputs a text line starts with its file."""
    if transcript.status == "failed" and format_name != "jsonl":
        return ""
    if format_name == "txt" and several:
        return f"{transcript.file}\t{transcript.text}\n"
    return str(write(transcript, format_name))


def document(transcripts: Iterable[Transcript], model: ModelName) -> dict[str, Any]:
    """Return the one document that --json prints."""
    records = [transcript.to_dict() for transcript in transcripts]
    counts = Counter(record["status"] for record in records)
    seconds = sum(record["duration"] for record in records)
    spent = sum(record["duration"] * record["rtf"] for record in records)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model.name, "sha": model.sha},
        **{f"num_{status}": counts[status] for status in _STATUSES},
        "duration": round(seconds, 3),
        "rtf": round(spent / seconds, 4) if seconds else 0.0,
        "records": records,
    }


def summary(transcripts: Sequence[Transcript]) -> str:
    """Return how it went, in one line."""
    counts = Counter(transcript.status for transcript in transcripts)
    seconds = sum(transcript.duration_seconds for transcript in transcripts)
    spent = sum(transcript.duration_seconds * transcript.rtf for transcript in transcripts)
    speed = f", {seconds:.0f} s at {seconds / spent:.1f} x real time" if spent else ""
    return ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status]) + speed


def _tell(transcript: Transcript, *, quiet: bool) -> None:
    if transcript.error is not None:
        command.say(f"failed: {transcript.error.message}")
    elif not quiet:
        for warning in transcript.warnings:
            command.say(f"{transcript.file}: {warning}")
