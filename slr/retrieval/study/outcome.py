"""What the runs of one condition of a study found, and whether two conditions differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from signwave.manifest import Clip
from signwave.metrics import paired_means
from signwave.rundir import read_json
from slr.retrieval.evaluation.evaluate import evaluate
from slr.retrieval.evaluation.measured import DIRECTIONS, RetrievalResult
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
from slr.retrieval.evaluation.scoring import score_manifest

_OPTIONS = EvaluationOptions(num_resamples=1_000)


@dataclass(frozen=True)
class Outcome:
    """Evaluations of the runs of one condition, one a seed."""

    label: str
    results: Sequence[RetrievalResult]
    runs: Sequence[Mapping[str, Any]] = field(repr=False)

    def recall(self, language: str, direction: str, k: int = 1) -> list[float]:
        """Recall@k of each seed."""
        return [result.by_query[language].directions[direction].recall(k) for result in self.results]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "label": self.label,
            "by_seed": [result.to_dict() for result in self.results],
            "seconds": [run["seconds"] for run in self.runs],
            "num_parameters": self.runs[0]["num_parameters"],
            "commit": [run["environment"].get("commit", "") for run in self.runs],
            "mean": {
                language: {
                    which: {f"recall_at_{k}": float(np.mean(self.recall(language, which, k))) for k in (1, 5, 10)}
                    for which in DIRECTIONS
                }
                for language in self.results[0].languages
            },
        }


def outcome(label: str, runs: Sequence[tuple[Path, Sequence[str]]], clips: Sequence[Clip]) -> Outcome:
    """Search with every run of a condition, in all languages, whatever it was trained on.

    Args:
        label: of the condition.
        runs: folder of each seed's run, and its features as for `score_manifest`.
        clips: with captions, of the split that is searched.
    """
    matrices = (score_manifest(path, clips, features=features, device="cpu", quiet=True) for path, features in runs)
    results = [evaluate(matrix, _OPTIONS) for matrix in matrices]
    return Outcome(label, results, [read_json(path / "results.json") for path, _ in runs])


def compared(outcomes: Mapping[str, Outcome], reference: str, language: str) -> dict[str, Any]:
    """Plain values of a study: every condition, and its difference to the reference.

    Args:
        outcomes: by condition.
        reference: condition that the others are compared with.
        language: of the queries that are compared.
    """
    return {
        "language": language,
        "reference": reference,
        "conditions": {name: one.to_dict() for name, one in outcomes.items()},
        "against_reference": {
            name: difference(one, outcomes[reference], language) for name, one in outcomes.items() if name != reference
        },
    }


def difference(first: Outcome, second: Outcome, language: str) -> dict[str, dict[str, Any]]:
    """Paired tests over queries of the hits averaged over seeds, by direction.

    Positive differences mean that the first is better.
    """
    found = {}
    for which in DIRECTIONS:
        hits = [
            np.mean([result.by_query[language].directions[which].ranks.hits(1) for result in outcome.results], axis=0)
            for outcome in (first, second)
        ]
        groups = first.results[0].by_query[language].directions[which].groups
        bootstrap, permutation, _ = paired_means(*hits, groups=groups)
        found[which] = {
            "difference": bootstrap.difference,
            "interval_95": list(bootstrap.interval[:2]),
            "p_value": permutation.p_value,
        }
    return found
