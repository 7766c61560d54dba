"""How published papers count a word error rate of glosses: each way is an object, and a result names the one it used.

official-p14   the script of phoenix-2014.v3: CTM lines cleaned, sorted as text, no merging; references as they are;
               a clip without glosses holds [EMPTY], which counts as a word; sclite ignores case.
official-p14t  the script of phoenix-2014-T: other rules, equal neighbours of the hypothesis merged.
slrt           neccam/slt and SLRT: whole sentences of both sides cleaned, equal neighbours merged on both sides. The
               rules are those of Phoenix-2014 or 2014T as the ids say; other corpora are compared as they are.
corrnet        VAC and its successors: the Phoenix-2014 script on the hypotheses of every corpus, equal neighbours
               merged afterwards, case kept.
plain          tokens between blanks, as they are.

All align with sclite's costs of 4/3/3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from signwave.errors import UserError
from slr.scoring import cleaning
from slr.scoring.broadcasts import is_phoenix2014, is_phoenix2014t
from slr.scoring.readers import Hypothesis

ProtocolName = Literal["official-p14", "official-p14t", "slrt", "corrnet", "plain"]
PROTOCOL_NAMES: tuple[str, ...] = get_args(ProtocolName)

_NOTHING = Hypothesis([])
_CLIPS_TOGETHER = 4096  # no rule looks across clips, so a chain gets a part of them at a time: lines are large


class Prepared(NamedTuple):
    """Both sides as they are compared, and which rules did it."""

    references: Mapping[str, list[str]]
    hypotheses: Mapping[str, list[str]]
    rules: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """One way to count.

    Attributes:
        name: what `--protocol` takes.
        summary: one line for people.
        prepare: references and hypotheses → what is compared; every reference has a hypothesis afterwards.
    """

    name: str
    summary: str
    prepare: Callable[[Mapping[str, list[str]], Mapping[str, Hypothesis]], Prepared]


def by_name(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name}: unknown; allowed are {', '.join(PROTOCOL_NAMES)} and all")
    return PROTOCOLS[name]


def choose(names: Iterable[str]) -> tuple[Protocol, ...]:
    """The protocols asked for by repeated options or comma lists; "all" is every one.

    >>> [protocol.name for protocol in choose(["plain,slrt", "plain"])]
    ['plain', 'slrt']
    """
    parts = [part.strip() for name in names for part in name.split(",") if part.strip()]
    wanted = PROTOCOL_NAMES if "all" in parts else tuple(dict.fromkeys(parts))
    if not wanted:
        raise UserError(f"--protocol: names none; allowed are {', '.join(PROTOCOL_NAMES)} and all")
    return tuple(by_name(name) for name in wanted)


def _plain(references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]) -> Prepared:
    return Prepared(references, _in_time_order(references, hypotheses), "none")


def _in_time_order(references: Iterable[str], hypotheses: Mapping[str, Hypothesis]) -> dict[str, list[str]]:
    return {clip_id: hypotheses.get(clip_id, _NOTHING).in_time_order() for clip_id in references}


def _slrt(references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]) -> Prepared:
    plain = _plain(references, hypotheses)
    if all(map(is_phoenix2014, references)):
        clean, rules = cleaning.clean_sentence_p14, "phoenix2014"
    elif all(map(is_phoenix2014t, references)):
        clean, rules = cleaning.clean_sentence_p14t, "phoenix2014t"
    else:
        return plain
    left, right = (
        {clip_id: clean(" ".join(tokens)).split() for clip_id, tokens in side.items()}
        for side in (plain.references, plain.hypotheses)
    )
    return Prepared(left, right, rules)


def _official(
    chain: cleaning.Chain, rules: str, references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]
) -> Prepared:
    """Through a chain and sclite, which ignores the case of ASCII letters."""
    kept, warnings = _through_chain(chain, references, hypotheses)
    return Prepared(
        {clip_id: [_lower(token) for token in tokens] for clip_id, tokens in references.items()},
        {clip_id: [_lower(token) for token in kept.get(clip_id) or (cleaning.EMPTY,)] for clip_id in references},
        rules,
        warnings,
    )


def _official_p14(references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]) -> Prepared:
    return _official(cleaning.clean_p14, "phoenix2014", references, hypotheses)


def _official_p14t(references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]) -> Prepared:
    return _official(cleaning.clean_p14t, "phoenix2014t", references, hypotheses)


def _corrnet(references: Mapping[str, list[str]], hypotheses: Mapping[str, Hypothesis]) -> Prepared:
    kept, warnings = _through_chain(cleaning.clean_p14, references, hypotheses)
    return Prepared(
        references,
        {clip_id: cleaning.merge_repeats(kept.get(clip_id) or [cleaning.EMPTY]) for clip_id in references},
        "phoenix2014",
        warnings,
    )


_CAPITALS = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


def _lower(token: str) -> str:
    return token.translate(_CAPITALS)


def _through_chain(
    chain: cleaning.Chain, references: Iterable[str], hypotheses: Mapping[str, Hypothesis]
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Glosses of each clip after a chain on CTM lines; a clip that the chain removed isn't there."""
    kept: dict[str, list[str]] = {}
    ids = list(references)
    for first in range(0, len(ids), _CLIPS_TOGETHER):
        lines: list[str] = []
        for clip_id in ids[first : first + _CLIPS_TOGETHER]:
            lines += hypotheses.get(clip_id, _NOTHING).ctm_lines(_checked_id(clip_id))
        for line in chain(lines):
            fields = line.split()
            kept.setdefault(fields[0], []).append(fields[4] if len(fields) > 4 else cleaning.EMPTY)
    return kept, _order_warnings(references, hypotheses) if chain is cleaning.clean_p14 else ()


def _checked_id(clip_id: str) -> str:
    if re.search(r"\s", clip_id):
        raise UserError(f"clip id '{clip_id}' holds a blank, which no CTM line can; score it with --protocol plain")
    return clip_id


def _order_warnings(references: Iterable[str], hypotheses: Mapping[str, Hypothesis]) -> tuple[str, ...]:
    """Name the clips whose glosses the script puts in another order: it sorts times as text, "10.0" before "9.0"."""
    moved = []
    for clip_id in references:
        times = hypotheses.get(clip_id, _NOTHING).times
        starts = [start for start, _ in times or ()]
        if sorted(starts) != sorted(starts, key=float):
            moved.append(clip_id)
    if not moved:
        return ()
    return (
        f"{len(moved)} clips, such as {moved[0]}, have their glosses put in another order, because the official script "
        "sorts start times as text ('10.0' before '9.0'); write them with leading zeros",
    )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("official-p14", "Phoenix-2014's own script and sclite", _official_p14),
        Protocol("official-p14t", "Phoenix-2014T's own script and sclite", _official_p14t),
        Protocol("slrt", "neccam/slt and SLRT: both sides cleaned", _slrt),
        Protocol("corrnet", "VAC/CorrNet: Phoenix-2014's script everywhere, repeats merged", _corrnet),
        Protocol("plain", "tokens as they are", _plain),
    )
}
