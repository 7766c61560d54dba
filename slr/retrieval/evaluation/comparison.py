"""Is one retrieval system better than another? Paired tests of R@1 on the same queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signwave.errors import UserError
from signwave.metrics import PairedTests, paired_means
from slr.retrieval.evaluation.measured import SHORT, Direction, RetrievalResult


@dataclass(frozen=True)
class RecallComparison:
    """Two systems on the same queries; differences are first minus second, so positive means the first is better.

    Attributes:
        first_name: what the first is called.
        second_name: likewise.
        k: of Recall@k.
        tests: key of the captions → direction → tests.
    """

    first_name: str
    second_name: str
    k: int
    tests: Mapping[str, Mapping[str, PairedTests]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; differences are fractions."""
        return {
            "first": self.first_name,
            "second": self.second_name,
            "k": self.k,
            "by_query": {
                key: {which: test.to_dict() for which, test in tests.items()} for key, tests in self.tests.items()
            },
        }

    def to_text(self) -> str:
        """One line for each kind of query and direction."""
        return "\n".join(
            f"{key or 'texts'} {SHORT[which]}: {self._verdict(test)}"
            for key, tests in self.tests.items()
            for which, test in tests.items()
        )

    def _verdict(self, test: PairedTests) -> str:
        low, high, _ = test.bootstrap.interval
        points = 100 * test.bootstrap.difference
        span = (
            f"{self.first_name} minus {self.second_name} is {points:+.2f} points of R@{self.k} (95 % interval "
            f"{100 * low:+.2f} to {100 * high:+.2f}), p = {test.permutation.p_value:.2g}"
        )
        if not test.is_significant:
            return f"no significant difference: {span}; these queries can't tell them apart"
        return f"{self.first_name if points > 0 else self.second_name} is better: {span}"


def compare(
    first: RetrievalResult,
    second: RetrievalResult,
    *,
    first_name: str = "",
    second_name: str = "",
    k: int = 1,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> RecallComparison:
    """Test two evaluations of the same queries and galleries; groups are drawn and swapped whole.

    Args:
        first: figures of one system.
        second: figures of the other.
        first_name: what to call it; by default the name of its scores.
        second_name: likewise.
        k: of Recall@k.
        num_resamples: draws and swaps.
        seed: the same seed gives the same result.

    Raises:
        UserError: the queries or the galleries differ.
    """
    names = first_name or first.name or "first", second_name or second.name or "second"
    if list(first.by_query) != list(second.by_query):
        raise UserError(
            f"{names[0]} was asked in {', '.join(first.by_query)}, {names[1]} in {', '.join(second.by_query)}; "
            "compare the same queries"
        )
    tests: dict[str, dict[str, PairedTests]] = {}
    for key, row in first.by_query.items():
        tests[key] = {}
        for which, one in row.directions.items():
            other = second.by_query[key].directions[which]
            _require_same(one, other, f"{key or 'texts'} {SHORT[which]}", names)
            tests[key][which] = paired_means(
                one.ranks.hits(k), other.ranks.hits(k), groups=one.groups, num_resamples=num_resamples, seed=seed
            )
    return RecallComparison(*names, k, tests)


def _require_same(one: Direction, other: Direction, what: str, names: tuple[str, str]) -> None:
    if (one.queries, one.groups) != (other.queries, other.groups):
        raise UserError(
            f"{what}: {names[0]} answers {len(one.queries)} queries and {names[1]} {len(other.queries)}, and they are "
            "not the same in the same order; score both on the same texts and clips"
        )
    if one.ranks.num_gallery != other.ranks.num_gallery:
        raise UserError(
            f"{what}: {names[0]} ranks {one.ranks.num_gallery} groups and {names[1]} {other.ranks.num_gallery}; score "
            "both on the same gallery"
        )
