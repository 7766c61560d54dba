"""How the collections of an index in Milvus are made, and the header in which an index says what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from signwave.errors import ArtefactError, require
from signwave.index.milvus.place import Place, asking
from signwave.index.milvus.rows import MAX_TEXT_BYTES, join_parts, part_rows
from signwave.index.milvus.table import HEADER_OWNER, MAX_HITS, Table

INDEX_TYPES: dict[str, dict[str, Any]] = {
    "flat": {"index_type": "FLAT", "params": {}},
    "hnsw": {"index_type": "HNSW", "params": {"M": 32, "efConstruction": 80}},
    "ivf_sq8": {"index_type": "IVF_SQ8", "params": {"nlist": 1024}},
}


def create_collections(place: Place, client: Any, name: str, header: Mapping[str, Any]) -> Table:
    """Make both collections, empty, and write the header."""
    kinds = require("pymilvus", extra="milvus").DataType
    table = Table(place, client, name, header)
    fields: dict[str, tuple[Any, dict[str, Any]]] = {
        "key": (kinds.INT64, {"is_primary": True}),
        "id": (kinds.VARCHAR, {"max_length": MAX_TEXT_BYTES}),
        "vector": (kinds.FLOAT_VECTOR, {"dim": header["dim"]}),
        "payload": (kinds.JSON, {}),
        "version": (kinds.INT64, {}),
        "num_tokens": (kinds.INT64, {}),
        "token_dim": (kinds.INT64, {}),
        "checksum": (kinds.VARCHAR, {"max_length": 64}),
    }
    index = INDEX_TYPES[header["kind"]]
    _create(table, name, fields, "vector", {**index, "metric_type": "IP"}, {})
    parts: dict[str, tuple[Any, dict[str, Any]]] = {
        "part": (kinds.INT64, {"is_primary": True}),
        "owner": (kinds.INT64, {}),
        "version": (kinds.INT64, {}),
        "number": (kinds.INT64, {}),
        "data": (kinds.VARCHAR, {"max_length": MAX_TEXT_BYTES}),
        "nothing": (kinds.FLOAT_VECTOR, {"dim": 2}),
    }
    no_index = {"index_type": "FLAT", "metric_type": "L2", "params": {}}
    # A server maps the texts from its disk instead of holding them in memory.
    _create(table, table.parts_name, parts, "nothing", no_index, {"mmap.enabled": True})
    data = json.dumps(header, ensure_ascii=True, allow_nan=False).encode("ascii")
    with asking(place):
        client.insert(table.parts_name, part_rows(HEADER_OWNER, 0, hashlib.sha256(data).digest() + data))
    return table


def _create(
    table: Table,
    name: str,
    fields: Mapping[str, tuple[Any, dict[str, Any]]],
    vector: str,
    index: Mapping[str, Any],
    properties: Mapping[str, Any],
) -> None:
    with asking(table.place):
        schema = table.client.create_schema(auto_id=False, enable_dynamic_field=False)
        for field, (kind, settings) in fields.items():
            schema.add_field(field, kind, **settings)
        parameters = table.client.prepare_index_params()
        parameters.add_index(vector, **index)
        table.client.create_collection(
            name,
            schema=schema,
            index_params=parameters,
            consistency_level="Strong",  # a read sees every write before it
            properties=dict(properties),
        )


def read_header(place: Place, client: Any, name: str) -> dict[str, Any]:
    """The header of a generation.

    Raises:
        ArtefactError: there is none, or it can't be read.
    """
    with asking(place):
        for collection in (name, f"{name}_parts"):
            client.load_collection(collection)  # milvus-lite forgets it when the file is closed
        parts = client.query(
            f"{name}_parts", filter=f"owner == {HEADER_OWNER}", output_fields=["number", "data"], limit=MAX_HITS
        )
    try:
        ordered = sorted(parts, key=lambda part: part["number"])
        data = join_parts([part["data"] for part in ordered])
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise ValueError("its checksum is wrong")
        header: dict[str, Any] = json.loads(data[32:])
    except ValueError as error:
        raise ArtefactError(f"{place}: the header of {name} can't be read ({error}); build or move it again") from error
    return header
