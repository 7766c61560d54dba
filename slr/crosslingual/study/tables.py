"""Mappings that a study compares with the one that was found: the truth, and chance at equal coverage."""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from collections.abc import Mapping as MappingType

from signwave.errors import UserError
from slr.crosslingual.mapping import MappedSign, Mapping


def table_of(pairs: MappingType[str, str], *, like: Mapping, what: str) -> Mapping:
    """A mapping table of given pairs, with the header of another: it belongs to the same corpora."""
    rows = tuple(MappedSign(source=source, target=target, keep=True) for source, target in sorted(pairs.items()))
    return Mapping(rows, {**like.header, "made_by": what})


def posterior_table(mapping: Mapping, *, min_score: float = 0.2, min_support: int = 5) -> Mapping:
    """What the target's classifier alone says, as the paper has it: the likeliest gloss, unless the blank is likelier.

    Args:
        mapping: a table of `slr map`, whatever was kept there.
        min_score: least mean posterior.
        min_support: least number of signs.
    """
    pairs = {
        row.source: row.candidates[0][0]
        for row in mapping.rows
        if row.answers.get("posterior") and row.candidates[:1] and row.candidates[0][1] >= min_score
        if row.support >= min_support
    }
    return table_of(pairs, like=mapping, what="posteriors alone")


def truth_table(truth: MappingType[str, set[str]], *, like: Mapping, known: Container[str]) -> Mapping:
    """The truth as a mapping; of several right targets the first by name is taken.

    Args:
        truth: auxiliary gloss → right target glosses.
        like: a mapping of the same corpora.
        known: target glosses that there are; others can't be trained on.
    """
    right = {source: sorted(gloss for gloss in targets if gloss in known) for source, targets in truth.items()}
    return table_of({source: targets[0] for source, targets in right.items() if targets}, like=like, what="truth")


def shuffled(mapping: Mapping, *, seed: int, known: Sequence[str] = ()) -> Mapping:
    """The same sources and the same targets, put together by chance: equal coverage, and no pair stays.

    Args:
        mapping: what was found.
        seed: other seeds, other pairs.
        known: target glosses that a source gets where all the others' are its own.

    Raises:
        UserError: some pair would have to stay.
    """
    old = list(mapping.targets.values())
    targets = list(old)
    chance = random.Random(seed)
    chance.shuffle(targets)
    for place, own in enumerate(old):
        if targets[place] != own:
            continue
        # Change with one that mends this pair and breaks no other.
        able = [i for i, other in enumerate(old) if targets[i] != own and other != own]
        others = [gloss for gloss in known if gloss != own]
        if able:
            other = chance.choice(able)
            targets[place], targets[other] = targets[other], targets[place]
        elif others:
            targets[place] = chance.choice(others)
        else:
            raise UserError(
                f"the mapping keeps {len(old)} signs of {len(set(old))} targets, which can't all get another; leave "
                "the condition 'random' out"
            )
    return table_of(dict(zip(mapping.targets, targets, strict=True)), like=mapping, what=f"chance, seed {seed}")
