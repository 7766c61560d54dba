"""What an isolated recogniser says of a dictionary, looked at once and kept beside the mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave import command
from signwave.rundir import atomic_path
from slr.crosslingual.parts import Parts, fingerprint
from slr.crosslingual.signs import Signs
from slr.isolated.infer import IsolatedRecognizer, Seen

SIGNS_A_PART = 512


def look(recognizer: IsolatedRecognizer, signs: Signs, folder: str | Path, *, quiet: bool = True) -> Seen:
    """What the recogniser says of every sign; kept in the folder under a name made of both hashes.

    Goes on where it was killed, and reads what is there already, except that signs that couldn't be read are tried
    again: a disk may have been missing. Other signs or another recogniser have another file, so nothing is ever mixed
    up.

    Args:
        recognizer: looks.
        signs: what is looked at.
        folder: of the kept answers.
        quiet: no progress on stderr.
    """
    facts = {"recogniser_sha256": recognizer.digest, "signs_sha256": signs.sha256, "num_signs": len(signs.signs)}
    path = Path(folder) / f"{fingerprint(facts)[:16]}.npz"
    parts = Parts(path, facts, suffix=".npz")
    if path.exists():
        parts.remove()  # of a run that was killed when it was all but done
        return _again(recognizer, signs, path, _read(path), quiet=quiet)
    with parts.open(overwrite=True):
        starts = range(0, len(signs.signs), SIGNS_A_PART)
        todo = [number for number in range(len(starts)) if not parts.path(number).exists()]
        for number in command.progress(todo, f"looking at {signs.name}", quiet=quiet):
            first = starts[number]
            _write(parts.path(number), recognizer.see(signs.signs[first : first + SIGNS_A_PART]))
        pieces = [_read(parts.path(number)) for number in range(len(starts))]
        problems = {
            place + starts[number]: reason
            for number, piece in enumerate(pieces)
            for place, reason in piece.problems.items()
        }
        seen = Seen(
            np.concatenate([piece.embeddings for piece in pieces]),
            {name: np.concatenate([piece.log_probs[name] for piece in pieces]) for name in recognizer.languages},
            problems,
        )
        _write(path, seen)
        parts.remove()
    return seen


def _again(recognizer: IsolatedRecognizer, signs: Signs, path: Path, seen: Seen, *, quiet: bool) -> Seen:
    """Try the signs that couldn't be read."""
    places = sorted(seen.problems)
    if not places:
        return seen
    found = recognizer.see([signs.signs[place] for place in places], quiet=quiet)
    seen.embeddings[places] = found.embeddings
    for name, rows in seen.log_probs.items():
        rows[places] = found.log_probs[name]
    seen = seen._replace(problems={places[place]: reason for place, reason in found.problems.items()})
    if len(seen.problems) < len(places):
        _write(path, seen)
    return seen


def _write(path: Path, seen: Seen) -> None:
    problems = json.dumps({str(place): reason for place, reason in seen.problems.items()})
    arrays: dict[str, NDArray[Any]] = {
        "embeddings": seen.embeddings, "problems": np.asarray(problems), "languages": np.asarray(list(seen.log_probs)),
    }  # fmt: skip
    arrays |= {f"log_probs_{number}": values for number, values in enumerate(seen.log_probs.values())}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its keyword allow_pickle is not among the arrays


def _read(path: Path) -> Seen:
    with np.load(path, allow_pickle=False) as stored:
        languages = [str(name) for name in stored["languages"]]
        problems = json.loads(str(stored["problems"]))
        return Seen(
            stored["embeddings"],
            {name: stored[f"log_probs_{number}"] for number, name in enumerate(languages)},
            {int(place): reason for place, reason in problems.items()},
        )
