"""How a row of an index lies in Milvus: its fields, its checksum, and its tokens in parts.

Milvus's VARCHAR and JSON end at 65,535 bytes and milvus-lite has no half-precision vectors, so a token matrix (64 × 512
float16 is 64 KiB) is cut into base64 texts, rows of a second collection. A row names the version of its parts, and
parts are written before it and deleted after it: a process killed in between leaves the old row or the new one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index.tokens import Encoded

MAX_TEXT_BYTES = 65_535
_PART_BYTES = 49_149  # 65,532 characters of base64
_MAX_PAYLOAD_BYTES = 65_000
_MAX_INTEGER = 1 << 63

ROW_FIELDS = ("key", "id", "payload", "version", "num_tokens", "token_dim", "checksum")


@dataclass(frozen=True)
class Row:
    """One item as it is written.

    Attributes:
        id: its name.
        vector: (D,) float32.
        payload: plain values.
        tokens: (M, D') as they are stored, None in an index without tokens.
        version: grows with every write; the order of ids, and what its parts are found by.
    """

    id: str
    vector: NDArray[np.float32]
    payload: Mapping[str, Any]
    tokens: Encoded | None
    version: int

    @property
    def key(self) -> int:
        return key_of(self.id)

    def fields(self) -> dict[str, Any]:
        """The row of the main collection."""
        num_tokens, token_dim = (-1, 0) if self.tokens is None else self.tokens.data.shape
        return {
            "key": self.key,
            "id": self.id,
            "vector": self.vector,
            "payload": self.payload,
            "version": self.version,
            "num_tokens": num_tokens,
            "token_dim": token_dim,
            "checksum": checksum(self.id, self.vector, self.payload, self.tokens),
        }

    def parts(self) -> list[dict[str, Any]]:
        """The rows of the second collection."""
        return [] if self.tokens is None else part_rows(self.key, self.version, token_bytes(self.tokens))


def token_bytes(tokens: Encoded) -> bytes:
    """Tokens as bytes: the numbers, then the scales if there are any; little-endian."""
    arrays = [tokens.data] if tokens.scales is None else [tokens.data, tokens.scales]
    return b"".join(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes() for array in arrays)


def num_token_bytes(row: Mapping[str, Any], dtype: np.dtype[Any]) -> int:
    """Length of `token_bytes` of a stored row."""
    num_tokens = max(0, int(row["num_tokens"]))
    return num_tokens * (int(row["token_dim"]) * dtype.itemsize + (4 if dtype == np.int8 else 0))


def tokens_of(row: Mapping[str, Any], data: bytes, dtype: np.dtype[Any]) -> Encoded:
    """Turn the bytes of a stored row back."""
    num_tokens, dim = max(0, int(row["num_tokens"])), int(row["token_dim"])
    numbers = np.frombuffer(data, dtype=dtype.newbyteorder("<"), count=num_tokens * dim).reshape(num_tokens, dim)
    scales = np.frombuffer(data, dtype="<f4", offset=numbers.nbytes) if dtype == np.int8 else None
    return Encoded(numbers, scales)


def key_of(identity: str) -> int:
    """Primary key of an id: 63 bits of its SHA-256."""
    return _hash63(identity.encode("utf-8"))


def part_key(owner: int, version: int, number: int) -> int:
    """Primary key of a part: computed, so that parts are fetched without a search."""
    return _hash63(f"{owner}/{version}/{number}".encode("ascii"))


def _hash63(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


class _Text(str):
    """A text that is one item: pymilvus 3.0 loops over the characters of every VARCHAR, a millisecond for each part."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter((str(self),))


def part_rows(owner: int, version: int, data: bytes) -> list[dict[str, Any]]:
    """Bytes as rows of the second collection."""
    return [
        {
            "part": part_key(owner, version, number),
            "owner": owner,
            "version": version,
            "number": number,
            "data": _Text(base64.b64encode(data[start : start + _PART_BYTES]), "ascii"),
            "nothing": [0.0, 0.0],  # Milvus wants a vector in every collection
        }
        for number, start in enumerate(range(0, len(data), _PART_BYTES))
    ]


def part_keys(row: Mapping[str, Any], dtype: np.dtype[Any]) -> list[int]:
    """Keys of the parts that hold a stored row's tokens."""
    num_parts = -(-num_token_bytes(row, dtype) // _PART_BYTES)
    return [part_key(row["key"], row["version"], number) for number in range(num_parts)]


def join_parts(texts: Sequence[str]) -> bytes:
    """The bytes that parts hold, given in order."""
    return b"".join(base64.b64decode(text, validate=True) for text in texts)


def checksum(identity: str, vector: NDArray[np.float32], payload: Mapping[str, Any], tokens: Encoded | None) -> str:
    """SHA-256 over everything that a row holds."""
    digest = hashlib.sha256(identity.encode("utf-8") + b"\0")
    digest.update(np.ascontiguousarray(vector, dtype="<f4").tobytes())
    digest.update(json.dumps(payload, sort_keys=True, ensure_ascii=False).encode("utf-8"))
    if tokens is not None:
        digest.update(f"{tokens.data.shape}{tokens.data.dtype.name}".encode("ascii") + token_bytes(tokens))
    return digest.hexdigest()


def plain_payload(identity: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload as JSON keeps it (tuples become lists), small enough for Milvus.

    Raises:
        ArtefactError: more than Milvus's JSON holds, an integer of more than 64 bits, or text that isn't UTF-8.
    """
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
        num_bytes = len(text.encode("utf-8"))
        identity.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ArtefactError(
            f"{identity!r}: holds text that is no UTF-8 ({error.reason}); Milvus can't keep it"
        ) from None
    if num_bytes > _MAX_PAYLOAD_BYTES or len(identity.encode("utf-8")) > MAX_TEXT_BYTES:
        raise ArtefactError(
            f"{identity[:80]!r}: id and payload have {num_bytes:,} bytes, Milvus keeps {_MAX_PAYLOAD_BYTES:,} a row; "
            "shorten the payload or stay with an index folder"
        )
    plain: dict[str, Any] = json.loads(text, parse_int=lambda digits: _integer(identity, digits))
    return plain


def _integer(identity: str, digits: str) -> int:
    value = int(digits)
    if not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise ArtefactError(f"{identity!r}: its payload holds {digits}, Milvus keeps 64 bits; write it as text")
    return value
