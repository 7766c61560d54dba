"""Transcribe many inputs: which files are meant, where their results go, what is done already.

Each result is written as soon as it is there, whole or not at all, so an interrupted run goes on where it stopped.
"""

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import formats
from asr.datasets.folder import audio_files
from asr.transcript import SCHEMA_VERSION, ModelName, Transcript
from signwave.command import say
from signwave.errors import MediaError, UserError
from signwave.rundir import atomic_write, sha256_file

if TYPE_CHECKING:
    from asr.infer import Recognizer
    from asr.sources import Source

STDIN = "-"
SAY_EVERY_SECONDS = 30.0
_ONE_INPUT_FORMATS = ("json", "srt", "vtt")  # several of these one after the other are no valid file


@dataclass(frozen=True)
class Input:
    """One file to transcribe: its path as given (`-` for stdin), and where its results go below the output folder."""

    name: str
    output: Path


def find_inputs(arguments: Sequence[str], *, limit: int | None = None) -> list[Input]:
    """Return the files meant by the arguments: files as given, folders searched for audio, `-` for stdin.

    Two inputs whose results would have the same name keep their suffix in it (`a.wav.txt`, `a.mp3.txt`).

    Raises:
        UserError: a folder without audio.
    """
    found: list[Input] = []
    for argument in dict.fromkeys(arguments):
        path = Path(argument)
        if argument == STDIN:
            found.append(Input(STDIN, Path("stdin")))
        elif path.is_dir():
            files = list(audio_files(path))
            if not files:
                raise UserError(f"{path}: holds no audio or video file; give a folder with recordings, or files")
            found += [Input(str(file), file.relative_to(path)) for file in files]
        else:
            found.append(Input(argument, Path(path.name)))
    return _named_apart(found)[:limit]


def _named_apart(inputs: list[Input]) -> list[Input]:
    bare = Counter(item.output.with_suffix("") for item in inputs)
    named = [
        item if bare[item.output.with_suffix("")] > 1 else Input(item.name, item.output.with_suffix(""))
        for item in inputs
    ]
    doubled = [output for output, count in Counter(item.output for item in named).items() if count > 1]
    if doubled:
        names = " and ".join(item.name for item in named if item.output == doubled[0])
        raise UserError(f"{names} would both be written to {doubled[0]}; give their common folder, or run them apart")
    return named


def output_path(item: Input, out_dir: Path, format_name: str) -> Path:
    """Return where one format of one input goes."""
    target = out_dir / item.output
    return target.with_name(f"{target.name}.{format_name}")


def is_done(item: Input, out_dir: Path, format_names: Sequence[str]) -> bool:
    """Whether every requested format is there, and made from these bytes where the format says so (json, jsonl)."""
    paths = [output_path(item, out_dir, name) for name in format_names]
    if not all(path.is_file() for path in paths):
        return False
    records = [path for path in paths if path.suffix in (".json", ".jsonl")]
    try:
        return all(_stored_sha256(path) == _sha256(item.name) for path in records)
    except (MediaError, OSError):  # reading it will say what is wrong
        return False


