"""Lhotse manifests: cuts, or recordings with supervisions, as .jsonl, .jsonl.gz or .json; a file or a folder of them.

Language, hours, licence: those of the corpus behind them. `asr manifest` writes such manifests.

A folder is read by the files' names: PREFIX_cuts_SPLIT.jsonl.gz, or PREFIX_recordings_SPLIT beside
PREFIX_supervisions_SPLIT; the split is what follows. A cut gives a clip per supervision, or one without transcript.
What a span of a file can't say is a problem: mixed and padded cuts, sounds behind commands, addresses or in memory,
transforms other than resampling, one channel of several. Relative paths start at the manifest, or at `audio_root=`.

    asr prepare lhotse manifests/ OUT
    asr prepare lhotse cuts_train.jsonl.gz OUT audio_root=corpora
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from asr.corpora.tables import SPLIT_NAMES, chosen, locate, read_records
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

SUFFIXES = (".jsonl", ".jsonl.gz", ".json")
_PLAIN_TRANSFORMS = {"Resample"}
Fields = dict[str, Any]


class _Files(NamedTuple):
    """Manifests that belong together: cuts, or recordings and supervisions."""

    cuts: Path | None = None
    recordings: Path | None = None
    supervisions: Path | None = None


class _Places(NamedTuple):
    """Where paths may start, and what the split and language are unless the manifest says."""

    folders: tuple[Path, ...]
    split: str
    language: str


def prepare(raw: Path, *, language: str = "", splits: str = "", audio_root: str = "") -> Iterator[Row | Problem]:
    """Yield a clip per supervision.

    Args:
        raw: a manifest of cuts, a manifest of recordings (its supervisions beside it), or a folder of manifests.
        language: code of the language spoken; otherwise what the supervisions say.
        splits: comma list; empty = all.
        audio_root: what relative paths start from.

    Yields:
        Rows named after the supervision, with `person` = speaker; or problems.

    Raises:
        UserError: no manifest is there, or the splits.
    """
    found = _manifests(raw)
    for split in chosen(splits, list(found), where=raw):
        files = found[split]
        base = (files.cuts or files.recordings or raw).parent
        folders = (Path(audio_root),) if audio_root else (base, *base.absolute().parents[:3], Path(), base)
        places = _Places(folders, SPLIT_NAMES.get(split, split), language)
        yield from _cuts(files.cuts, places) if files.cuts else _pairs(files, places)


def _manifests(raw: Path) -> dict[str, _Files]:
    """Split → its manifests."""
    paths = [raw] if raw.is_file() else sorted(path for path in raw.iterdir() if path.name.endswith(SUFFIXES))
    if raw.is_file() and "recordings" in raw.name:
        paths.append(raw.with_name(raw.name.replace("recordings", "supervisions")))
    if raw.is_file() and not any(kind in raw.name for kind in _Files._fields):
        return {"": _Files(cuts=raw)}
    found: dict[str, _Files] = {}
    for path in paths:
        stem = next(path.name.removesuffix(suffix) for suffix in reversed(SUFFIXES) if path.name.endswith(suffix))
        for kind in _Files._fields:
            _, is_there, rest = stem.partition(kind)
            if is_there and path.is_file():
                split = rest.strip("_-.")
                found[split] = found.get(split, _Files())._replace(**{kind: path})
    usable = {split: files for split, files in found.items() if files.cuts or files.recordings}
    if not usable:
        raise UserError(f"{raw}: holds no manifest called …cuts… or …recordings… ({', '.join(SUFFIXES)})")
    return usable


def _cuts(path: Path, places: _Places) -> Iterator[Row | Problem]:
    for line, cut in read_records(path):
        where = f"{path}:{line}" if line else str(path)
        if isinstance(cut, Problem):
            yield cut
            continue
        try:
            if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut") or "recording" not in cut:
                kind = cut.get("type", "cut")
                yield Problem(where, f"'{cut.get('id')}' is a {kind} without a recording of its own", "mixed")
                continue
            start, seconds = float(cut["start"]), float(cut["duration"])
            spoken = cut.get("supervisions") or [{"id": cut["id"], "start": 0.0, "duration": seconds}]
            for supervision in spoken:
                begin = max(0.0, float(supervision["start"]))
                end = min(seconds, float(supervision["start"]) + float(supervision["duration"]))
                yield _row(supervision, cut["recording"], (start + begin, start + end), where, places)
        except (KeyError, TypeError, ValueError) as error:
            yield Problem(where, f"'{cut.get('id')}': {_told(error)}", "invalid")


def _pairs(files: _Files, places: _Places) -> Iterator[Row | Problem]:
    recordings: dict[str, Fields] = {}
    for _, fields in read_records(files.recordings or Path()):
        if isinstance(fields, Problem):
            yield fields
        else:
            recordings[str(fields.get("id"))] = fields
    if files.supervisions is None:
        for recording in recordings.values():
            spoken = {"id": recording.get("id")}
            yield _guarded(spoken, recording, None, str(files.recordings), places)
        return
    for line, supervision in read_records(files.supervisions):
        where = f"{files.supervisions}:{line}" if line else str(files.supervisions)
        if isinstance(supervision, Problem):
            yield supervision
            continue
        found = recordings.get(str(supervision.get("recording_id")))
        if found is None:
            reason = f"recording '{supervision.get('recording_id')}' is not in {files.recordings}"
            yield Problem(where, reason, "missing")
            continue
        yield _guarded(supervision, found, supervision, where, places)


def _guarded(spoken: Fields, recording: Fields, span: Fields | None, where: str, places: _Places) -> Row | Problem:
    try:
        times = None if span is None else (float(span["start"]), float(span["start"]) + float(span["duration"]))
        return _row(spoken, recording, times, where, places)
    except (KeyError, TypeError, ValueError) as error:
        return Problem(where, f"'{spoken.get('id')}': {_told(error)}", "invalid")


def _told(error: Exception) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)


def _row(
    spoken: Fields, recording: Fields, times: tuple[float, float] | None, where: str, places: _Places
) -> Row | Problem:
    source = _source(spoken, recording)
    if not isinstance(source, str):
        return source._replace(where=where)
    length = float(recording["duration"])
    # a supervision of the entire recording needs no span; its length is what the manifest announces
    entire = times is None or (times[0] <= 0.001 and times[1] >= length - 0.001)
    clip = Clip(
        id=str(spoken["id"]),
        path=str(locate(source, *places.folders)),
        kind="audio",
        start_seconds=0.0 if entire or times is None else round(times[0], 6),
        end_seconds=None if entire or times is None else round(times[1], 6),
        num_frames=int(recording["num_samples"]) if entire else None,
        rate_hz=float(recording["sampling_rate"]) if entire else None,
        text=" ".join(str(spoken.get("text") or "").split()),
        language=places.language or str(spoken.get("language") or ""),
        person=str(spoken.get("speaker") or ""),
        split=places.split,
    )
    return Row(clip, where)


def _source(spoken: Fields, recording: Fields) -> str | Problem:
    """The file that is heard, or why it can't be named."""
    name = f"'{spoken.get('id')}'"
    odd = [str(t.get("name")) for t in recording.get("transforms") or [] if t.get("name") not in _PLAIN_TRANSFORMS]
    if odd:
        return Problem("", f"{name} is changed by {', '.join(odd)} when read; save its cuts' sound first", "transform")
    channels = spoken.get("channel", 0)
    heard = set(channels if isinstance(channels, list) else [channels])
    sources = [source for source in recording["sources"] if heard & set(source["channels"])]
    if len(sources) != 1 or (len(sources[0]["channels"]) > 1 and set(sources[0]["channels"]) != heard):
        return Problem("", f"{name} is one channel of several; write each channel to a file of its own", "channel")
    if sources[0]["type"] != "file":
        return Problem("", f"{name} comes from a {sources[0]['type']}, not a file; save it to one", "command")
    return str(sources[0]["source"])
