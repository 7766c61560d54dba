"""Transcripts as files: txt, json, jsonl, srt, vtt, tsv, ctm, eaf, textgrid; pure functions from `Transcript`.

Right-to-left text is written as it is, in logical order and without control marks: players and editors order it.
"""

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from signwave.eaf import to_eaf
from signwave.errors import UserError
from signwave.textgrid import to_textgrid
from signwave.transcript import Segment, Transcript, Word

Format = Literal["txt", "json", "jsonl", "srt", "vtt", "tsv", "ctm", "eaf", "textgrid"]
FORMATS: tuple[str, ...] = get_args(Format)

MAX_LINE_CHARS = 42
MAX_CUE_CHARS = 2 * MAX_LINE_CHARS
MAX_CUE_SECONDS = 6.0
MIN_CUE_SECONDS = 0.8
CUE_PAUSE_SECONDS = 0.6
_TICK_SECONDS = 0.001  # what the subtitle formats can tell apart


class Cue(NamedTuple):
    """One subtitle: [start, end) and one or two lines."""

    start_seconds: float
    end_seconds: float
    text: str


def write(
    transcript: Transcript,
    format_name: str,
    *,
    cue_pause_seconds: float = CUE_PAUSE_SECONDS,
    folder: Path | None = None,
) -> str:
    """Return the transcript in one of FORMATS.

    Args:
        transcript: what to write.
        format_name: one of FORMATS.
        cue_pause_seconds: a pause this long ends a subtitle.
        folder: where the file will lie; eaf names its video relative to it. None leaves that out.

    Raises:
        UserError: the format is unknown.
    """
    if format_name == "eaf":
        return to_eaf(transcript, folder=folder)
    if format_name in _SUBTITLE_WRITERS:
        return _SUBTITLE_WRITERS[format_name](cues(transcript, pause_seconds=cue_pause_seconds))
    if format_name not in _WRITERS:
        raise UserError(f"format '{format_name}': unknown; allowed are {', '.join(FORMATS)}")
    return _WRITERS[format_name](transcript)


def parse_formats(values: Iterable[str]) -> tuple[str, ...]:
    """Return the formats asked for by repeated options or comma lists, each once.

    >>> parse_formats(["srt,txt", "srt"])
    ('srt', 'txt')
    """
    names = [name.strip().lower() for value in values for name in value.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--format {name}: unknown; allowed are {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def to_txt(transcript: Transcript) -> str:
    """One line per segment."""
    return "".join(f"{_one_line(segment.text)}\n" for segment in transcript.segments)


def to_json(transcript: Transcript) -> str:
    """The whole record, indented."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_jsonl(transcript: Transcript) -> str:
    """The whole record in one line."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def to_srt(subtitles: Iterable[Cue]) -> str:
    """SubRip subtitles."""
    # SubRip has no escape; an arrow inside a text would be taken for a time line.
    blocks = [
        f"{number}\n{_clock(cue.start_seconds, ',')} --> {_clock(cue.end_seconds, ',')}\n"
        f"{cue.text.replace('-->', '->')}\n"
        for number, cue in enumerate(subtitles, 1)
    ]
    return "\n".join(blocks)


def to_vtt(subtitles: Iterable[Cue]) -> str:
    """WebVTT subtitles."""
    blocks = [
        f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.end_seconds, '.')}\n{_escape(cue.text)}\n"
        for cue in subtitles
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def to_tsv(transcript: Transcript) -> str:
    """Header `start end text` and one segment a line, times in whole milliseconds."""
    rows = [
        f"{round(segment.start_seconds * 1000)}\t{round(segment.end_seconds * 1000)}\t{_one_line(segment.text)}\n"
        for segment in transcript.segments
    ]
    return "".join(["start\tend\ttext\n", *rows])


def to_ctm(transcript: Transcript) -> str:
    """NIST ctm: recording, channel, start, duration, word or gloss, confidence."""
    name = "_".join(Path(transcript.file).stem.split()) or "clip"
    return "".join(
        f"{name} 1 {word.start_seconds:.3f} {max(word.end_seconds - word.start_seconds, 0.0):.3f} "
        f"{'_'.join(word.text.split())} {word.score:.4f}\n"
        for word in transcript.words
    )


def cues(
    transcript: Transcript,
    *,
    max_chars: int = MAX_CUE_CHARS,
    max_seconds: float = MAX_CUE_SECONDS,
    min_seconds: float = MIN_CUE_SECONDS,
    pause_seconds: float = CUE_PAUSE_SECONDS,
) -> list[Cue]:
    """Split a transcript into subtitles: at segment ends and pauses, and before a subtitle gets too long to read.

    Starts and ends never go back, no cue is empty or of no length, and none overlaps the next; a short one stays up to
    `min_seconds` where the next leaves the time.
    """
    groups = [
        group
        for segment in transcript.segments
        for group in _groups(segment, max_chars=max_chars, max_seconds=max_seconds, pause_seconds=pause_seconds)
    ]
    starts = _rising([group[0].start_seconds for group in groups])
    found = []
    for index, group in enumerate(groups):
        end = max(group[-1].end_seconds, starts[index] + max(min_seconds, _TICK_SECONDS))
        if index + 1 < len(groups):
            end = min(end, starts[index + 1])
        text = _wrap(_one_line(" ".join(word.text for word in group)))
        found.append(Cue(starts[index], end, text))
    return found


def _groups(segment: Segment, *, max_chars: int, max_seconds: float, pause_seconds: float) -> list[list[Word]]:
    words = [word for word in segment.words if word.text.strip()]
    if not words:
        return []
    groups, num_chars = [[words[0]]], len(words[0].text)
    for previous, word in pairwise(words):
        num_chars += 1 + len(word.text)
        pause = word.start_seconds - previous.end_seconds
        if (
            pause >= pause_seconds
            or num_chars > max_chars
            or word.end_seconds - groups[-1][0].start_seconds > max_seconds
        ):
            groups.append([])
            num_chars = len(word.text)
        groups[-1].append(word)
    return groups


def _rising(starts: list[float]) -> list[float]:
    """The same times, each at least one tick after the one before, so that every cue has room."""
    rising: list[float] = []
    for start in starts:
        earliest = rising[-1] + _TICK_SECONDS if rising else 0.0
        rising.append(max(round(start, 3), earliest))
    return rising


def _wrap(text: str) -> str:
    """Two lines of about equal length where one would be too long."""
    if len(text) <= MAX_LINE_CHARS:
        return text
    spaces = [i for i, char in enumerate(text) if char == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "json": to_json,
    "jsonl": to_jsonl,
    "tsv": to_tsv,
    "ctm": to_ctm,
    "textgrid": to_textgrid,
}
_SUBTITLE_WRITERS: dict[str, Callable[[list[Cue]], str]] = {"srt": to_srt, "vtt": to_vtt}