def _stored_sha256(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return "not a record"


def _sha256(path: str | Path) -> str:
    from signwave.media.paths import local_file

    return sha256_file(local_file(path))


def run(
    recognizer: "Recognizer",
    inputs: Sequence[Input],
    *,
    format_names: Sequence[str],
    out_dir: Path | None,
    skip_existing: bool = False,
    fail_fast: bool = False,
) -> Iterator[Transcript]:
    """Transcribe the inputs, write their files and yield their records as each is done; skipped ones come first.

    Args:
        recognizer: the model.
        inputs: from `find_inputs`.
        format_names: what to write, of `formats.FORMATS`.
        out_dir: where to; None = nothing is written, the caller shows the records.
        skip_existing: pass over inputs whose every format is there.
        fail_fast: raise the first error instead of going on.

    Raises:
        MediaError: with `fail_fast`, an input can't be read.
    """
    if out_dir is not None:
        _sweep(inputs, out_dir, format_names)
    todo = []
    for item in inputs:
        if skip_existing and out_dir is not None and item.name != STDIN and is_done(item, out_dir, format_names):
            yield Transcript(file=item.name, status="skipped", model=recognizer.name)
        else:
            todo.append(item)
    with tempfile.TemporaryDirectory(prefix="signwave-") as folder:
        sources = (_open(item, Path(folder)) for item in todo)
        results = recognizer.transcribe_many(sources, fail_fast=fail_fast)
        for item, transcript in zip(todo, results, strict=True):
            if out_dir is not None and transcript.status != "failed":
                for name in format_names:
                    atomic_write(output_path(item, out_dir, name), formats.write(transcript, name))
            yield transcript


def _sweep(inputs: Sequence[Input], out_dir: Path, format_names: Sequence[str]) -> None:
    """Remove what an earlier, killed run had begun to write of these very results."""
    targets = [output_path(item, out_dir, name) for item in inputs for name in format_names]
    begun = {(path.parent, f".tmp-{path.name}") for path in targets}
    for folder in {path.parent for path in targets}:
        for leftover in folder.glob(".tmp-*"):
            if (folder, leftover.name.rpartition("-")[0]) in begun:
                leftover.unlink(missing_ok=True)


def _open(item: Input, folder: Path) -> "Source":
    """The source of an input; what is wrong with the file comes up when it is read, as that input's failure."""
    from asr.sources import Source, file_source

    path: str | Path = item.name  # not a Path of it: that would tidy up `http://` and hide what it is
    if item.name == STDIN:
        path = folder / "stdin"
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    checksum = ""
    with contextlib.suppress(MediaError, OSError):  # reading it will say what is wrong
        checksum = _sha256(path)
    source = file_source(path, name=item.name)
    return Source(source.name, source.chunks, checksum)


class Heartbeat:
    """Says every 30 s how far the file at hand is: a long one is a single step of the progress bar."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, name: str, seconds_done: float) -> None:
        """Take note of a batch; see `Recognizer.on_progress`."""
        now = time.monotonic()
        if now - self._last >= SAY_EVERY_SECONDS:
            self._last = now
            say(f"{name}: {seconds_done:.0f} s of audio done")


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


def stdout_text(transcript: Transcript, format_name: str, *, several: bool) -> str:
    """Return what one finished input adds to stdout; with several inputs a text line starts with its file."""
    if format_name == "jsonl":
        return formats.write(transcript, format_name)
    if transcript.status == "failed":
        return ""
    if format_name == "txt" and several:
        return f"{transcript.file}\t{transcript.text}\n"
    return formats.write(transcript, format_name)


def document(transcripts: Iterable[Transcript], model: ModelName) -> dict[str, Any]:
    """Return the one document that --json prints."""
    records = [transcript.to_dict() for transcript in transcripts]
    counts = Counter(record["status"] for record in records)
    seconds = sum(record["duration"] for record in records)
    spent = sum(record["duration"] * record["rtf"] for record in records)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": model.name, "sha": model.sha},
        **{f"num_{status}": counts[status] for status in ("ok", "empty", "skipped", "failed")},
        "duration": round(seconds, 3),
        "rtf": round(spent / seconds, 4) if seconds else 0.0,
        "records": records,
    }


def summary(transcripts: Sequence[Transcript]) -> str:
    """Return how it went, in one line."""
    counts = Counter(transcript.status for transcript in transcripts)
    seconds = sum(transcript.duration_seconds for transcript in transcripts)
    spent = sum(transcript.duration_seconds * transcript.rtf for transcript in transcripts)
    speed = f", {seconds:.0f} s of audio at {seconds / spent:.1f} x real time" if spent else ""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) + speed


def plan(inputs: Sequence[Input], out_dir: Path | None, format_names: Sequence[str], *, skip_existing: bool) -> str:
    """Return what --dry-run prints: each input and where its results would go."""
    lines = []
    for item in inputs:
        if out_dir is None:
            target = "stdout"
        elif skip_existing and is_done(item, out_dir, format_names):
            target = "skipped, it is there"
        else:
            target = " ".join(str(output_path(item, out_dir, name)) for name in format_names)
        lines.append(f"{item.name} -> {target}")
    return "\n".join(lines)
