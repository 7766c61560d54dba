"""Recognised glosses as files: txt, json, srt, vtt, ctm. Pure functions from a `Transcript` to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

from signwave.errors import UserError
from slr.transcript import Gloss, Transcript

Format = Literal["txt", "json", "srt", "vtt", "ctm"]
FORMATS: tuple[str, ...] = get_args(Format)

CUE_PAUSE_SECONDS = 1.0
MAX_CUE_SECONDS = 6.0


def parse_formats(values: Iterable[str]) -> tuple[str, ...]:
    """The formats asked for by repeated options or comma lists, each once.

    >>> parse_formats(["srt,txt", "srt"])
    ('srt', 'txt')
    """
    names = [name.strip().lower() for value in values for name in value.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--format {name}: unknown; allowed are {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def write(transcript: Transcript, format_name: str) -> str:
    """The transcript in one of FORMATS.

    Raises:
        UserError: the format is unknown.
    """
    if format_name not in _WRITERS:
        raise UserError(f"format '{format_name}': unknown; allowed are {', '.join(FORMATS)}")
    return _WRITERS[format_name](transcript)


def cues(transcript: Transcript) -> list[tuple[Gloss, ...]]:
    """Glosses that one subtitle shows: until a pause, or until it has stood for six seconds."""
    found: list[list[Gloss]] = []
    for gloss in transcript.glosses:
        fits = (
            bool(found)
            and gloss.start_seconds - found[-1][-1].end_seconds < CUE_PAUSE_SECONDS
            and gloss.end_seconds - found[-1][0].start_seconds <= MAX_CUE_SECONDS
        )
        if fits:
            found[-1].append(gloss)
        else:
            found.append([gloss])
    return [tuple(cue) for cue in found]


def to_txt(transcript: Transcript) -> str:
    """The glosses in one line."""
    return f"{transcript.text}\n"


def to_json(transcript: Transcript) -> str:
    """The whole record, indented."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_srt(transcript: Transcript) -> str:
    """SubRip subtitles."""
    blocks = [f"{number}\n{_cue(cue, ',')}" for number, cue in enumerate(cues(transcript), 1)]
    return "\n".join(blocks)


def to_vtt(transcript: Transcript) -> str:
    """WebVTT subtitles."""
    return "\n".join(["WEBVTT\n", *(_cue(cue, ".") for cue in cues(transcript))])


def to_ctm(transcript: Transcript) -> str:
    """NIST ctm: recording, channel, start, duration, gloss, confidence."""
    name = "_".join(Path(transcript.path).stem.split()) or "clip"
    return "".join(
        f"{name} 1 {gloss.start_seconds:.3f} {gloss.end_seconds - gloss.start_seconds:.3f} {gloss.text} "
        f"{gloss.confidence:.4f}\n"
        for gloss in transcript.glosses
    )


def _cue(cue: tuple[Gloss, ...], comma: str) -> str:
    text = " ".join(gloss.text for gloss in cue)
    if comma == ".":
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    else:
        text = text.replace("-->", "->")  # SubRip has no escape, and an arrow marks a time line
    return f"{_clock(cue[0].start_seconds, comma)} --> {_clock(cue[-1].end_seconds, comma)}\n{text}\n"


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{comma}{rest % 1000:03d}"


_WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "json": to_json,
    "srt": to_srt,
    "vtt": to_vtt,
    "ctm": to_ctm,
}
