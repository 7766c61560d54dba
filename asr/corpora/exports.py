"""Manifests for other toolkits: Lhotse cuts, Lhotse recordings with supervisions, and NeMo lines.

Every format wants lengths, so clips need them: prepare with `--check decode` or `--check probe`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from signwave.rundir import atomic_path

ManifestFormat = Literal["lhotse", "lhotse-cuts", "nemo"]
FORMATS: tuple[str, ...] = get_args(ManifestFormat)


class _Sound(NamedTuple):
    """A file as a whole."""

    id: str
    path: str
    num_samples: int
    rate_hz: int
    num_channels: int

    @property
    def channels(self) -> list[int]:
        return list(range(self.num_channels))

    @property
    def heard(self) -> int | list[int]:
        """Our clips are the mean of all channels; a file with one is named by its number."""
        return 0 if self.num_channels == 1 else self.channels

    @property
    def seconds(self) -> float:
        return self.num_samples / self.rate_hz


def write_as(clips: Sequence[Clip], folder: Path, *, form: str, name: str) -> list[Path]:
    """Write clips as the manifests of another toolkit; files that exist are replaced.

    Args:
        clips: with lengths; their files are opened where a clip is a span, for the length of the file.
        folder: where the files go.
        form: lhotse (recordings_NAME and supervisions_NAME), lhotse-cuts (cuts_NAME) or nemo (NAME.jsonl).
        name: usually the split.

    Returns:
        The files written.

    Raises:
        UserError: unknown format, or a clip without a length, or a file that can't be opened.
    """
    if form not in FORMATS:
        raise UserError(f"--to {form}: unknown; allowed are {', '.join(FORMATS)}")
    if not clips:
        raise UserError(f"{folder}: there is no clip to write; the manifest is empty")
    sounds = _sounds(clips)
    rows: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {}
    if form == "nemo":
        rows[f"{name}.jsonl"] = lambda: (_nemo_row(clip) for clip in clips)
    elif form == "lhotse-cuts":
        rows[f"cuts_{name}.jsonl.gz"] = lambda: (_cut(clip, sounds[clip.path]) for clip in clips)
    else:
        rows[f"recordings_{name}.jsonl.gz"] = lambda: (_recording(sound) for sound in sounds.values())
        rows[f"supervisions_{name}.jsonl.gz"] = lambda: (
            _supervision(clip, sounds[clip.path], clip.start_seconds) for clip in clips
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, make in rows.items():
        _write_lines(folder / file, make())
    return [folder / file for file in rows]


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _sounds(clips: Iterable[Clip]) -> dict[str, _Sound]:
    """Path → the file as a whole."""
    from signwave.media.audio import probe_audio

    sounds: dict[str, _Sound] = {}
    for clip in clips:
        _seconds(clip)
        if clip.path not in sounds:
            info = probe_audio(clip.path)
            path = os.path.abspath(clip.path)
            sounds[clip.path] = _Sound(Path(path).stem, path, info.num_samples, info.rate_hz, info.num_channels)
    num_named = Counter(sound.id for sound in sounds.values())
    return {
        key: sound if num_named[sound.id] == 1 else sound._replace(id=_long_id(sound.path))
        for key, sound in sounds.items()
    }


def _seconds(clip: Clip) -> float:
    if clip.duration_seconds is None:
        raise ManifestError(f"clip '{clip.id}': its length is unknown; prepare it with --check probe or decode")
    return clip.duration_seconds


def _nemo_row(clip: Clip) -> dict[str, Any]:
    row = {
        "audio_filepath": os.path.abspath(clip.path),
        "offset": clip.start_seconds,
        "duration": round(_seconds(clip), 6),
        "text": clip.text,
        "lang": clip.language,
        "speaker": clip.person,
    }
    optional = (
        ("lang", "speaker") if clip.end_seconds is not None or clip.start_seconds else ("offset", "lang", "speaker")
    )
    return {key: value for key, value in row.items() if value or key not in optional}


def _long_id(path: str) -> str:
    return Path(path).with_suffix("").as_posix().lstrip("/").replace("/", "-")


def _recording(sound: _Sound) -> dict[str, Any]:
    return {
        "id": sound.id,
        "sources": [{"type": "file", "channels": sound.channels, "source": sound.path}],
        "sampling_rate": sound.rate_hz,
        "num_samples": sound.num_samples,
        "duration": sound.seconds,
        "channel_ids": sound.channels,
    }


def _supervision(clip: Clip, sound: _Sound, start: float) -> dict[str, Any]:
    row = {
        "id": clip.id,
        "recording_id": sound.id,
        "start": start,
        "duration": min(_seconds(clip), sound.seconds - clip.start_seconds),
        "channel": sound.heard,
        "text": clip.text,
        "language": clip.language,
        "speaker": clip.person,
    }
    return {key: value for key, value in row.items() if value != ""}


def _cut(clip: Clip, sound: _Sound) -> dict[str, Any]:
    return {
        "id": clip.id,
        "start": clip.start_seconds,
        "duration": min(_seconds(clip), sound.seconds - clip.start_seconds),
        "channel": sound.heard,
        "supervisions": [_supervision(clip, sound, 0.0)] if clip.text or clip.person else [],
        "recording": _recording(sound),
        "type": "MonoCut" if sound.num_channels == 1 else "MultiCut",
    }
