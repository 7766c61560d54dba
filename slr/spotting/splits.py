"""Which clips may be spotted in: by default those of training alone, so that nothing of dev and test is learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signwave import manifest as manifests
from signwave.errors import UserError
from signwave.manifest import Clip

SPLITS = ("train", "dev", "test")
UNNAMED = "unnamed"
"""Split of a clip whose row names none, and neither does its manifest's file name."""
_ALSO = {"val": "dev", "valid": "dev", "validation": "dev"}


@dataclass(frozen=True)
class Chosen:
    """The clips of some manifests, by split.

    Attributes:
        clips: those that are used.
        manifest: that holds them; "" where they come from several.
        num_refused: split → clips of it that aren't used.
    """

    clips: list[Clip] = field(repr=False)
    manifest: str
    num_refused: dict[str, int]


def parse_splits(text: str) -> tuple[str, ...]:
    """The splits of --splits.

    Raises:
        UserError: one isn't known.
    """
    found = tuple(dict.fromkeys(_ALSO.get(name.strip(), name.strip()) for name in text.split(",") if name.strip()))
    wrong = [name for name in found if name not in (*SPLITS, UNNAMED)]
    if wrong or not found:
        raise UserError(
            f"--splits {text}: '{wrong[0] if wrong else ''}' is no split; allowed are {', '.join((*SPLITS, UNNAMED))}, "
            "with commas between"
        )
    return found


def split_of(clip: Clip, manifest: str | Path) -> str:
    """The split of a clip: its row's, else the one that its manifest is named after, else UNNAMED."""
    stem = Path(manifest).name.split(".")[0]
    name = clip.split or stem
    name = _ALSO.get(name, name)
    return name if clip.split or name in SPLITS else UNNAMED


def choose(paths: Sequence[str | Path], splits: Sequence[str], *, limit: int | None = None) -> Chosen:
    """Read manifests and keep the clips of some splits.

    Args:
        paths: of the manifests.
        splits: kept.
        limit: keep so many clips at most.

    Raises:
        UserError: nothing is kept, or two clips that are kept have one id.
    """
    kept: dict[str, Clip] = {}
    refused: Counter[str] = Counter()
    for path in paths:
        for clip in manifests.read(path):
            split = split_of(clip, path)
            if split not in splits:
                refused[split] += 1
            elif clip.id in kept:
                raise UserError(
                    f"{path}: clip '{clip.id}' is there a second time; a table tells clips by their id: spot in each "
                    "manifest by itself"
                )
            else:
                kept[clip.id] = clip
    if not kept:
        there = ", ".join(f"{number} of {name}" for name, number in sorted(refused.items())) or "none"
        raise UserError(
            f"{', '.join(map(str, paths))}: no clip of {', '.join(splits)} ({there}); --splits says which may be used"
        )
    alone = str(paths[0]) if len(paths) == 1 else ""
    return Chosen(list(kept.values())[:limit], alone, dict(sorted(refused.items())))
