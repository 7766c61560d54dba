"""What two splits share: speakers, prompts, ids, files, and recordings that are copies of each other.

A test set that shares any of them with training measures something easier than it says. What counts as a leak depends
on the claim: unseen speakers, unseen sentences, or only unseen recordings; so everything is counted and the caller says
which sorts matter.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from asr.corpora.ties import prompt_of
from asr.similar_index import ClipIndex
from asr.similarity import THRESHOLD, find_near_duplicates, table
from signwave import manifest
from signwave.command import Failure
from signwave.errors import UserError
from signwave.manifest import Clip

Kind = Literal["speaker", "prompt", "id", "file", "audio"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_NUM_EXAMPLES = 5

_Keys = Callable[[Clip], Sequence[str]]


class Shared(NamedTuple):
    """One thing that two splits share.

    key: the speaker, the normalised text, the id, the file; for `audio` the two ids.
    ids, other_ids: the clips of either side.
    score: of a near-duplicate, up to 1; 1 for the others.
    """

    key: str
    ids: list[str]
    other_ids: list[str]
    score: float = 1.0


@dataclass(frozen=True)
class Side:
    """How much of one split is concerned."""

    num_clips: int
    share: float
    hours: float

    @classmethod
    def of(cls, clips: Sequence[Clip], ids: set[str]) -> Side:
        """Count the clips that have these ids."""
        concerned = [clip for clip in clips if clip.id in ids]
        seconds = sum(clip.duration_seconds or 0.0 for clip in concerned)
        return cls(len(concerned), len(concerned) / max(len(clips), 1), seconds / 3600)


@dataclass(frozen=True)
class Leak:
    """What two splits share of one sort.

    Attributes:
        kind: speaker, prompt, id, file or audio.
        name, other_name: the splits.
        shared: everything, the best scores first.
        side, other_side: how much of either is concerned.
    """

    kind: Kind
    name: str
    other_name: str
    shared: list[Shared]
    side: Side
    other_side: Side

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with a few examples."""
        return {
            "kind": self.kind,
            "splits": [self.name, self.other_name],
            "num_shared": len(self.shared),
            "concerned": [vars(self.side), vars(self.other_side)],
            "examples": [
                {"key": one.key, "ids": [one.ids[0], one.other_ids[0]], "score": round(one.score, 4)}
                for one in self.shared[:_NUM_EXAMPLES]
            ],
        }

    def summary(self) -> str:
        """One line for people."""
        sides = [f"{side.num_clips} clips ({side.share:.1%}, {side.hours:.3f} h) of {name}"
                 for name, side in ((self.name, self.side), (self.other_name, self.other_side))]  # fmt: skip
        example = f"; such as {self.shared[0].key[:60]}" if self.shared else ""
        return f"{self.kind:>8}  {len(self.shared)} shared: {', '.join(sides)}{example}"


