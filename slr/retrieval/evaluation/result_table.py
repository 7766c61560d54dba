"""An evaluation as text: one line per kind of query and direction, then what says how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slr.retrieval.evaluation.measured import DIRECTIONS, SHORT, Direction, QueryResult, RetrievalResult, Unseen

_HEADER = ("query", "", "queries", "gallery", "R@1 [95 %]", "R@5", "R@10", "MedR", "MeanR", "MRR", "ceiling", "chance",
           "hubs")  # fmt: skip
_LABELS = {
    "qb_norm": "QB-Norm",
    "csls": "CSLS",
    "transductive_csls": "CSLS, transductive",
    "transductive_dual_softmax": "dual soft-max, transductive",
}
_NAMED = 5


def to_text(result: RetrievalResult) -> str:
    """Table and notes; rates in percent, hubs = skewness of the 10-occurrence."""
    merged = ", groups of the same caption are one" if result.credit_duplicates else ""
    of_whom = f"{result.name}: " if result.name else ""
    lines = [
        f"{of_whom}{result.num_clips} clips in {result.num_groups} groups; a text ranks groups by their best clip, a "
        f"clip ranks groups by their best text, ties count as expected values{merged}",
        _missing(result.missing),
        *_table(result),
        *_notes(result),
    ]
    return "\n".join(line for line in lines if line)


def _missing(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"missing from the gallery: {len(ids)} clips ({', '.join(ids[:_NAMED])}{more})"


def _table(result: RetrievalResult) -> list[str]:
    rows: list[tuple[str, ...]] = [_HEADER]
    for key, row in result.by_query.items():
        rows += [_cells(key or "texts", which, row.directions[which]) for which in row.directions]
        for name, directions in row.normalised.items():
            rows += [_cells(f"  {_LABELS[name]}", which, direction) for which, direction in directions.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(label: str, which: str, found: Direction) -> tuple[str, ...]:
    interval = found.intervals.get("recall_at_1")
    span = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval else ""
    return (
        label,
        SHORT[which],
        str(len(found.ranks)),
        str(found.ranks.num_gallery),
        f"{100 * found.recall(1):.1f}{span}",
        f"{100 * found.recall(5):.1f}",
        f"{100 * found.recall(10):.1f}",
        f"{found.ranks.median:g}",
        f"{found.ranks.mean:.1f}",
        f"{100 * found.ranks.mrr:.1f}",
        f"{100 * found.ceiling.recall(1):.1f}",
        f"{100 * found.chance(1):.2g}",
        "–" if found.hubness is None else f"{found.hubness:.1f}",
    )


def _notes(result: RetrievalResult) -> Iterator[str]:
    if any(result.settings.get(name) for name in ("num_bank_texts", "num_bank_clips")):
        yield (
            f"QB-Norm and CSLS look at a bank of {result.settings['num_bank_texts']} training texts and "
            f"{result.settings['num_bank_clips']} training clips, never at other test queries"
        )
    for which, spread in result.spread.items():
        yield (
            f"ranks over {spread.num_languages} languages, {SHORT[which]}, {spread.num_instances} instances: MRV (std) "
            f"{spread.mrv_std:.2f}, variance {spread.mrv_var:.2f}, median {spread.median_std:.2f}, ranks clipped at "
            f"{spread.clip_rank} {spread.clipped_std:.2f}"
        )
    if result.languages and "mexa_size" in result.settings:
        yield f"MEXA at n = {result.settings['mexa_size']}: " + ", ".join(
            f"{key or 'texts'} {_mexa(result.by_query[key])}" for key in result.languages
        )
    for key, row in result.by_query.items():
        yield from _query_notes(key or "texts", row)


def _mexa(row: QueryResult) -> str:
    return "– (too few groups)" if row.mexa is None else f"{100 * row.mexa.value:.1f} ± {100 * row.mexa.deviation:.1f}"


def _query_notes(key: str, row: QueryResult) -> Iterator[str]:
    for which in (name for name in DIRECTIONS if name in row.unseen and row.unseen[name].num_seen):
        yield f"{key} {SHORT[which]}: {_unseen(which, row.unseen[which])}"
    if row.confusable is not None:
        ranks = row.confusable
        yield (
            f"{key}: the right clip among the {ranks.num_gallery} that look most alike: "
            f"{100 * ranks.recall(1):.1f} % of {len(ranks)} (chance {100 / ranks.num_gallery:.1f})"
        )
    for number, what in ((row.num_texts_without_clip, "texts whose group has no clip"),
                         (row.num_clips_without_text, "clips whose group has no text")):  # fmt: skip
        if number:
            yield f"{key}: {number} {what} are no queries"


def _unseen(which: str, part: Unseen) -> str:
    of = "captions occur" if which == "text_to_video" else "clips have a caption that occurs"
    without = "none is left" if part.recall_at_1 is None else f"R@1 without them {100 * part.recall_at_1:.1f}"
    return f"{part.num_seen} of {part.num_queries} {of} verbatim in training; {without}"
