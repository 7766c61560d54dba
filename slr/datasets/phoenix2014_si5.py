"""RWTH-PHOENIX-Weather 2014, signer-independent set-up SI5: signer 5 is tested and never trained on.

Same archive, licence, metric and layout as slr.datasets.phoenix2014, beside it as phoenix-2014-signerindependent-SI5
with tables {train,dev,test}.SI5.corpus.csv; 7.3 hours. Cite Koller, Zargaran and Ney, "Re-Sign", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from signwave.prepare import Problem, Row
from slr.datasets.annotations import Published
from slr.datasets.phoenix2014 import check, rows_of

__all__ = ["PUBLISHED", "check", "prepare"]

PUBLISHED: Mapping[str, Published] = {
    "train": Published(clips=4376, frames=611_880, vocabulary=1117),
    "dev": Published(clips=111, frames=16_460),
    "test": Published(clips=180, frames=26_891),
}
"""The literature's 1134 glosses are those of all three splits, without the clip of 16 frames."""


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the corpus."""
    return rows_of(raw, table="{split}.SI5.corpus.csv", what="phoenix-2014-signerindependent-SI5")
