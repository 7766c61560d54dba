"""Does one set of clips leak into another? Texts, runs of glosses of one broadcast, signers and media in common.

Phoenix-2014 and 2014T were cut from the same broadcasts, each in its own way. A clip of one whose glosses stand
in a row in a clip of the other, in the same broadcast, shows the same performance. The share of A in B is the share of
A's glosses in such runs: for each clip of A the longest run of at least `min_run` glosses that some clip of B of the
same group has in a row. Marks that only one corpus writes (__ON__, loc-, -PLUSPLUS …) are taken off first. The same
figure with B's groups shuffled says how much of it is chance.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from signwave import manifest
from signwave.errors import UserError
from slr.scoring.broadcasts import broadcast
from slr.scoring.readers import Reference, read_references

Marks = Literal["auto", "phoenix", "keep"]
MARKS: tuple[str, ...] = get_args(Marks)
MIN_RUN = 4

_NUM_SHUFFLES = 5
_NAMED = 50
_MARK = re.compile(r"__.*__")
_PREFIX = re.compile(r"loc-|cl-|qu-|poss-|lh-")


class Overlap(NamedTuple):
    """The longest run that a clip of A shares with one clip of B of the same group."""

    id: str
    other_id: str
    num_run: int
    num_tokens: int

    @property
    def is_full(self) -> bool:
        """Whether the run is the entire clip."""
        return self.num_run == self.num_tokens


@dataclass(frozen=True)
class Direction:
    """How much of A is in B.

    Attributes:
        num_clips: clips of A.
        num_tokens: their glosses, without marks.
        overlaps: clips with a run in common, longest share first.
        control_share: the share with B's groups shuffled; None where there are not two groups.
        verbatim: ids whose glosses are those of a clip of B, in any group.
        same_media: ids whose file, or its checksum, is also in B.
    """

    num_clips: int
    num_tokens: int
    overlaps: tuple[Overlap, ...]
    control_share: float | None
    verbatim: tuple[str, ...]
    same_media: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of A's glosses in runs that B has."""
        return sum(overlap.num_run for overlap in self.overlaps) / max(self.num_tokens, 1)

    @property
    def num_full(self) -> int:
        """Clips of A that lie in one clip of B completely."""
        return sum(overlap.is_full for overlap in self.overlaps)

    @property
    def num_half(self) -> int:
        """Clips of which at least half, but not all, lies in one clip of B."""
        return sum(not o.is_full and 2 * o.num_run >= o.num_tokens for o in self.overlaps)

    @property
    def offending(self) -> tuple[str, ...]:
        """Ids with a run or a file in common: what to leave out."""
        return tuple(dict.fromkeys([*(overlap.id for overlap in self.overlaps), *self.same_media]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; shares are fractions."""
        return {
            "num_clips": self.num_clips,
            "num_tokens": self.num_tokens,
            "share": self.share,
            "control_share": self.control_share,
            "num_full": self.num_full,
            "num_half": self.num_half,
            "num_overlapping": len(self.overlaps),
            "num_verbatim": len(self.verbatim),
            "num_same_media": len(self.same_media),
            "overlaps": [{**o._asdict(), "full": o.is_full} for o in self.overlaps[:_NAMED]],
            "verbatim": list(self.verbatim[:_NAMED]),
            "same_media": list(self.same_media[:_NAMED]),
        }


@dataclass(frozen=True)
class Audit:
    """What two sets of clips have in common."""

    a_name: str
    b_name: str
    min_run: int
    has_groups: bool
    num_shared_groups: int
    shared_persons: tuple[str, ...]
    shared_ids: tuple[str, ...]
    a_in_b: Direction
    b_in_a: Direction

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file."""
        return {
            "a": self.a_name,
            "b": self.b_name,
            "min_run": self.min_run,
            "has_groups": self.has_groups,
            "num_shared_groups": self.num_shared_groups,
            "shared_persons": list(self.shared_persons),
            "num_shared_ids": len(self.shared_ids),
            "a_in_b": self.a_in_b.to_dict(),
            "b_in_a": self.b_in_a.to_dict(),
        }

    def summary(self) -> str:
        """Return the figures as lines for people."""
        lines = [
            *_direction_text(self.a_name, self.b_name, self.a_in_b, self.min_run, has_groups=self.has_groups),
            *_direction_text(self.b_name, self.a_name, self.b_in_a, self.min_run, has_groups=self.has_groups),
            f"groups (broadcasts) in both: {self.num_shared_groups}; ids in both: {len(self.shared_ids)}; signers in "
            f"both: {', '.join(self.shared_persons) or 'none'}",
        ]
        return "\n".join(lines)


def audit(a: str | Path, b: str | Path, *, min_run: int = MIN_RUN, marks: Marks = "auto", seed: int = 0) -> Audit:
    """Compare two sets of clips.

    Args:
        a: manifest, corpus csv or stm.
        b: likewise.
        min_run: glosses in a row that count as the same performance.
        marks: take the marks of the Phoenix corpora off ("phoenix"), leave them ("keep"), or off if the ids are theirs.
        seed: of the shuffled control.

    Raises:
        UserError: a file is wrong, or an option.
    """
    if marks not in MARKS:
        raise UserError(f"--marks {marks}: unknown; allowed are {', '.join(MARKS)}")
    if min_run < 1:
        raise UserError(f"--min-run {min_run}: must be at least 1")
    sides = read_references(a), read_references(b)
    off = marks == "phoenix" or (marks == "auto" and all(broadcast(clip_id) for side in sides for clip_id in side))
    clean: Callable[[Sequence[str]], list[str]] = without_marks if off else list
    first, second = (_clips(side, clean) for side in sides)
    return Audit(
        a_name=str(a),
        b_name=str(b),
        min_run=min_run,
        has_groups=any(clip.group for clip in (*first, *second)),
        num_shared_groups=len({clip.group for clip in first} & {clip.group for clip in second} - {""}),
        shared_persons=tuple(sorted({c.person for c in first} & {c.person for c in second} - {""})),
        shared_ids=tuple(sorted({c.id for c in first} & {c.id for c in second})),
        a_in_b=_direction(first, second, min_run, seed),
        b_in_a=_direction(second, first, min_run, seed),
    )


def write_without(source: str | Path, out: str | Path, ids: Iterable[str]) -> int:
    """Write a manifest without some of its clips; returns how many were left out.

    Raises:
        UserError: the source is no manifest.
    """
    source, out, dropped = Path(source), Path(out), set(ids)
    if not source.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"{source}: is no manifest, so none can be made from it; run `slr prepare` first")
    if out.resolve() == source.resolve():
        raise UserError(f"--drop {out}: is the manifest that is read; give another name")
    clips = list(manifest.read(source))
    kept = [clip for clip in clips if clip.id not in dropped]
    manifest.write(out, kept)
    return len(clips) - len(kept)


def without_marks(tokens: Sequence[str]) -> list[str]:
    """Glosses of the Phoenix corpora without what only one of them writes.

    >>> without_marks(["__ON__", "loc-NORD", "REGEN-PLUSPLUS"])
    ['NORD', 'REGEN']
    """
    bare = (_PREFIX.sub("", token).removesuffix("-PLUSPLUS") for token in tokens if not _MARK.fullmatch(token))
    return [token for token in bare if token]


class _Clip(NamedTuple):
    id: str
    tokens: list[str]
    group: str
    person: str
    media: frozenset[str]


def _clips(side: Mapping[str, Reference], clean: Callable[[Sequence[str]], list[str]]) -> list[_Clip]:
    return [
        _Clip(
            clip_id,
            clean(clip.tokens),
            broadcast(clip_id) or clip.group,
            clip.person,
            frozenset(name for name in (clip.media_path, clip.sha256) if name),
        )
        for clip_id, clip in side.items()
    ]


_Places = Mapping[tuple[str, ...], list[tuple[_Clip, int]]]
"""Run of glosses → where it stands."""


def _direction(first: list[_Clip], second: list[_Clip], min_run: int, seed: int) -> Direction:
    by_group: defaultdict[str, list[_Clip]] = defaultdict(list)
    for clip in second:
        by_group[clip.group].append(clip)
    places = {group: _places(clips, min_run) for group, clips in by_group.items()}
    overlaps = _overlaps(first, places, min_run)
    num_tokens = sum(len(clip.tokens) for clip in first)
    texts = {tuple(clip.tokens) for clip in second if clip.tokens}
    media = frozenset().union(*(clip.media for clip in second))
    return Direction(
        num_clips=len(first),
        num_tokens=num_tokens,
        overlaps=tuple(sorted(overlaps, key=lambda o: (-o.num_run / o.num_tokens, o.id))),
        control_share=_control(first, places, min_run, seed) / max(num_tokens, 1) if len(places) > 1 else None,
        verbatim=tuple(clip.id for clip in first if tuple(clip.tokens) in texts),
        same_media=tuple(clip.id for clip in first if clip.media & media),
    )


def _overlaps(first: list[_Clip], places: Mapping[str, _Places], min_run: int) -> list[Overlap]:
    """Clips with a run in common with a clip of the group of the same name."""
    found = []
    for clip in first:
        run, other = _longest_run(clip.tokens, places.get(clip.group, {}), min_run)
        if other is not None:
            found.append(Overlap(clip.id, other.id, run, len(clip.tokens)))
    return found


def _places(clips: list[_Clip], min_run: int) -> _Places:
    """Where each run of `min_run` glosses stands."""
    found: defaultdict[tuple[str, ...], list[tuple[_Clip, int]]] = defaultdict(list)
    for clip in clips:
        for start in range(len(clip.tokens) - min_run + 1):
            found[tuple(clip.tokens[start : start + min_run])].append((clip, start))
    return found


def _longest_run(tokens: list[str], places: _Places, min_run: int) -> tuple[int, _Clip | None]:
    best, where = 0, None
    for start in range(len(tokens) - min_run + 1):
        for clip, place in places.get(tuple(tokens[start : start + min_run]), ()):
            length = min_run
            while (
                start + length < len(tokens)
                and place + length < len(clip.tokens)
                and tokens[start + length] == clip.tokens[place + length]
            ):
                length += 1
            if length > best:
                best, where = length, clip
    return best, where


def _control(first: list[_Clip], places: Mapping[str, _Places], min_run: int, seed: int) -> float:
    """Glosses in runs when each group meets the clips of another one, averaged over shuffles."""
    rng = random.Random(seed)
    names = sorted(places)
    num_found = 0
    for _ in range(_NUM_SHUFFLES):
        order = rng.sample(names, len(names))
        # The next in a shuffled ring: no group meets itself.
        others = {name: places[order[(n + 1) % len(order)]] for n, name in enumerate(order)}
        num_found += sum(overlap.num_run for overlap in _overlaps(first, others, min_run))
    return num_found / _NUM_SHUFFLES


def _direction_text(one: str, other: str, found: Direction, min_run: int, *, has_groups: bool) -> list[str]:
    control = "no control" if found.control_share is None else f"{found.control_share:.2%} with groups shuffled"
    where = "of the same group" if has_groups else "anywhere (no broadcasts or groups are known)"
    return [
        f"{one} in {other}: {found.share:.1%} of {found.num_tokens} glosses are in runs of {min_run} or more {where} "
        f"({control})",
        f"  clips completely contained: {found.num_full}; at least half: {found.num_half}; of {found.num_clips}",
        f"  same text, any group: {len(found.verbatim)} clips; same media file: {len(found.same_media)} clips",
    ]
