"""Splits that share no speaker, no prompt, or neither: clips that hang together stay together, the rest is chance.

Clips of one file always hang together, whatever is asked for: the same path, or the same bytes under two names.
By `speaker` those of one person do, by `prompt` those of one normalised text or one group. What hangs together is a
component; the components are drawn in a seeded order. Where speakers share prompts and prompts share speakers one
component may hold nearly everything; then `drop` makes splits by what is named first and leaves out of the larger
split what would share the second.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from asr.corpora.ties import Key, Tie, components, ties_of
from signwave.errors import UserError
from signwave.manifest import Clip
from signwave.prepare import Finished, Problem

Conflicts = Literal["join", "drop"]
DEFAULT_SIZES = "train=0.8,dev=0.1,test=0.1"

_MUCH_TOO_SMALL = 0.5  # of the size asked for
_NEARLY_FULL = 0.9


@dataclass(frozen=True)
class Drawn:
    """Clips with their new splits.

    Attributes:
        clips: in the order given, those that were left out missing.
        problems: what was left out: ids given to two clips, and with `drop` what would have been shared.
        facts: plain values for a report: number of components, size of the largest, sizes asked for and got.
        warnings: lines for people.
    """

    clips: list[Clip]
    problems: list[Problem] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Splitter:
    """Draw splits anew; a `finish` of `signwave.prepare.run_prepare`.

    Attributes:
        by: what no two splits may share.
        sizes: split → share of the hours (of the clips where a length is unknown).
        seed: of the order in which components are drawn.
        conflicts: with two of `by`: join what is tied by either, or drop clips.
        drawn: the outcome, once it was called.
    """

    by: Sequence[Key]
    sizes: Mapping[str, float]
    seed: int = 0
    conflicts: Conflicts = "join"
    drawn: Drawn | None = None

    @classmethod
    def of(cls, by: str, sizes: str = DEFAULT_SIZES, *, seed: int = 0, conflicts: str = "join") -> Splitter:
        """Make one from the texts of options: `speaker,prompt` and `train=0.8,dev=0.1,test=0.1`.

        Raises:
            UserError: unknown names, or sizes that don't add up to 1.
        """
        keys = [name.strip() for name in by.split(",") if name.strip()]
        if not keys or not set(keys) <= set(get_args(Key)):
            raise UserError(f"--split-by {by}: allowed are {' and '.join(get_args(Key))}, several with commas")
        if conflicts not in get_args(Conflicts):
            raise UserError(f"--split-conflicts {conflicts}: unknown; allowed are {', '.join(get_args(Conflicts))}")
        if conflicts == "drop" and len(keys) < 2:
            raise UserError("--split-conflicts drop: needs two of --split-by; with one nothing is in conflict")
        return cls(keys, parse_sizes(sizes), seed, conflicts)  # type: ignore[arg-type]

    def __call__(self, clips: list[Clip]) -> Finished:
        """Give every clip its split.

        Raises:
            UserError: a split would be empty.
        """
        self.drawn = draw(clips, by=self.by, sizes=self.sizes, seed=self.seed, conflicts=self.conflicts)
        return Finished(self.drawn.clips, self.drawn.problems)


def parse_sizes(text: str) -> dict[str, float]:
    """Return the split sizes of a text such as `train=0.8,dev=0.1,test=0.1`.

    Raises:
        UserError: it is something else, or the sizes don't add up to 1.
    """
    sizes: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            sizes[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or not 0 < sizes[name.strip()] < 1:
            raise UserError(f"--split-sizes {text}: '{part}' is not NAME=SHARE with a share between 0 and 1")
    if len(sizes) < 2 or abs(sum(sizes.values()) - 1) > 1e-6:
        raise UserError(f"--split-sizes {text}: expected at least two splits whose shares add up to 1")
    return sizes


def draw(
    clips: Sequence[Clip],
    *,
    by: Sequence[Key],
    sizes: Mapping[str, float],
    seed: int = 0,
    conflicts: Conflicts = "join",
) -> Drawn:
    """Draw splits that share none of `by`; see `Splitter`. Equal clips, in several splits so far, count once.

    Raises:
        UserError: a split would be empty.
    """
    pool, problems = _distinct(clips)
    keys = list(by[:1]) if conflicts == "drop" else list(by)
    parts = components([ties_of(clip, keys) for clip in pool])
    weights = _weights(pool)
    names = _assign(pool, parts, weights, sizes, seed)
    drawn = [replace(clip, split=name) for clip, name in zip(pool, names, strict=True)]
    if conflicts == "drop":
        drawn, dropped = _without_shared(drawn, by[1:], sizes)
        problems += dropped
    facts = _facts(drawn, parts, sizes, by=by, seed=seed, num_dropped=len(pool) - len(drawn))
    return Drawn(drawn, problems, facts, _warnings(drawn, facts, by))


def _distinct(clips: Sequence[Clip]) -> tuple[list[Clip], list[Problem]]:
    seen: dict[str, Clip] = {}
    problems = []
    for clip in clips:
        first = seen.setdefault(clip.id, clip)
        if (first.path, first.start_seconds, first.end_seconds) != (clip.path, clip.start_seconds, clip.end_seconds):
            problems.append(Problem(clip.path, f"id '{clip.id}' is also that of {first.path}", "duplicate_id"))
    return list(seen.values()), problems


def _weights(clips: Sequence[Clip]) -> list[float]:
    """Seconds of each clip, or 1 each where a length is unknown."""
    seconds = [clip.duration_seconds for clip in clips]
    return [1.0] * len(clips) if None in seconds else [value or 0.0 for value in seconds]


def _assign(
    clips: Sequence[Clip],
    parts: Sequence[Sequence[int]],
    weights: Sequence[float],
    sizes: Mapping[str, float],
    seed: int,
) -> list[str]:
    """The split of each clip: small splits are filled first, the largest takes what is left."""
    *small, largest = sorted(sizes, key=lambda name: sizes[name])
    order = sorted(parts, key=lambda part: _rank(min(clips[item].id for item in part), seed))
    total = sum(weights)
    names = [largest] * len(clips)
    for name in small:
        wanted = sizes[name] * total
        taken = _fill(order, [sum(weights[item] for item in part) for part in order], wanted)
        for item in itertools.chain.from_iterable(order[place] for place in taken):
            names[item] = name
        order = [part for place, part in enumerate(order) if place not in taken]
    _check_none_empty(names, parts, sizes)
    return names


def _fill(order: Sequence[Sequence[int]], weights: Sequence[float], wanted: float) -> set[int]:
    """Places of the components of a split: those that fit, then, where much is missing, one that brings it closer."""
    taken: set[int] = set()
    got = 0.0
    for stretch, enough in ((1.0, 1.0), (2.0, _NEARLY_FULL)):
        for place in range(len(order)):
            if got < enough * wanted and place not in taken and weights[place] <= stretch * (wanted - got):
                taken.add(place)
                got += weights[place]
    return taken


def _rank(id_: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{id_}".encode("utf-8", "surrogateescape")).hexdigest()


def _check_none_empty(names: Sequence[str], parts: Sequence[Sequence[int]], sizes: Mapping[str, float]) -> None:
    empty = sorted(set(sizes) - set(names))
    if empty:
        most = max((len(part) for part in parts), default=0)
        raise UserError(
            f"--split-by: '{empty[0]}' stays empty: {len(names)} clips hang together in {len(parts)} parts, one of "
            f"{most} clips; split by one of speaker and prompt, --split-conflicts drop, or other sizes"
        )


def _without_shared(
    clips: Sequence[Clip], by: Sequence[Key], sizes: Mapping[str, float]
) -> tuple[list[Clip], list[Problem]]:
    """Leave out of the larger of two splits what both would share."""
    owner: dict[Tie, str] = {}
    for name in sorted(sizes, key=lambda name: sizes[name]):
        for clip in clips:
            if clip.split == name:
                for tie in ties_of(clip, by):
                    owner.setdefault(tie, name)
    kept, problems = [], []
    for clip in clips:
        taken = next((owner[tie] for tie in ties_of(clip, by) if owner[tie] != clip.split), "")
        if taken:
            reason = f"'{clip.id}' shares its {' or '.join(by)} with '{taken}', so it is left out of '{clip.split}'"
            problems.append(Problem(clip.path, reason, "split_conflict"))
        else:
            kept.append(clip)
    return kept, problems


def _facts(
    clips: Sequence[Clip],
    parts: Sequence[Sequence[int]],
    sizes: Mapping[str, float],
    *,
    by: Sequence[Key],
    seed: int,
    num_dropped: int,
) -> dict[str, Any]:
    weights = _weights(clips)
    total = sum(weights) or 1.0
    got = {name: sum(w for clip, w in zip(clips, weights, strict=True) if clip.split == name) for name in sizes}
    return {
        "by": list(by),
        "seed": seed,
        "num_components": len(parts),
        "largest_component": max(map(len, parts), default=0),
        "shares_wanted": dict(sizes),
        "shares": {name: round(weight / total, 6) for name, weight in got.items()},
        "num_without_speaker": sum(not clip.person for clip in clips),
        "num_dropped": num_dropped,
    }


def _warnings(clips: Sequence[Clip], facts: Mapping[str, Any], by: Sequence[Key]) -> list[str]:
    lines = [
        f"split '{name}' got {facts['shares'][name]:.1%} where {wanted:.1%} were asked for: the largest component has "
        f"{facts['largest_component']} of {len(clips)} clips"
        for name, wanted in facts["shares_wanted"].items()
        if facts["shares"][name] < _MUCH_TOO_SMALL * wanted
    ]
    if "speaker" in by and facts["num_without_speaker"]:
        lines.append(
            f"{facts['num_without_speaker']} of {len(clips)} clips have no speaker, who may be in several splits"
        )
    return lines
