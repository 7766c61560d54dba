"""What `slr score` prints and its page: the same tables, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from signwave.report import Page
    from slr.scoring.evaluation import Evaluation
    from slr.scoring.tables import Breakdown, Rate


class Table(NamedTuple):
    """A table for people."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def tables_of(found: Breakdown) -> Iterator[Table]:
    """The tables of a breakdown that have rows."""
    rates = {"Signers": found.per_person, "Reference length, glosses": found.per_length, "Sentences": found.per_seen}
    header = ("", "clips", "glosses", "WER", "95 % interval", "sub", "del", "ins", "clips with an error")
    tables = [Table(title, header, [_rate_row(rate) for rate in rows]) for title, rows in rates.items()]
    recall_rows = [
        (r.name, r.num_tokens, _percent(r.correct, r.num_tokens), r.substituted, r.deleted) for r in found.per_frequency
    ]
    tables += [
        Table("Times in training", ("times", "tokens", "recognised", "substituted", "deleted"), recall_rows),
        Table("Confusions", ("reference", "recognised", "times"), list(found.confusions)),
        Table("Missed glosses", ("gloss", "times"), list(found.deleted)),
        Table("Made-up glosses", ("gloss", "times"), list(found.inserted)),
        Table(
            "Worst clips",
            ("clip", "errors", "reference", "recognised"),
            [(p.id, p.counts.num_errors, " ".join(p.reference), " ".join(p.hypothesis)) for p in found.worst],
        ),
    ]
    return (table for table in tables if table.rows)


def to_text(table: Table) -> str:
    """A table in columns of equal width."""
    rows = [[str(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(table.header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([table.title, *(f"  {line}" for line in lines)])


def page(evaluations: Sequence[Evaluation], found: Breakdown) -> Page:
    """The page of one or several protocols; the tables are those of the first."""
    from signwave.report import Page, percent

    first = evaluations[0]
    made = Page("Gloss error rates", lead=f"{first.total.num_sentences} clips, {first.total.num_reference} glosses.")
    header = ("protocol", "WER", "95 % interval", "correct", "sub", "del", "ins", "clips with an error")
    rows = [
        (
            e.protocol,
            percent(e.wer, digits=3),
            f"{percent(e.interval[0])} to {percent(e.interval[1])}",
            *(e.total.correct, e.total.substitutions, e.total.deletions, e.total.insertions),
            percent(e.total.sentence_error_rate),
        )
        for e in evaluations
    ]
    made.table(header, rows)
    for line in (line.strip() for e in evaluations for line in e.summary().splitlines()[1:]):
        made.note(line)
    for table in tables_of(found):
        made.heading(table.title)
        made.table(table.header, table.rows)
    return made


def _rate_row(rate: Rate) -> tuple[Any, ...]:
    counts = rate.counts
    return (
        rate.name or "(not named)",
        counts.num_sentences,
        counts.num_reference,
        f"{100 * counts.error_rate:.2f} %",
        f"{100 * rate.interval[0]:.1f} to {100 * rate.interval[1]:.1f}",
        counts.substitutions,
        counts.deletions,
        counts.insertions,
        f"{100 * counts.sentence_error_rate:.1f} %",
    )


def _percent(number: int, of: int) -> str:
    return f"{100 * number / of:.1f} %" if of else "-"
