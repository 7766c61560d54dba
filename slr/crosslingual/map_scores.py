"""How much of a corpus a mapping names, and how good it is where that is known."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from signwave.errors import ManifestError
from slr.crosslingual.mapping import Mapping
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign


class Coverage(NamedTuple):
    """How much of the auxiliary corpus a mapping names; shares are fractions."""

    num_glosses: int
    num_mapped: int
    num_tokens: int
    num_mapped_tokens: int
    num_shared_targets: int
    """Target glosses that several sources map to."""

    @property
    def tokens(self) -> float:
        """Share of the tokens."""
        return self.num_mapped_tokens / max(1, self.num_tokens)


def coverage(mapping: Mapping, signs: Sequence[Sign]) -> Coverage:
    """Count the tokens of the auxiliary signs that a mapping names."""
    counts = Counter(sign.gloss for sign in signs if sign.gloss != BLANK_GLOSS)
    mapped = {gloss: mapping.target_of(gloss) for gloss in counts}
    kept = {gloss: target for gloss, target in mapped.items() if target is not None}
    targets = Counter(kept.values())
    return Coverage(
        num_glosses=len(counts),
        num_mapped=len(kept),
        num_tokens=sum(counts.values()),
        num_mapped_tokens=sum(counts[gloss] for gloss in kept),
        num_shared_targets=sum(size > 1 for size in targets.values()),
    )


class Agreement(NamedTuple):
    """A mapping against a table of the truth.

    precision: share of the kept rows that are right; a source without a counterpart is never right.
    recall: share of the sources that have a counterpart, which are kept and right.
    """

    num_kept: int
    num_right: int
    num_shared: int
    precision: float
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return self._asdict()


def read_truth(path: str | Path) -> dict[str, set[str]]:
    """Read which signs really look alike: two columns, auxiliary gloss and target gloss, with a heading.

    A source may have several rows, each of which is right. Lines that begin with "#" are passed over.

    Raises:
        ManifestError: the file can't be read, has no pair, or a row lacks a column.
    """
    found: dict[str, set[str]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            # A line that is passed over leaves an empty one, so that the numbers hold.
            reader = csv.reader(("\n" if line.startswith("#") else line for line in file), delimiter="\t")
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: can't be read ({error}); give a table of two columns") from error
    for number, row in rows[1:]:
        if len(row) < 2 or not row[0] or not row[1]:
            raise ManifestError(f"{path}:{number}: needs an auxiliary gloss and a target gloss, separated by a tab")
        found.setdefault(row[0], set()).add(row[1])
    if not found:
        raise ManifestError(
            f"{path}: holds no pair; give a heading and below it an auxiliary gloss and a target gloss a line, "
            "separated by a tab"
        )
    return found


def compare(mapping: Mapping, truth: MappingType[str, set[str]], *, sources: Sequence[str]) -> Agreement:
    """Score a mapping.

    Args:
        mapping: what was found.
        truth: auxiliary gloss → target glosses that look like it.
        sources: auxiliary glosses that count; those that were never seen can't be found.
    """
    known = set(sources)
    kept = {source: target for source, target in mapping.targets.items() if source in known}
    right = sum(target in truth.get(source, ()) for source, target in kept.items())
    shared = [source for source in truth if source in known]
    return Agreement(
        num_kept=len(kept),
        num_right=right,
        num_shared=len(shared),
        precision=right / max(1, len(kept)),
        recall=right / max(1, len(shared)),
    )
