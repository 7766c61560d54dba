"""What every index offers, wherever its rows lie: in a folder (`signwave.index.Index`) or in Milvus."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from signwave.index.hits import Hits

Metric = Literal["cosine", "inner_product"]
TokenType = Literal["float16", "float32", "int8"]
Payload = dict[str, Any]


class TokenBlock(NamedTuple):
    """Token matrices of several rows, one after the other.

    data: (sum of lengths, D') float32, writable and contiguous, so `torch.from_numpy` takes it as it is.
    lengths: (K,) int64, tokens of each row, in the order asked for.
    """

    data: NDArray[np.float32]
    lengths: NDArray[np.int64]


@dataclass(frozen=True)
class Between:
    """A filter for one key: values in [low, high).

    Numbers are compared with numbers, texts with texts by code point, which orders dates and times written as ISO 8601
    ("2026-11-28"). A value of another type, a boolean or a missing one never passes.

    Attributes:
        low: smallest value that passes, None for no limit.
        high: smallest value above that doesn't pass any more, None for no limit.
    """

    low: int | float | str | None = None
    high: int | float | str | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        kinds = {_kind(end) for end in ends}
        if not ends or len(kinds) > 1 or None in kinds:
            raise ValueError(
                f"Between needs one or two ends, both numbers or both texts, got {self.low!r} and {self.high!r}"
            )

    @property
    def is_text(self) -> bool:
        """True if it compares texts, False for numbers."""
        return isinstance(self.low if self.low is not None else self.high, str)

    def accepts(self, value: Any) -> bool:
        """True if a value lies inside."""
        if _kind(value) is not (str if self.is_text else float):
            return False
        return (self.low is None or self.low <= value) and (self.high is None or value < self.high)


def _kind(value: Any) -> type | None:
    if isinstance(value, str):
        return str
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float if is_number and not (isinstance(value, float) and math.isnan(value)) else None


Where = Mapping[str, Any] | Callable[[Payload], bool]
"""A filter on payloads: for each key a wanted value, a list of them (any will do), or a `Between`; or a function."""


class VectorIndex(Protocol):
    """Vectors of one model with ids, payloads and tokens.

    Rows are opaque handles, valid until the index changes or is refreshed; ids are what to remember.
    """

    def __len__(self) -> int: ...

    @property
    def ids(self) -> list[str]:
        """All ids in the order in which they were written."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def metric(self) -> Metric:
        """How vectors are compared: "cosine" (all have unit length) or "inner_product" (any length)."""

    @property
    def has_tokens(self) -> bool:
        """True if token matrices are stored."""

    def search(self, queries: NDArray[np.float32], k: int, *, where: Where | None = None) -> Hits:
        """Find the nearest neighbours of queries (Q, D) float32: K = min(k, rows that pass the filter)."""

    def id_of(self, row: int) -> str:
        """Id of a row."""

    def row_of(self, identity: str) -> int | None:
        """Row of an id, None if it isn't there."""

    def payload(self, row: int) -> Payload:
        """What was stored with a row."""

    def payloads(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Payload]:
        """What was stored with some rows, in their order."""

    def vector(self, row: int) -> NDArray[np.float32]:
        """Vector of a row: (D,) float32."""

    def tokens(self, row: int) -> NDArray[Any]:
        """Token matrix of a row: (M, D') float16 or float32."""

    def token_block(self, rows: Sequence[int] | NDArray[np.int64]) -> TokenBlock:
        """Token matrices of some rows in one call: what the fine-grained score of candidates needs."""

    def add(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows; an id that is there already is an ArtefactError, and nothing changes."""

    def upsert(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows, or replace those that are there, whole, with payload and tokens."""

    def delete(self, ids: Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete rows by id and return how many were deleted."""

    def compact(self) -> None:
        """Make the index as small and fast as a newly built one."""

    def refresh(self) -> bool:
        """Move to the newest state; True if there was a newer one."""

    def info(self) -> dict[str, Any]:
        """Plain values: size, dimension, kind, model, versions, and what was given as `info` to `build`."""

    def verify(self) -> dict[str, Any]:
        """Read everything again and compare it with its checksums; returns `info()`, or raises an ArtefactError."""
