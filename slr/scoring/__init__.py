"""Scoring of recognised glosses: protocols as objects, counts as sclite's, tables, alignments, paired comparison.

evaluation = score("hypotheses.ctm", "test.stm", protocol="official-p14")
tables = breakdown(evaluation.pairs, train_texts=texts)
"""

from slr.scoring.compare import Comparison, compare
from slr.scoring.evaluation import Evaluation, Pair, score, score_all
from slr.scoring.protocols import PROTOCOL_NAMES, PROTOCOLS, Protocol
from slr.scoring.readers import Hypothesis, Reference, read_hypotheses, read_references
from slr.scoring.tables import Breakdown, breakdown
from slr.scoring.writers import save_hypotheses

__all__ = [
    "PROTOCOLS",
    "PROTOCOL_NAMES",
    "Breakdown",
    "Comparison",
    "Evaluation",
    "Hypothesis",
    "Pair",
    "Protocol",
    "Reference",
    "breakdown",
    "compare",
    "read_hypotheses",
    "read_references",
    "save_hypotheses",
    "score",
    "score_all",
]