@dataclass(frozen=True)
class LeakReport:
    """What the splits share, pair by pair.

    Attributes:
        leaks: of each pair of splits and each sort that was looked for, also those with nothing shared.
        unknown: split → how many clips have no speaker, and no transcript: of them nothing can be said.
        failures: recordings that couldn't be listened to.
    """

    leaks: list[Leak]
    unknown: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def found(self, kinds: Sequence[str] = KINDS) -> list[Leak]:
        """Leaks of these sorts that share something."""
        return [leak for leak in self.leaks if leak.kind in kinds and leak.shared]

    def ids_of(self, name: str, kinds: Sequence[str] = KINDS) -> set[str]:
        """Clips of a split that any other split shares something with."""
        mine = [one.ids for leak in self.found(kinds) if leak.name == name for one in leak.shared]
        mine += [one.other_ids for leak in self.found(kinds) if leak.other_name == name for one in leak.shared]
        return set(itertools.chain.from_iterable(mine))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file."""
        return {
            "leaks": [leak.to_dict() for leak in self.leaks],
            "unknown": self.unknown,
            "failures": [vars(failure) for failure in self.failures],
        }

    def summary(self) -> str:
        """The report as lines for people."""
        lines = []
        for pair, leaks in itertools.groupby(self.leaks, key=lambda leak: (leak.name, leak.other_name)):
            lines += [f"{pair[0]} and {pair[1]}", *(leak.summary() for leak in leaks)]
        for name, counts in self.unknown.items():
            lines += [f"{name}: {number} clips have no {what}" for what, number in counts.items() if number]
        return "\n".join(lines)

    def table(self) -> str:
        """Everything that is shared as tab-separated text."""
        rows = [
            (leak.kind, leak.name, leak.other_name, one.key, one.score, len(one.ids), len(one.other_ids), one.ids[0],
             one.other_ids[0])
            for leak in self.leaks for one in leak.shared
        ]  # fmt: skip
        header = ["kind", "split", "other_split", "key", "score", "num_clips", "num_other_clips", "id", "other_id"]
        return table(header, rows)


def find_leaks(
    splits: Mapping[str, Sequence[Clip]],
    *,
    index: ClipIndex | None = None,
    threshold: float = THRESHOLD,
    quiet: bool = True,
) -> LeakReport:
    """Compare every pair of splits.

    Args:
        splits: name → clips, at least two.
        index: of fingerprints, for near-duplicates; None doesn't listen.
        threshold: lowest score of a near-duplicate.
        quiet: no progress on stderr.

    Raises:
        UserError: fewer than two splits.
    """
    if len(splits) < 2:
        raise UserError(f"{', '.join(splits) or 'nothing'}: one set shares nothing; give two manifests or more")
    leaks: list[Leak] = []
    failures: dict[str, Failure] = {}
    for (name, clips), (other_name, others) in itertools.combinations(splits.items(), 2):
        found: dict[Kind, list[Shared]] = {kind: _shared(clips, others, keys) for kind, keys in _KEYS.items()}
        if index is not None:
            duplicates = find_near_duplicates(index, clips, against=others, threshold=threshold, quiet=quiet)
            found["audio"] = [
                Shared(f"{pair.id} ~ {pair.other_id}", [pair.id], [pair.other_id], pair.score)
                for pair in duplicates.pairs
            ]
            sides = [duplicates.embedded, *([duplicates.against] if duplicates.against else [])]
            failures.update({failure.file: failure for side in sides for failure in side.failures})
        for kind, shared in found.items():
            side = Side.of(clips, {id_ for one in shared for id_ in one.ids})
            other_side = Side.of(others, {id_ for one in shared for id_ in one.other_ids})
            leaks.append(Leak(kind, name, other_name, shared, side, other_side))
    unknown = {
        name: {
            "speaker": sum(not clip.person for clip in clips),
            "transcript": sum(not clip.text for clip in clips),
        }
        for name, clips in splits.items()
    }
    return LeakReport(leaks, unknown, list(failures.values()))


def _file_keys(clip: Clip) -> list[str]:
    return [os.path.realpath(clip.path), *([clip.sha256] if clip.sha256 else [])]


def _prompt_keys(clip: Clip) -> list[str]:
    prompt = prompt_of(clip)
    return [prompt] if prompt else []


_KEYS: dict[Kind, _Keys] = {
    "speaker": lambda clip: [clip.person] if clip.person else [],
    "prompt": _prompt_keys,
    "id": lambda clip: [clip.id],
    "file": _file_keys,
}


def _shared(clips: Sequence[Clip], others: Sequence[Clip], keys: _Keys) -> list[Shared]:
    mine, theirs = _by_key(clips, keys), _by_key(others, keys)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], Shared] = {}
    for key in sorted(mine.keys() & theirs.keys()):
        # a file is known by its path and by its bytes: what concerns the very same clips is one thing
        found.setdefault((tuple(mine[key]), tuple(theirs[key])), Shared(key, mine[key], theirs[key]))
    return list(found.values())


def _by_key(clips: Sequence[Clip], keys: _Keys) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for clip in clips:
        for key in keys(clip):
            found[key].append(clip.id)
    return found


def read_splits(paths: Sequence[Path]) -> dict[str, list[Clip]]:
    """Read manifests, and folders of them as `asr prepare` makes; name → clips.

    A split is called like its file, or like its path where two files have one name.

    Raises:
        UserError: a folder without a manifest, or the same manifest twice.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.jsonl.gz")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: holds no manifest (*.jsonl.gz); give manifests, or a folder of `asr prepare`")
        files += inside
    if len({file.resolve() for file in files}) < len(files):
        raise UserError(f"{', '.join(map(str, files))}: one of them twice; everything would be shared")
    stems = [file.name.removesuffix(".gz").removesuffix(".jsonl") for file in files]
    names = [stem if stems.count(stem) == 1 else str(file) for stem, file in zip(stems, files, strict=True)]
    return {name: list(manifest.read(file)) for name, file in zip(names, files, strict=True)}
