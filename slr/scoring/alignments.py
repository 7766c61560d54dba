"""Every clip's alignment as text, in the layout of sclite's `pra` and `dtl` reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from signwave.metrics import EditOp, align_tokens

if TYPE_CHECKING:
    from slr.scoring.evaluation import Evaluation, Pair
    from slr.scoring.tables import Breakdown

_MARKS = {"correct": "", "substitution": "S", "insertion": "I", "deletion": "D"}


def to_text(evaluation: Evaluation, tables: Breakdown) -> str:
    """The corpus's figures and confusions (`dtl`), then every clip's alignment (`pra`)."""
    return "\n".join([*_details(evaluation, tables), *(_alignment(pair) for pair in evaluation.pairs)])


def _details(evaluation: Evaluation, tables: Breakdown) -> Iterator[str]:
    total = evaluation.total
    yield f"DETAILED OVERALL REPORT, protocol {evaluation.protocol}, rules {evaluation.rules}\n"
    yield "SENTENCE RECOGNITION PERFORMANCE"
    yield f" sentences                                     {total.num_sentences:6d}"
    yield f" with errors                          {_share(total.num_wrong_sentences, total.num_sentences)}\n"
    yield "WORD RECOGNITION PERFORMANCE"
    shares = {
        "Percent Total Error       =": total.num_errors,
        "Percent Correct           =": total.correct,
        "Percent Substitution      =": total.substitutions,
        "Percent Deletions         =": total.deletions,
        "Percent Insertions        =": total.insertions,
    }
    for name, number in shares.items():
        yield f"{name} {_share(number, total.num_reference)}"
    yield f"Ref. words                =           ({total.num_reference})\n"
    lists = {
        "CONFUSION PAIRS": [(f"{r} ==> {h}", n) for r, h, n in tables.confusions],
        "INSERTIONS": list(tables.inserted),
        "DELETIONS": list(tables.deleted),
    }
    for title, entries in lists.items():
        yield f"{title}   most frequent {len(entries)}"
        yield from (f"{n:4d}: {count:5d}  ->  {entry}" for n, (entry, count) in enumerate(entries, 1))
        yield ""


def _share(number: int, of: int) -> str:
    return f"{100 * number / max(of, 1):6.1f}%   ({number})"


def _alignment(pair: Pair) -> str:
    counts = pair.counts
    columns = [_column(step) for step in align_tokens(pair.reference, pair.hypothesis)]
    rows = [" ".join(column[row] for column in columns).rstrip() for row in range(3)]
    return (
        f"id: ({pair.id})\n"
        + (f"Speaker: {pair.person}\n" if pair.person else "")
        + f"Scores: (#C #S #D #I) {counts.correct} {counts.substitutions} {counts.deletions} {counts.insertions}\n"
        + f"REF:  {rows[0]}\nHYP:  {rows[1]}\nEval: {rows[2]}\n"
    )


def _column(step: EditOp) -> tuple[str, str, str]:
    """Both tokens and the mark, equally wide; a missing token is a row of stars. Wrong glosses are in capitals."""
    width = max(len(step.reference or ""), len(step.hypothesis or ""))
    shown = [
        "*" * width if token is None else (token if step.kind == "correct" else token.upper()).ljust(width)
        for token in (step.reference, step.hypothesis)
    ]
    return shown[0], shown[1], _MARKS[step.kind].ljust(width)
