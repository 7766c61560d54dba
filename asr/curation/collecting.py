"""`asr collect` without its options: measure what is new, compare, decide, write.

An output folder holds
    measure.json, measured.jsonl        what was measured, and with which settings
    copies.tsv, leaks.tsv, closeness.tsv  pairs and closeness, with the indexes they were made from
    segments.jsonl.gz                   every segment with every score and the decision
    train.jsonl.gz                      the manifest of what is kept
    problems.jsonl, collect.json        files that can't be used; the figures
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from asr.curation import comparing
from asr.curation.hooks import load_hook
from asr.curation.journal import Journal
from asr.curation.measuring import Measure
from asr.curation.running import run_here, run_in_processes, run_on_ray
from asr.curation.selecting import Segment, segments_of, select
from asr.curation.settings import CollectSettings, MeasureSettings
from asr.curation.voice import load_voice_detector, resolved_kind
from asr.datasets.folder import AUDIO_SUFFIXES
from asr.features import SAMPLE_RATE_HZ
from asr.similar_index import ClipEmbedder
from asr.similarity import THRESHOLD
from signwave import command, manifest, rundir
from signwave.command import Failure
from signwave.errors import ConfigError, UserError
from signwave.index.lock import exclusive
from signwave.inputs import files_below
from signwave.manifest import Clip

Row = dict[str, Any]
Engine = Literal["processes", "ray"]

_NUM_FAILURES_IN_REPORT = 1000


@dataclass(frozen=True)
class Request:
    """What is to be collected.

    Attributes:
        raw: folder of recordings.
        out: folder for the results.
        language: code of the language that is wanted.
        settings: how to measure, what to keep.
        against: dev and test manifests whose recordings must not be in the pool.
        near: manifests of the target domain.
        embedder: turns a clip into a vector for closeness; None where there is no `near`.
        engine: processes of this machine, or a Ray Data map.
        num_workers: processes; 0 = none, this one does the work.
        rescreen: only decide again; no audio is opened.
        quiet: no progress on stderr.
    """

    raw: Path
    out: Path
    language: str
    settings: CollectSettings = field(default_factory=CollectSettings)
    against: tuple[Path, ...] = ()
    near: tuple[Path, ...] = ()
    embedder: ClipEmbedder | None = None
    engine: Engine = "processes"
    num_workers: int = 2
    rescreen: bool = False
    quiet: bool = True


@dataclass(frozen=True)
class Collected:
    """The outcome.

    Attributes:
        report: the figures, as in `collect.json`.
        segments: every segment with the decision.
        num_new: recordings that were measured now.
        exit_code: 0, 3 if some recordings can't be used, 1 if none can.
    """

    report: Row
    segments: list[Segment]
    num_new: int
    exit_code: int


def collect(request: Request) -> Collected:
    """Screen a folder of recordings.

    Raises:
        UserError: nothing is there, a hook or setting is wrong, or the folder was measured with other settings.
    """
    keep = request.settings.keep
    if not comparing.LOWEST_SCORE <= keep.duplicate_score <= 1:
        raise ConfigError(
            f"keep.duplicate_score={keep.duplicate_score:g}: must lie between {comparing.LOWEST_SCORE:g} and 1; "
            f"{THRESHOLD:g} is what was measured"
        )
    if request.rescreen and not Journal.is_in(request.out):
        raise UserError(f"{request.out}: holds no measurements; run without --rescreen first")
    request.out.mkdir(parents=True, exist_ok=True)
    with exclusive(request.out):
        rundir.sweep_temporaries(request.out)
        failures: list[Failure] = []
        num_new = 0
        if request.rescreen:
            journal = Journal(request.out, Journal.settings_in(request.out))
        else:
            measure = _resolved(request.settings.measure)
            journal = Journal(request.out, measure.to_dict())
            num_new = _measure(request, measure, journal)
            failures = _compare(request, journal.rows)
        return _decide(request, journal.rows, failures, num_new)


def _resolved(settings: MeasureSettings) -> MeasureSettings:
    """With the detector that is there, and hooks that can be imported."""
    kind = resolved_kind(settings.voice)
    if kind == "energy" and settings.voice == "auto":
        command.say("voice detection by energy alone: the package 'silero-vad' is not installed (signwave[curation])")
    load_voice_detector(kind)
    for name in (settings.language_id, settings.sound_kind):
        if name:
            load_hook(name)
    return replace(settings, voice=kind)


def _measure(request: Request, settings: MeasureSettings, journal: Journal) -> int:
    """Measure what is new or has changed."""
    rows = list(_files(request.raw))
    if not rows:
        raise UserError(f"{request.raw}: holds no audio file; give a folder that does")
    journal.keep_only({row["file"] for row in rows})
    waiting = [row for row in rows if not journal.is_done(row)]
    waiting.sort(key=lambda row: -row["size"])  # long ones first, or the last one keeps all but one process waiting
    function = Measure(settings)
    if not request.num_workers:
        results = run_here(function, waiting)
    elif request.engine == "ray":
        results = run_on_ray(function, waiting, num_workers=request.num_workers)
    else:
        results = run_in_processes(function, waiting, num_workers=min(request.num_workers, max(1, len(waiting))))
    with journal.appending() as writer:
        for row in command.progress(results, "measuring", total=len(waiting), quiet=request.quiet):
            del row["path"]
            writer.add(row)
    return len(waiting)


def _files(raw: Path) -> Iterator[Row]:
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder; give the folder that holds the recordings")
    for path in files_below(raw, AUDIO_SUFFIXES):
        file = path.relative_to(raw)
        state = path.stat()
        source = file.parts[0] if len(file.parts) > 1 else file.as_posix()
        yield {
            "file": file.as_posix(), "path": os.path.abspath(path), "source": source, "size": state.st_size,
            "mtime_ns": state.st_mtime_ns,
        }  # fmt: skip


def _compare(request: Request, rows: Sequence[Row]) -> list[Failure]:
    clips = [_clip(segment, request) for segment in segments_of(rows, request.language, {})]
    failures, _ = comparing.find_copies(request.out, clips, request.against, quiet=request.quiet)
    if request.near and request.embedder is not None:
        more, _ = comparing.find_closeness(request.out, clips, request.near, request.embedder, quiet=request.quiet)
        failures += more
    return failures


def _clip(segment: Segment, request: Request) -> Clip:
    return Clip(
        id=segment.id, path=str((request.raw / segment.file).absolute()), kind="audio",
        start_seconds=segment.start_seconds, end_seconds=segment.end_seconds,
        num_frames=round(segment.seconds * SAMPLE_RATE_HZ), rate_hz=float(SAMPLE_RATE_HZ), language=request.language,
        group=segment.source, split="train",
    )  # fmt: skip


def _decide(request: Request, rows: Sequence[Row], failures: Sequence[Failure], num_new: int) -> Collected:
    segments = segments_of(rows, request.language, comparing.read_closeness(request.out))
    select(
        segments,
        request.settings.keep,
        language=request.language,
        copies=comparing.read_copies(request.out),
        leaks=comparing.read_leaks(request.out),
    )
    told = [Failure(row["file"], **row["failure"]) for row in rows if row["failure"] is not None] + list(failures)
    report = _report(request, rows, segments, told)
    _write(request, segments, told, report)
    all_failed = bool(told) and all(row["failure"] is not None for row in rows)
    code = command.EXIT_DONE if not told else command.EXIT_FAILED if all_failed else command.EXIT_SOME_FAILED
    return Collected(report, segments, num_new, code)


def _report(request: Request, rows: Sequence[Row], segments: Sequence[Segment], failures: Sequence[Failure]) -> Row:
    dropped: dict[str, list[float]] = defaultdict(list)
    for segment in segments:
        if not segment.is_kept:
            dropped[segment.reasons[0]].append(segment.seconds)
    kept = [segment for segment in segments if segment.is_kept]
    return {
        "raw": str(request.raw), "out": str(request.out), "language": request.language,
        "num_files": len(rows), "num_failed": len(failures),
        "num_without_speech": sum(row["failure"] is None and not row["segments"] for row in rows),
        "hours_raw": _hours(row["seconds"] for row in rows),
        "num_segments": len(segments), "hours_segments": _hours(segment.seconds for segment in segments),
        "num_kept": len(kept), "hours_kept": _hours(segment.seconds for segment in kept),
        "dropped": {
            reason: {"num": len(seconds), "hours": _hours(seconds)}
            for reason, seconds in sorted(dropped.items(), key=lambda item: (-sum(item[1]), item[0]))
        },
        "failure_counts": dict(sorted(Counter(failure.kind for failure in failures).items())),
        "failures": [asdict(failure) for failure in failures[:_NUM_FAILURES_IN_REPORT]],
        "measure": Journal.settings_in(request.out),
        "keep": asdict(request.settings.keep),
    }  # fmt: skip


def _hours(seconds: Iterable[float]) -> float:
    return round(sum(seconds) / 3600, 6)


def _write(request: Request, segments: Sequence[Segment], failures: Sequence[Failure], report: Row) -> None:
    kept = (_clip(segment, request).seen_from(request.out.resolve()) for segment in segments if segment.is_kept)
    manifest.write(request.out / "train.jsonl.gz", kept)
    lines = "".join(json.dumps(segment.to_dict(), ensure_ascii=False) + "\n" for segment in segments)
    rundir.atomic_write(request.out / "segments.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
    problems = "".join(json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in failures)
    rundir.atomic_write(request.out / "problems.jsonl", problems)
    rundir.write_json(request.out / "collect.json", report)


def summary(collected: Collected) -> str:
    """The figures as a few lines for people."""
    report = collected.report
    lines = [
        f"{report['num_files']} recordings, {report['hours_raw']:.3f} h ({collected.num_new} measured now); "
        f"{report['num_failed']} failed, {report['num_without_speech']} without speech",
        f"{report['num_segments']} segments, {report['hours_segments']:.3f} h; "
        f"kept {report['num_kept']}, {report['hours_kept']:.3f} h: {report['out']}/train.jsonl.gz",
    ]
    lines += [f"  {reason}: {row['num']}, {row['hours']:.3f} h" for reason, row in report["dropped"].items()]
    return "\n".join(lines)
