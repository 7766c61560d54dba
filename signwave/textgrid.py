"""Transcripts for Praat (https://www.praat.org): a TextGrid with interval tiers of words or glosses and confidences."""

from __future__ import annotations

from collections.abc import Sequence

from signwave.eaf import CONFIDENCE_TIER, TIER, intervals
from signwave.transcript import Transcript

_LEAST_MS = 1


def to_textgrid(transcript: Transcript) -> str:
    """Praat's long text format; the tiers "glosses" and "confidence" cover the whole clip, gaps as empty intervals."""
    annotations = intervals(transcript)
    end_ms = max(round(transcript.duration_seconds * 1000), annotations[-1].end_ms if annotations else 0, _LEAST_MS)
    glosses = [(one.start_ms, one.end_ms, one.text) for one in annotations]
    confidences = [(one.start_ms, one.end_ms, f"{one.score:.4f}") for one in annotations]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end_ms / 1000:.3f}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
        *_tier(1, TIER, _covering(glosses, end_ms), end_ms),
        *_tier(2, CONFIDENCE_TIER, _covering(confidences, end_ms), end_ms),
    ]
    return "\n".join(lines) + "\n"


def _covering(marked: Sequence[tuple[int, int, str]], end_ms: int) -> list[tuple[int, int, str]]:
    """The same intervals with empty ones between them, so that every moment lies in one."""
    whole: list[tuple[int, int, str]] = []
    now = 0
    for start, end, text in marked:
        if start > now:
            whole.append((now, start, ""))
        whole.append((start, end, text))
        now = end
    if now < end_ms:
        whole.append((now, end_ms, ""))
    return whole


def _tier(number: int, name: str, whole: Sequence[tuple[int, int, str]], end_ms: int) -> list[str]:
    lines = [
        f"    item [{number}]:",
        '        class = "IntervalTier"',
        f'        name = "{name}"',
        "        xmin = 0",
        f"        xmax = {end_ms / 1000:.3f}",
        f"        intervals: size = {len(whole)}",
    ]
    for place, (start, end, text) in enumerate(whole, 1):
        doubled = text.replace('"', '""')  # Praat's way to write a quote inside a text
        lines += [
            f"        intervals [{place}]:",
            f"            xmin = {start / 1000:.3f}",
            f"            xmax = {end / 1000:.3f}",
            f'            text = "{doubled}"',
        ]
    return lines
