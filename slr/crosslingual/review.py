"""The page on which people who sign review a mapping: both signs of every pair in loops, and the table to edit."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

from signwave import command
from signwave.rundir import atomic_write
from slr.crosslingual.mapping import UNMAPPED, MappedSign, Mapping, to_text
from slr.crosslingual.review_clips import MAX_SECONDS, REST_SECONDS, Clips, Shown, seconds_of, typical
from slr.crosslingual.review_template import POLICY, SCRIPT, STYLE
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign, Signs

MAX_ROWS = 200
MAX_MIB = 32.0
NUM_EXAMPLES = 3
NUM_CANDIDATE_EXAMPLES = 2

_READING = (
    "Score: mean probability of the target gloss over all signs of the source. Margin: how far the next candidate is "
    "behind. Signs: how many were looked at. Halves: how often two random halves of them give the same target. "
    "Mutual: each is the other's nearest. Gap: how far apart the two are, over what lies between neighbouring signs "
    "of one language; 0 is one place, 1 another sign. Methods: the target that each of the three names. Trust "
    "agreement and gap before the score."
)
_ALIKE = (
    "Looking alike is not meaning alike. A pair is two movements that a model takes for one another; this is no "
    "dictionary, and which pairs are the same sign, a variant or chance is for signers to say."
)
_CONSENT = (
    "The clips show people as their corpus does, faces included. Keep this page to those who may see them under the "
    "terms of both corpora and by the consent of the people in them."
)
_EDITING = (
    "Say yes or no, or give another target gloss (- for none); then download the table, or copy it, and put it in the "
    "place of the one that <code>slr map</code> wrote. Rows that aren't on this page are in it unchanged."
)


def write_page(path: str | Path, mapping: Mapping, auxiliary: Signs, target: Signs, *, quiet: bool = True) -> None:
    """Write the page: one file that needs no other and no network; equal inputs give equal bytes.

    Kept rows come first, the surest first, up to MAX_ROWS and about MAX_MIB of clips; the page says what it leaves
    out. A clip that can't be read is told at its place.

    Args:
        path: the page, written at once.
        mapping: what is reviewed.
        auxiliary: signs of the sources.
        target: signs of the targets.
        quiet: no progress on stderr.
    """
    review = _Review(mapping, auxiliary, target)
    order = sorted(range(len(mapping.rows)), key=lambda place: _by_sureness(mapping.rows[place]))
    for place in command.progress(order[:MAX_ROWS], "drawing the pairs", quiet=quiet):
        if review.clips.num_bytes < MAX_MIB * 2**20:
            review.add(place)
    atomic_write(path, review.page())


def _by_sureness(row: MappedSign) -> tuple[bool, float, str]:
    return not row.keep, -(0.0 if math.isnan(row.score) else row.score), row.source


class _Review:
    """The page while it grows."""

    def __init__(self, mapping: Mapping, auxiliary: Signs, target: Signs) -> None:
        self.mapping, self.auxiliary, self.target = mapping, auxiliary, target
        self.clips = Clips()
        self._signs = (_by_gloss(auxiliary), _by_gloss(target))
        self._items: dict[bool, list[str]] = {True: [], False: []}

    def add(self, place: int) -> None:
        """A pair, by its place in the table."""
        row = self.mapping.rows[place]
        target = "no target" if row.target is None else _gloss(row.target)
        self._items[row.keep].append(
            f'<article data-row="{place}" aria-label="{_escape(row.source)}">\n'
            f'<h3>{_gloss(row.source)} → {target}</h3>\n<div class="sides">'
            f"{self._side(0, row.source)}{self._side(1, row.target)}</div>\n"
            f"{_facts(row)}\n{self._candidates(row)}\n{_choice(place, row)}\n</article>"
        )

    def _side(self, side: int, gloss: str | None) -> str:
        language = _escape((self.auxiliary, self.target)[side].name)
        if gloss is None:
            return f"<section><h4>{language}</h4><p>None is named.</p></section>"
        return self._section(side, gloss, f"{language}: {_gloss(gloss)}", NUM_EXAMPLES)

    def _section(self, side: int, gloss: str, heading: str, num_examples: int) -> str:
        signs = self._signs[side].get(gloss, [])
        chosen = typical(signs, num_examples)
        count = f"{len(chosen)} of {len(signs)} signs" if signs else "no sign of it here"
        figures = "".join(_figure(gloss, self.clips.show(sign)) for sign in chosen)
        return f'<section><h4>{heading}, {count}</h4><div class="clips">{figures}</div></section>'

    def _candidates(self, row: MappedSign) -> str:
        named = [(gloss, f"{_gloss(gloss)} {_number(weight)}") for gloss, weight in row.candidates]
        others = {gloss: name for gloss, name in named if gloss != row.target}
        if not others:
            return ""
        parts = "".join(self._section(1, gloss, name, NUM_CANDIDATE_EXAMPLES) for gloss, name in others.items())
        names = ", ".join(others.values())
        return f'<details><summary>Other candidates: {names}</summary><div class="sides">{parts}</div></details>'

    def page(self) -> str:
        """The whole page."""
        title = _escape(f"Signs of {self.auxiliary.name} that look like signs of {self.target.name}")
        groups = (("Kept", self._items[True]), ("Not kept", self._items[False]))
        pairs = "\n".join(f"<h2>{name}</h2>\n" + "\n".join(items) for name, items in groups if items)
        names = "".join(f'<option value="{_escape(gloss)}">' for gloss in self._signs[1])
        made = _terms({_escape(key): _escape(value) for key, value in self.mapping.header.items()})
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
            f'<p class="note">{_ALIKE}</p>\n<p class="note">{_CONSENT}</p>\n'
            f"<p>{self._summary()}</p>\n<p>{_EDITING}</p>\n"
            f"<details><summary>How to read the figures</summary><p>{_READING}</p></details>\n"
            f"<details open><summary>What the mapping was made from</summary>{made}</details>\n"
            f"<noscript><p>The clips and the table need JavaScript.</p></noscript>\n{_BAR}\n{pairs}\n"
            f'<datalist id="glosses"><option value="{UNMAPPED}">{names}</datalist>\n'
            f"{_json('table', to_text(self.mapping).splitlines())}\n{_json('clips', self.clips.uris)}\n"
            f"<script>{SCRIPT}</script>\n</body></html>\n"
        )

    def _summary(self) -> str:
        rows = self.mapping.rows
        num_shown = sum(map(len, self._items.values()))
        text = (
            f"{sum(row.keep for row in rows)} of {len(rows)} glosses are kept, the surest come first. Up to "
            f"{NUM_EXAMPLES} signs stand for a gloss: of about its usual length, of different people or clips where "
            f"there are. They loop, rest {REST_SECONDS:g} s at their end, and are cut after {MAX_SECONDS:g} s. Where "
            "there are keypoints alone, a skeleton is drawn: the signer's right hand blue, the left one orange."
        )
        if num_shown < len(rows):
            text += (
                f" <strong>{len(rows) - num_shown} rows aren't shown</strong>: a page has at most {MAX_ROWS} rows, and "
                f"about {MAX_MIB:g} MiB of clips."
            )
        return text


_BAR = """<div class="bar" role="group" aria-label="the edited table"><button id="download">Download the table</button>
<button id="copy">Copy it</button><span id="status" role="status"></span>
<label>Tempo <select id="tempo"><option value="1">normal<option value="2">half<option value="4">quarter
<option value="0">still</select></label></div>
<details id="as-text"><summary>The table as text</summary><textarea id="text" readonly aria-label="table"></textarea>
</details>"""


def _by_gloss(signs: Signs) -> dict[str, list[Sign]]:
    found: dict[str, list[Sign]] = {}
    for sign in signs.signs:
        if sign.gloss != BLANK_GLOSS:
            found.setdefault(sign.gloss, []).append(sign)
    return dict(sorted(found.items()))


def _figure(gloss: str, shown: Shown) -> str:
    sign, start = shown.sign, shown.sign.start_seconds
    seconds = seconds_of(sign)
    span = f"from {start:.2f} s" if seconds is None else f"{start:.2f}–{start + seconds:.2f} s"
    cut = f", its first {MAX_SECONDS:g} s" if seconds is not None and seconds > MAX_SECONDS else ""
    person = f'<bdi dir="auto">{_escape(sign.clip.person)}</bdi>, ' if sign.clip.person else ""
    caption = f"{person}{span}{cut}<br>{_escape(sign.clip.id)}"
    if shown.place is None:
        return f'<div class="lost">can\'t be shown: {_escape(shown.problem)}<br>{caption}</div>'
    height, width = shown.size_px
    return (
        f'<figure><img data-clip="{shown.place}" width="{width}" height="{height}" loading="lazy" decoding="async" '
        f'alt="{_escape(gloss)}"><figcaption>{caption}</figcaption></figure>'
    )


def _facts(row: MappedSign) -> str:
    named = [f"{name} {'none' if answer is None else _gloss(answer)}" for name, answer in row.answers.items()]
    facts = {
        "score": _number(row.score),
        "margin": _number(row.margin),
        "signs": str(row.support),
        "halves": _number(row.split_half),
        "mutual": "yes" if row.mutual else "no",
        "gap": _number(row.gap),
        "methods": f"{row.agreement} of {len(named)} agree: {', '.join(named)}" if named else "not known",
    }
    return _terms(facts)


def _choice(place: int, row: MappedSign) -> str:
    options = "".join(
        f'<label><input type="radio" name="keep{place}" value="{word}"{" checked" * (row.keep == keep)}> {word}</label>'
        for word, keep in (("yes", True), ("no", False))
    )
    return (
        f"<fieldset><legend>Do they look alike?</legend>{options}<label>target "
        f'<input list="glosses" pattern="\\S*" dir="auto" autocomplete="off" value="{_escape(row.target or UNMAPPED)}">'
        "</label></fieldset>"
    )


def _terms(values: dict[str, str]) -> str:
    """A list of names and HTML."""
    pairs = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">{pairs}</dl>'


def _gloss(text: str) -> str:
    return f'<bdi dir="auto">{_escape(text)}</bdi>'


def _number(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.2f}"


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _json(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'
