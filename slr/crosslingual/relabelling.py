"""Sentences of an auxiliary corpus in glosses of the target language, as far as a mapping goes."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from signwave.ctc import Spec
from signwave.errors import UserError
from signwave.manifest import Clip
from slr.crosslingual.mapping import Mapping

Unmapped = Literal["wildcard", "delete", "drop"]
Wildcard = Literal["any", "sign"]
WILDCARD = "*"
"""How a relabelled sentence writes a sign without a counterpart."""
MIXTURE = "~"
"""How it writes one with several: before the auxiliary gloss, whose weights lie beside the manifest."""


@dataclass(frozen=True)
class Relabelling:
    """How sentences are relabelled.

    Attributes:
        unmapped: what becomes of a sign without a target: "wildcard" writes `*`, on which CTC may spend what it wants;
            "delete" leaves the sign out, so that it is learnt as a blank or as its neighbour; "drop" leaves out the
            sentence.
        wildcard: "any" asks nothing of the steps under a wildcard, blanks included; "sign" asks for a sign under each,
            whichever. The first is better where what isn't mapped really looks like nothing, the second where the
            mapping missed much: then "any" lets the model pass over signs that it should know.
        top: target glosses that a sign may stand for, with their weights; 1 takes the best alone.
        min_share: sentences of which a smaller share of the signs is mapped are dropped; one without any always is.
        stride: frames per step of the model to be trained; sentences that need more steps than they have are dropped.
    """

    unmapped: Unmapped = "wildcard"
    wildcard: Wildcard = "any"
    top: int = 1
    min_share: float = 0.0
    stride: int = 4

    def __post_init__(self) -> None:
        if self.unmapped not in ("wildcard", "delete", "drop") or self.wildcard not in ("any", "sign"):
            raise UserError(f"unmapped signs: got {self.unmapped} and {self.wildcard}; see `slr relabel --help`")
        if self.top < 1 or self.stride < 1 or not 0 <= self.min_share <= 1:
            raise UserError(
                f"top and stride must be at least 1 and min_share in [0, 1], got {self.top}, {self.stride} and "
                f"{self.min_share}"
            )


class Dropped(NamedTuple):
    """A sentence that is left out, and why: "unmapped", "no gloss" or "too short"."""

    clip: str
    reason: str
    text: str


@dataclass
class RelabelReport:
    """What `relabel_manifest` did; shares are fractions of the tokens of the sentences that stay.

    Attributes:
        out: the folder.
        num_clips: sentences of the manifest.
        num_kept: sentences that stay.
        num_dropped: reason → sentences.
        num_tokens: signs of the sentences that stay.
        num_mapped: of them, signs that got a target gloss.
        num_soft: of these, signs that stand for several.
        num_wildcards: signs under a wildcard.
        num_deleted: signs that were left out.
        num_repeats: equal labels side by side that weren't there before, each of which costs CTC a blank between them.
        num_targets: different target glosses.
        is_old: the folder was there already.
    """

    out: str
    num_clips: int = 0
    num_kept: int = 0
    num_dropped: dict[str, int] = field(default_factory=dict)
    num_tokens: int = 0
    num_mapped: int = 0
    num_soft: int = 0
    num_wildcards: int = 0
    num_deleted: int = 0
    num_repeats: int = 0
    num_targets: int = 0
    is_old: bool = False


class Sentences:
    """Sentences under a mapping.

    Args:
        mapping: auxiliary → target glosses.
        settings: how.
    """

    def __init__(self, mapping: Mapping, settings: Relabelling) -> None:
        self.settings = settings
        self.tokens: dict[str, Spec] = {}
        self._labels: dict[str, str | None] = {}
        for row in mapping.rows:
            target = mapping.target_of(row.source)
            weights = mapping.soft(row.source, top=settings.top) if settings.top > 1 else ()
            if target is not None and len(weights) > 1:
                self.tokens[MIXTURE + row.source] = dict(weights)
                target = MIXTURE + row.source
            self._labels[row.source] = target
        if settings.unmapped == "wildcard":
            self.tokens[WILDCARD] = settings.wildcard

    def label(self, gloss: str) -> str | None:
        """What a gloss becomes; None where it has no target."""
        return self._labels.get(gloss)

    def glosses(self, label: str) -> Iterable[str]:
        """The target glosses that a label stands for, besides a wildcard."""
        spec = self.tokens.get(label, {label: 1.0})
        return spec if isinstance(spec, MappingType) else ()

    def __call__(self, clip: Clip) -> str | Dropped:
        """The new label of a clip, or why it is dropped.

        A wildcard stands for one sign, so that their number is learnt; those that may be blanks become one where they
        lie side by side. Equal glosses side by side stay two, as the person signed two.
        """
        glosses = clip.text.split()
        if not glosses:
            return Dropped(clip.id, "no gloss", "")
        labels = [self.label(gloss) for gloss in glosses]
        num_mapped = sum(label is not None for label in labels)
        least = 1.0 if self.settings.unmapped == "drop" else self.settings.min_share
        if not num_mapped or num_mapped < least * len(glosses):
            return Dropped(clip.id, "unmapped", clip.text)
        may_be_blank = self.settings.wildcard == "any"
        found: list[str] = []
        for label in labels:
            if label is not None:
                found.append(label)
            elif self.settings.unmapped == "wildcard" and not (may_be_blank and found[-1:] == [WILDCARD]):
                found.append(WILDCARD)
        if clip.duration_seconds is not None and clip.rate_hz is not None:
            num_steps = -(-round(clip.duration_seconds * clip.rate_hz) // self.settings.stride)
            if len(found) + _num_repeats(found) > num_steps:
                return Dropped(clip.id, "too short", " ".join(found))
        return " ".join(found)


def _num_repeats(labels: Sequence[str]) -> int:
    return sum(one == other for one, other in itertools.pairwise(labels))


def relabel(
    clips: Iterable[Clip], sentences: Sentences, report: RelabelReport | None = None
) -> tuple[list[Clip], list[Dropped]]:
    """Relabel clips, and count into a report.

    Args:
        clips: with glosses of the auxiliary language.
        sentences: relabels them.
        report: gets the counts.
    """
    kept: list[Clip] = []
    dropped: list[Dropped] = []
    report = report or RelabelReport("")
    targets: set[str] = set()
    for clip in clips:
        report.num_clips += 1
        text = sentences(clip)
        if isinstance(text, Dropped):
            dropped.append(text)
            continue
        kept.append(dataclasses.replace(clip, text=text))
        own = clip.text.split()
        labels = [sentences.label(gloss) for gloss in own]
        mapped = [label for label in labels if label is not None]
        report.num_tokens += len(own)
        report.num_mapped += len(mapped)
        report.num_soft += sum(label.startswith(MIXTURE) for label in mapped)
        missing = len(own) - len(mapped)
        report.num_wildcards += missing if sentences.settings.unmapped == "wildcard" else 0
        report.num_deleted += missing if sentences.settings.unmapped == "delete" else 0
        report.num_repeats += sum(one == other != WILDCARD for one, other in itertools.pairwise(text.split()))
        report.num_repeats -= sum(
            one == other and label is not None
            for (one, other), label in zip(itertools.pairwise(own), labels, strict=False)
        )
        targets |= {gloss for label in mapped for gloss in sentences.glosses(label)}
    report.num_kept, report.num_targets = len(kept), len(targets)
    report.num_dropped = dict(Counter(one.reason for one in dropped))
    return kept, dropped


def reasons(counts: MappingType[str, int]) -> str:
    """In words: "3 too short, 1 unmapped"."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items())) or "the manifest is empty"


def to_text(report: RelabelReport) -> str:
    """A line for people."""
    share = report.num_mapped / max(1, report.num_tokens)
    rest = ", ".join(
        f"{number} {what}"
        for number, what in (
            (report.num_wildcards, "under wildcards"),
            (report.num_deleted, "deleted"),
            (report.num_soft, "with several targets"),
            (report.num_repeats, "new repeats"),
        )
        if number
    )
    dropped = f"; dropped: {reasons(report.num_dropped)}" if report.num_dropped else ""
    return (
        f"{report.out}: {report.num_kept} of {report.num_clips} sentences, {report.num_mapped} of {report.num_tokens} "
        f"signs mapped ({100 * share:.1f} %) to {report.num_targets} glosses{f'; {rest}' if rest else ''}{dropped}"
        f"{'; it was there already' if report.is_old else ''}"
    )
