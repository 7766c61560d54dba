"""The gloss rules of the Phoenix evaluations: the two official chains on CTM lines, and the sentence rules of SLRT.

The official scripts (RWTH, `evaluatePhoenix2014.sh` of phoenix-2014.v3 and the script of phoenix-2014-T) edit the lines
of a CTM file, `id channel start duration gloss`. Rules that join neighbouring glosses therefore never fire there; they
do in ports that edit sentences (neccam/slt, SLRT). Both kinds are kept exactly, defects included: a WER can only be
compared with published ones if it is counted like them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby

EMPTY = "[EMPTY]"
"""What the official chains put where a clip has no gloss; sclite counts it as a word."""

Rule = tuple[re.Pattern[str], str]


def _rules(*pairs: tuple[str, str]) -> tuple[Rule, ...]:
    # sed and perl read bytes in the C locale: \w and \s are the ASCII ones.
    return tuple((re.compile(pattern, re.ASCII), new) for pattern, new in pairs)


_JOIN_LETTERS = _rules(
    (r"^([A-Z]) ([A-Z][+ ])", r"\1+\2"),
    (r"[ +]([A-Z]) ([A-Z]) ", r" \1+\2 "),
    *3 * ((r"([ +][A-Z]) ([A-Z][ +])", r"\1+\2"),),
    (r"([ +]SCH) ([A-Z][ +])", r"\1+\2"),
    (r"([ +]NN) ([A-Z][ +])", r"\1+\2"),
    (r"([ +][A-Z]) (NN[ +])", r"\1+\2"),
    (r"([ +][A-Z]) ([A-Z])$", r"\1+\2"),
)
_MERGE_WORDS = _rules(*4 * ((r"(?<![\w-])(\b[A-Z]+(?![\w-])) \1(?![\w-])", r"\1"),))
_DROPPED = re.compile("__LEFTHAND__|__EPENTHESIS__|__EMOTION__")

_P14_WORDS = _rules(
    (r"loc-", ""),
    (r"cl-", ""),
    (r"qu-", ""),
    (r"poss-", ""),
    (r"lh-", ""),
    (r"S0NNE", "SONNE"),
    (r"HABEN2", "HABEN"),
    (r"__EMOTION__", ""),
    (r"__PU__", ""),
    (r"__LEFTHAND__", ""),
    (r"WIE AUSSEHEN", "WIE-AUSSEHEN"),
    (r"ZEIGEN ", "ZEIGEN-BILDSCHIRM "),
    (r"ZEIGEN$", "ZEIGEN-BILDSCHIRM"),
)
_P14_ENDS = _rules((r"([A-Z][A-Z])RAUM", r"\1"), (r"-PLUSPLUS", ""))
_P14_LINE = (*_P14_WORDS, *_JOIN_LETTERS, *_P14_ENDS, *_MERGE_WORDS)

_P14T_DROPPED = re.compile(" __[^_ ]*__$")
_P14T_LINE = _rules(
    (r" loc-([^ ]*)$", r" \1"),
    (r"-PLUSPLUS$", ""),
    (r" cl-([^ ]*)$", r" \1"),
    (r"\b([A-Z][A-Z]*)RAUM$", r"\1"),
    (r"\s*$", ""),
)
_SPACES = _rules((r" +", " "))
_SLRT_P14 = (*_P14_WORDS, *_JOIN_LETTERS, *_P14_ENDS, *_SPACES, *_MERGE_WORDS, *_SPACES)
_SLRT_P14T = (
    *_rules(
        (r"__LEFTHAND__", ""),
        (r"__EPENTHESIS__", ""),
        (r"__EMOTION__", ""),
        (r"\b__[^_ ]*__\b", ""),
        (r"\bloc-([^ ]*)\b", r"\1"),
        (r"\bcl-([^ ]*)\b", r"\1"),
        (r"\b([^ ]*)-PLUSPLUS\b", r"\1"),
        (r"\b([A-Z][A-Z]*)RAUM\b", r"\1"),
        (r"WIE AUSSEHEN", "WIE-AUSSEHEN"),
    ),
    *_JOIN_LETTERS,
    *_SPACES,
    *_MERGE_WORDS,
    *_SPACES,
)


def clean_p14(lines: Iterable[str]) -> list[str]:
    """Lines of a CTM as the official script of Phoenix-2014 leaves them, sorted; duplicates are kept.

    A clip that had lines and lost all its glosses gets [EMPTY]. One whose lines are all dropped is gone: that script's
    next step, like `protocols`, puts it back as a missing clip.
    """
    kept = [line.rstrip(" \t\r\f\v") for line in map(_p14_line, lines) if not _DROPPED.search(line)]
    # LC_ALL=C sort -k1,1 -k3,3: by id, then by start time as text, then by the entire line.
    return sorted(_fill_empty(kept), key=_sort_key)


def clean_p14t(lines: Iterable[str]) -> list[str]:
    """Lines of a CTM as the official script of Phoenix-2014T leaves them: equal neighbours of a clip are merged."""
    kept = [_apply(_P14T_LINE, line) for line in lines if not (_DROPPED.search(line) or _P14T_DROPPED.search(line))]
    filled = _fill_empty(kept)
    # awk compares the last field and the id with those of the line before.
    marks = [(line.split()[0], line.split()[-1]) for line in filled]
    return [line for n, line in enumerate(filled) if n == 0 or marks[n] != marks[n - 1]]


def clean_sentence_p14(text: str) -> str:
    """A sentence as neccam/slt and SLRT compare it on Phoenix-2014; equal neighbours are merged."""
    return _clean_sentence(_SLRT_P14, text)


def clean_sentence_p14t(text: str) -> str:
    """A sentence as neccam/slt and SLRT compare it on Phoenix-2014T; equal neighbours are merged."""
    return _clean_sentence(_SLRT_P14T, text)


def merge_repeats(tokens: Sequence[str]) -> list[str]:
    """Tokens without those equal to the one before.

    >>> merge_repeats(["A", "A", "B", "A"])
    ['A', 'B', 'A']
    """
    return [token for token, _ in groupby(tokens)]


Chain = Callable[[Iterable[str]], list[str]]


def _apply(rules: Iterable[Rule], text: str) -> str:
    for pattern, new in rules:
        text = pattern.sub(new, text)
    return text


def _clean_sentence(rules: Iterable[Rule], text: str) -> str:
    return " ".join(merge_repeats(_apply(rules, text.strip()).split(" "))).strip()


_PLAIN_LINE = re.compile(r"(\S+ \d+) ([\d.]+ [\d.]+)( \S*)$", re.ASCII)


def _p14_line(line: str) -> str:
    """One line through the rules. Numbers in the middle keep id and gloss apart, so each is cleaned once and kept."""
    parts = _PLAIN_LINE.match(line)
    if parts is None:
        return _apply(_P14_LINE, line)
    return f"{_p14_part(parts[1] + ' ')}{parts[2]}{_p14_part(parts[3])}"


@lru_cache(maxsize=1 << 16)
def _p14_part(part: str) -> str:
    # The digit stands for the numbers beside the part, so that no rule for a line's begin or end fires at the cut.
    before, after = ("", "0") if part.endswith(" ") and not part.startswith(" ") else ("0", "")
    cleaned = _apply(_P14_LINE, before + part + after)
    return cleaned[len(before) : len(cleaned) - len(after)]


def _fill_empty(lines: Iterable[str]) -> list[str]:
    """The scripts' awk: keep lines with a fifth field; when a clip ends that has had none, its last line + [EMPTY]."""
    filled: list[str] = []
    num_tokens: dict[str, int] = {}
    last_id, last_line = "", ""
    for line in lines:
        fields = line.split()
        clip_id = fields[0] if fields else ""
        if last_id != clip_id and not num_tokens.get(last_id) and last_line:
            filled.append(f"{last_line} {EMPTY}")
        if len(fields) >= _TOKEN_FIELD:
            num_tokens[clip_id] = num_tokens.get(clip_id, 0) + 1
            filled.append(line)
        last_id, last_line = clip_id, line
    return filled


_TOKEN_FIELD = 5


def _sort_key(line: str) -> tuple[bytes, bytes, bytes]:
    fields = line.split()
    return fields[0].encode(), fields[2].encode(), line.encode()
