"""Is one system better than another on the same clips? Paired tests on the errors of each clip, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from signwave.errors import UserError
from signwave.metrics import PairedTests, paired_bootstrap, paired_permutation, sign_test
from slr.scoring.evaluation import Evaluation, Pair, group_of


class Differing(NamedTuple):
    """A clip that the systems do differently well."""

    id: str
    reference: list[str]
    first: Pair
    second: Pair

    @property
    def difference(self) -> int:
        """Errors of the first minus errors of the second."""
        return self.first.counts.num_errors - self.second.counts.num_errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "difference": self.difference,
            "reference": " ".join(self.reference),
            "first": " ".join(self.first.hypothesis),
            "second": " ".join(self.second.hypothesis),
        }


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same clips; differences are first minus second, so negative means the first is better."""

    first_name: str
    second_name: str
    first: Evaluation
    second: Evaluation
    tests: PairedTests
    differing: tuple[Differing, ...]

    def verdict(self) -> str:
        """One sentence for people."""
        points = 100 * self.tests.bootstrap.difference
        low, high, _ = self.tests.bootstrap.interval
        span = f"{points:+.2f} points of WER (95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
        chance = f"p = {self.tests.permutation.p_value:.2g}"
        if not self.tests.is_significant:
            return (
                f"No significant difference: {self.first_name} minus {self.second_name} is {span}, {chance}; "
                "this test set can't tell them apart."
            )
        better, worse = (self.first_name, self.second_name) if points < 0 else (self.second_name, self.first_name)
        return f"{better} is better than {worse}: {self.first_name} minus {self.second_name} is {span}, {chance}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file; rates and differences are fractions."""
        return {
            "protocol": self.first.protocol,
            "first": {"name": self.first_name, **self.first.to_dict()},
            "second": {"name": self.second_name, **self.second.to_dict()},
            **self.tests.to_dict(),
            "verdict": self.verdict(),
            "differing": [clip.to_dict() for clip in self.differing],
        }

    def summary(self) -> str:
        """Return the figures as lines for people."""
        bootstrap, permutation, signs = self.tests
        lines = [
            f"{self.first_name}: {self.first.summary()}",
            f"{self.second_name}: {self.second.summary()}",
            self.verdict(),
            f"bootstrap p = {bootstrap.p_value:.2g}, permutation p = {permutation.p_value:.2g}, sign test "
            f"p = {signs.p_value:.2g} ({signs.num_first_better} clips better, {signs.num_second_better} worse, "
            f"{signs.num_equal} equal)",
        ]
        for clip in self.differing:
            lines += [
                f"{clip.difference:+d} errors  {clip.id}",
                f"    reference: {' '.join(clip.reference)}",
                f"    {self.first_name}: {' '.join(clip.first.hypothesis)}",
                f"    {self.second_name}: {' '.join(clip.second.hypothesis)}",
            ]
        return "\n".join(lines)


def compare(
    first: Evaluation,
    second: Evaluation,
    *,
    first_name: str = "first",
    second_name: str = "second",
    cluster: str = "clip",
    num_shown: int = 10,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Test two evaluations of the same clips by the same protocol.

    Args:
        first: counts of one system.
        second: counts of the other.
        first_name: what to call it.
        second_name: likewise.
        cluster: what is drawn and swapped together, see `slr.scoring.score`.
        num_shown: clips listed where they differ most.
        num_resamples: draws and swaps.
        seed: the same seed gives the same result.

    Raises:
        UserError: they were scored by different protocols or against different references.
    """
    if first.protocol != second.protocol:
        raise UserError(f"scored by {first.protocol} and by {second.protocol}; compare by one protocol")
    if [(p.id, p.reference) for p in first.pairs] != [(p.id, p.reference) for p in second.pairs]:
        raise UserError("scored against different references; score both against the same file")
    counts = [pair.counts for pair in first.pairs], [pair.counts for pair in second.pairs]
    groups = None if cluster == "clip" else [group_of(pair, cluster) for pair in first.pairs]
    differing = [
        Differing(one.id, one.reference, one, two)
        for one, two in zip(first.pairs, second.pairs, strict=True)
        if one.counts.num_errors != two.counts.num_errors
    ]
    differing.sort(key=lambda clip: (-abs(clip.difference), clip.id))
    return Comparison(
        first_name,
        second_name,
        first,
        second,
        PairedTests(
            paired_bootstrap(*counts, groups=groups, num_resamples=num_resamples, seed=seed),
            paired_permutation(*counts, groups=groups, num_resamples=num_resamples, seed=seed),
            sign_test(*counts),
        ),
        tuple(differing[:num_shown]),
    )
