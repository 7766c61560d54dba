"""Hypotheses and references of a run as CTM and STM, so that any scorer can count them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from signwave.rundir import atomic_write
from signwave.transcript import Word

_END_OF_TIME = "1.79769e+308"


class Recognised(NamedTuple):
    """One clip after recognition."""

    id: str
    reference: str
    words: Sequence[Word]
    person: str = ""


def save_hypotheses(run: str | Path, rows: Iterable[Recognised], *, split: str) -> Path:
    """Write `hypotheses/SPLIT.ctm` and `hypotheses/SPLIT.stm` into a run folder; returns the CTM's path.

    A clip with nothing recognised is a comment line `;; id`. Start times have leading zeros: the official script of
    Phoenix-2014 sorts them as text.

    Args:
        run: the run folder.
        rows: clips in order.
        split: "dev" or "test".
    """
    folder = Path(run) / "hypotheses"
    clips = list(rows)
    ctm = folder / f"{split}.ctm"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(ctm, "".join(line + "\n" for clip in clips for line in _ctm_lines(clip)))
    atomic_write(folder / f"{split}.stm", "".join(_stm_line(clip) + "\n" for clip in clips))
    return ctm


def _ctm_lines(clip: Recognised) -> list[str]:
    if not clip.words:
        return [f";; {clip.id}"]
    return [
        f"{clip.id} 1 {word.start_seconds:08.3f} {word.end_seconds - word.start_seconds:.3f} {word.text} "
        f"{word.score:.4f}"
        for word in clip.words
    ]


def _stm_line(clip: Recognised) -> str:
    person = "_".join(clip.person.split()) or "unknown"
    return f"{clip.id} 1 {person} 0.0 {_END_OF_TIME} {' '.join(clip.reference.split())}".rstrip()
