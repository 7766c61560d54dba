"""What training measures on fingerspelled words: see `retrieval_figures`."""

from __future__ import annotations

from typing import Any

from slr.retrieval.evaluation.figures import main_figures, retrieval_figures
from slr.retrieval.learning.gallery import Searched


def measure_spelled(searched: Searched) -> dict[str, Any]:
    """Figures of one split; a clip's id begins with the language of its word."""
    languages = [name.split("/", maxsplit=1)[0] for name in searched.ids]
    found = retrieval_figures(searched.scores, queries=searched.queries, groups=searched.groups, languages=languages)
    return found | main_figures(found)
