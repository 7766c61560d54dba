"""Publishing an index in Milvus as a whole: numbered collections, and one alias that is moved.

    NAME                  alias of the rows' collection in use
    NAME_g000003          its rows
    NAME_g000003_parts    its tokens and header

A process killed while it builds leaves the alias where it was, and collections that the next build drops.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from signwave.errors import ArtefactError, require
from signwave.index.milvus.place import Place, asking
from signwave.index.milvus.schema import create_collections, read_header
from signwave.index.milvus.table import Table

FORMAT = 1


def open_current(place: Place, client: Any) -> Table:
    """The generation that the alias points to.

    Raises:
        ArtefactError: there is none, or another version wrote it.
    """
    name = current_name(place, client)
    if name is None:
        raise ArtefactError(f"{place}: no index here; build one first, or move one there (slr index move)")
    header = read_header(place, client, name)
    if header.get("format") != FORMAT:
        raise ArtefactError(
            f"{place}: index format {header.get('format')!r}, this version reads {FORMAT}; move it again"
        )
    return Table(place, client, name, header)


def current_name(place: Place, client: Any) -> str | None:
    """Collection that the alias points to, None if there is no alias."""
    exceptions = require("pymilvus.exceptions", extra="milvus")
    try:
        return str(client.describe_alias(place.name)["collection_name"])
    except exceptions.MilvusException:
        # Milvus has no call that asks whether an alias exists, and its code for "no" changed between versions.
        with asking(place):
            names = client.list_collections()
        if place.name in names:
            raise ArtefactError(
                f"{place}: {place.name} is a collection that Signwave didn't make; put another #NAME behind the address"
            ) from None
        return None


@contextlib.contextmanager
def building(place: Place, client: Any, header: Mapping[str, Any]) -> Iterator[Table]:
    """Make a new generation; it comes into use, at once, when the block ends without an error.

    Args:
        place: where.
        client: pymilvus client.
        header: what the generation says about itself.
    """
    current = current_name(place, client)
    number = 1 + max([_number(place, name) for name in _ours(place, client)], default=0)
    name = f"{place.name}_g{number:06d}"
    try:
        table = create_collections(place, client, name, {**header, "format": FORMAT})
        yield table
        table.settle(always=True)
        with asking(place):
            point = client.create_alias if current is None else client.alter_alias
            point(name, place.name)
    except BaseException:
        with contextlib.suppress(ArtefactError):
            _drop(place, client, keep=current)
        raise
    _drop(place, client, keep=name)


def _ours(place: Place, client: Any) -> list[str]:
    pattern = re.compile(re.escape(place.name) + r"_g[0-9]{6,12}(_parts)?")
    with asking(place):
        return [name for name in client.list_collections() if pattern.fullmatch(name)]


def _number(place: Place, name: str) -> int:
    return int(name.removeprefix(f"{place.name}_g").removesuffix("_parts"))


def _drop(place: Place, client: Any, *, keep: str | None) -> None:
    """Drop all generations but one."""
    for name in _ours(place, client):
        if keep is None or name not in (keep, f"{keep}_parts"):
            with asking(place):
                client.drop_collection(name)
