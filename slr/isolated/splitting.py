"""Training, dev and test signs of a language, and the classes that they are labelled with."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from signwave.errors import UserError
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign, Splits, split_by_origin
from slr.isolated.bags import Dictionary

if TYPE_CHECKING:
    from slr.isolated.recipe import DictionariesConfig

log = logging.getLogger(__name__)

OFFICIAL, BY_ORIGIN = "official split", "split by clip of origin"


def split(
    splits: Splits, config: DictionariesConfig, seed: int, *, classes: tuple[str, ...] | None = None
) -> tuple[Dictionary, Dictionary, Dictionary]:
    """Training, dev and test signs of a language.

    What the corpus holds back stays as it is; else signs are held back by the clip they were cut from.

    Args:
        splits: what was read.
        config: shares and the least number of signs of a gloss.
        seed: other seeds, other clips are held back.
        classes: glosses, the blank first; None takes those of training. Signs of others are left out.

    Raises:
        UserError: nothing is left to train on.
    """
    name, train = splits.train.name, splits.train.signs
    held: list[tuple[list[Sign], str]] = []
    for official, share, offset in ((splits.test, config.test_share, 0), (splits.dev, config.dev_share, 1)):
        if official is not None:
            held.append((official.signs, OFFICIAL))
            continue
        kept, chosen = split_by_origin(train, held_out=share, seed=seed + offset)
        held.append(([train[i] for i in chosen], BY_ORIGIN))
        train = [train[i] for i in kept]
    _warn_of_overlap(splits)
    counts = Counter(sign.gloss for sign in train if classes is None or sign.gloss in classes)
    frequent = sorted(gloss for gloss, size in counts.items() if size >= config.min_instances and gloss != BLANK_GLOSS)
    if not frequent:
        raise UserError(
            f"{splits.train.source}: no gloss{' of the classifier' if classes else ''} has {config.min_instances} "
            "training signs; lower data.min_instances, dev_share or test_share"
        )
    num_strange = len({sign.gloss for sign in train}) - len(counts)
    if num_strange:
        log.warning("%s: %d glosses that the classifier doesn't have left out", name, num_strange)
    num_rare = len(counts) - len(frequent) - (BLANK_GLOSS in counts)
    if num_rare:
        log.warning("%s: %d glosses with fewer than %d signs left out", name, num_rare, config.min_instances)
    glosses = classes or (BLANK_GLOSS, *frequent)
    learnt = {BLANK_GLOSS, *frequent}
    numbers = {gloss: number for number, gloss in enumerate(glosses) if gloss in learnt}

    def part(signs: list[Sign], rule: str = "") -> Dictionary:
        known = [sign for sign in signs if sign.gloss in numbers]
        labels = [numbers[sign.gloss] for sign in known]
        return Dictionary(name, known, labels, glosses, rule, len(signs) - len(known))

    test, dev = (part(*one) for one in held)
    return part(train), dev, test


def _warn_of_overlap(splits: Splits) -> None:
    """Say how much of an official split is of clips, or groups of clips, that are trained on; it stays as it is."""

    def names(sign: Sign) -> set[object]:
        clip = sign.clip
        return {(clip.path, clip.start_seconds, clip.end_seconds), *([clip.group] if clip.group else [])}

    trained = {one for sign in splits.train.signs for one in names(sign)}
    for what, held in (("dev", splits.dev), ("test", splits.test)):
        num = sum(not trained.isdisjoint(names(sign)) for sign in held.signs) if held is not None else 0
        if num:
            log.warning(
                "%s: %d of %d signs of its own %s split are of clips or groups that are trained on too",
                splits.train.name, num, len(held.signs) if held is not None else 0, what,
            )  # fmt: skip
