"""Isolated signs named by a trained recogniser, and how often it was right where the names are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.manifest import Clip
from slr.crosslingual.signs import Sign, load_signs
from slr.reading import POSE_SUFFIX

if TYPE_CHECKING:
    from slr.isolated.infer import Seen

_TABLES = (".parquet", ".jsonl", ".jsonl.gz")


class Guess(NamedTuple):
    """A gloss and its calibrated probability in [0, 1]."""

    gloss: str
    probability: float


class SeesSigns(Protocol):
    """What is asked of a recogniser; slr.isolated.infer.IsolatedRecognizer is one."""

    sources: dict[str, dict[str, str]]
    """Language → "sha256" of the signs that it was trained on."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Names of its classifiers."""

    def glosses(self, language: str) -> tuple[str, ...]:
        """Classes of a language, the blank first."""

    def see(self, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
        """Look at signs."""


@dataclass(frozen=True)
class Request:
    """Signs of one argument of the command line.

    Attributes:
        source: the argument.
        language: of its glosses; "" where it is a clip, whose sign nobody knows.
        signs: what is looked at.
        problem: why it can't be looked at.
        sha256: of the table or manifest, as `slr.crosslingual.signs.Signs` has it.
    """

    source: str
    language: str
    signs: Sequence[Sign] = field(repr=False)
    problem: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Naming:
    """What was found.

    Attributes:
        rows: a sign each: source, clip, start_seconds, end_seconds (None is the end of the clip), gloss ("" where it
            isn't known), and best: language → guesses, the likeliest first.
        figures: a table or manifest each: source, its own language, the language scored as, and rates; see `score`.
        problems: a sign each that couldn't be looked at: source, clip, start_seconds and reason.
        notes: what the user should know.
    """

    rows: list[dict[str, Any]]
    figures: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    notes: list[str]


def is_table(argument: str) -> bool:
    """Is it a table of segments or a manifest, rather than a clip?"""
    return argument.lower().endswith(_TABLES)


def request_of_table(argument: str) -> Request:
    """The signs of a table of segments or a manifest of isolated clips, without stretches in which nothing is signed.

    Raises:
        UserError: it can't be read, or is no list of single signs.
    """
    if not Path(argument).is_file():
        raise UserError(f"{argument}: no such file; give a table of `slr align` or a manifest of `slr prepare`")
    found = load_signs(argument, with_blanks=False)
    return Request(argument, found.name, found.signs, sha256=found.sha256)


def request_of_clip(argument: str) -> Request:
    """A video or `.pose` file that shows one sign from end to end."""
    from signwave.media.poses import probe_pose
    from signwave.media.video import open_video

    try:
        if Path(argument).suffix.lower() == POSE_SUFFIX:
            info = probe_pose(argument)
            clip = Clip(id=argument, path=argument, kind="pose", num_frames=info.num_frames, rate_hz=info.fps)
        else:
            with open_video(argument) as video:
                clip = Clip(
                    id=argument, path=argument, kind="video", num_frames=video.num_frames, rate_hz=video.fps
                )  # fmt: skip
    except UserError as error:
        return Request(argument, "", [], str(error))
    return Request(argument, "", [Sign(clip, "")])


def name_signs(
    recognizer: SeesSigns,
    requests: Sequence[Request],
    *,
    languages: Sequence[str] = (),
    num_best: int = 5,
    limit: int | None = None,
    quiet: bool = True,
) -> Naming:
    """Look at signs and say what each language calls them.

    Args:
        recognizer: a model of isolated signs.
        requests: what is looked at.
        languages: classifiers that are asked; none means all.
        num_best: guesses for each.
        limit: look at so many signs at most.
        quiet: no progress on stderr.
    """
    chosen = tuple(languages) or recognizer.languages
    found = Naming([], [], [], [])
    left = limit
    for request in requests:
        if request.problem:
            found.problems.append(_problem(request.source, request.source, 0.0, request.problem))
        signs = list(request.signs)[:left]
        left = None if left is None else left - len(signs)
        if not signs:
            continue
        seen = recognizer.see(signs, quiet=quiet)
        best = {name: _best(seen.log_probs[name], recognizer.glosses(name), num_best) for name in chosen}
        for place, sign in enumerate(signs):
            if place in seen.problems:
                reason = seen.problems[place]
                found.problems.append(_problem(request.source, sign.clip.id, sign.start_seconds, reason))
                continue
            found.rows.append(_row(request, sign, {name: best[name][place] for name in chosen}))
        if request.language:
            _add_figures(found, recognizer, request, signs, seen, chosen)
    return found


def score(
    log_probs: NDArray[np.float32], glosses: Sequence[str], signs: Sequence[Sign], problems: Mapping[int, str]
) -> dict[str, Any]:
    """Rates of one language over signs whose glosses are known.

    Signs that couldn't be read and those whose gloss the classifier doesn't have are left out of the rates and counted
    as "num_failed" and "num_unknown".

    Args:
        log_probs: (N, V) float32, natural log.
        glosses: of the V classes.
        signs: N signs.
        problems: place of a sign → why it couldn't be read.

    Returns:
        These counts and what `slr.isolated.figures.figures` finds: top1 and top5 over signs, class_top1 and class_top5
        as means over glosses, fractions.
    """
    import torch

    from slr.isolated.figures import figures

    classes = {gloss: number for number, gloss in enumerate(glosses)}
    readable = [place for place in range(len(signs)) if place not in problems]
    known = [place for place in readable if signs[place].gloss in classes]
    rates = figures(
        torch.from_numpy(np.ascontiguousarray(log_probs[known])),
        [classes[signs[place].gloss] for place in known],
        [signs[place].origin for place in known],
    )
    del rates["num_blanks"]  # they were left out
    return {**rates, "num_unknown": len(readable) - len(known), "num_failed": len(signs) - len(readable)}


def _best(log_probs: NDArray[np.float32], glosses: Sequence[str], num_best: int) -> list[list[Guess]]:
    order = np.argsort(-log_probs, axis=1, kind="stable")[:, :num_best]
    return [
        [Guess(glosses[int(c)], float(np.exp(row[c]))) for c in places]
        for row, places in zip(log_probs, order, strict=True)
    ]


def _problem(source: str, clip: str, start_seconds: float, reason: str) -> dict[str, Any]:
    return {"source": source, "clip": clip, "start_seconds": round(start_seconds, 6), "reason": reason}


def _row(request: Request, sign: Sign, best: dict[str, list[Guess]]) -> dict[str, Any]:
    return {
        "source": request.source,
        "clip": sign.clip.id,
        "start_seconds": round(sign.start_seconds, 6),
        "end_seconds": None if sign.end_seconds is None else round(sign.end_seconds, 6),
        "gloss": sign.gloss,
        "best": {name: [guess._asdict() for guess in guesses] for name, guesses in best.items()},
    }


def _add_figures(
    found: Naming, recognizer: SeesSigns, request: Request, signs: Sequence[Sign], seen: Seen, chosen: tuple[str, ...]
) -> None:
    language = request.language if request.language in chosen else chosen[0] if len(chosen) == 1 else ""
    if not language:
        known = ", ".join(chosen)
        found.notes.append(
            f"{request.source}: its language '{request.language}' is none of {known}; not scored, give --language NAME "
            "to compare its glosses with those of NAME"
        )
        return
    if request.sha256 and request.sha256 in [one.get("sha256") for one in recognizer.sources.values()]:
        found.notes.append(f"{request.source}: the model was trained on most of these signs; its rates mean little")
    rates = score(seen.log_probs[language], recognizer.glosses(language), signs, seen.problems)
    found.figures.append({"source": request.source, "own_language": request.language, "language": language, **rates})
