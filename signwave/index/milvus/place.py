"""Where a Milvus index is: an embedded file or a server, and the connection to it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signwave.errors import ArtefactError, UserError, require

PREFIX = "milvus:"
TOKEN_VARIABLE = "MILVUS_TOKEN"
"""Environment variable with the token ("user:password" or an API key) of a server: never part of a command line."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SERVER = re.compile(r"https?://[^\s#]+")
_CONNECT_SECONDS = 15.0
_ALLOWED = "write milvus:FILE.db or milvus:http(s)://HOST:PORT[/DATABASE], with #NAME behind it for another collection"
_users: Counter[str] = Counter()
_users_lock = threading.Lock()


@dataclass(frozen=True)
class Place:
    """A collection in a Milvus.

    Attributes:
        uri: path of an embedded file that ends with .db, or http(s)://host:port[/database].
        name: the collection's name; the index is found by the alias of this name.
    """

    uri: str
    name: str = "signwave"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read "milvus:URI[#NAME]"; the prefix may be left out.

        Raises:
            UserError: neither a .db file nor an http(s) address, or a name that Milvus doesn't allow.
        """
        uri, _, name = text.removeprefix(PREFIX).partition("#")
        place = cls(uri, name or "signwave")
        if not (place.is_embedded and Path(uri).name != ".db") and not _SERVER.fullmatch(uri):
            raise UserError(f"{place}: no place of a Milvus index; {_ALLOWED}")
        if not _NAME.fullmatch(place.name):
            raise UserError(f"{place}: {place.name!r} can't name a collection; use up to 100 letters, digits and _")
        return place

    @property
    def is_embedded(self) -> bool:
        """True for a file of this machine, which milvus-lite opens inside this process."""
        return self.uri.endswith(".db") and "://" not in self.uri

    def __str__(self) -> str:
        shown = re.sub(r"//[^/@]*@", "//", self.uri)  # a password in the address belongs in no message
        return f"{PREFIX}{shown}#{self.name}"


@contextlib.contextmanager
def asking(place: Place) -> Iterator[None]:
    """Turn what Milvus refuses, or a broken connection, into one line."""
    exceptions = require("pymilvus.exceptions", extra="milvus")
    try:
        yield
    except exceptions.MilvusException as error:
        reason = str(error.message).strip().splitlines()[0][:300]
        raise ArtefactError(f"{place}: Milvus could not do it ({reason}); see that it runs and try again") from error


def connect(place: Place) -> Any:
    """Open a client; `disconnect` closes it.

    The token is read from the environment (`TOKEN_VARIABLE`).

    Raises:
        UserError: pymilvus or milvus-lite isn't installed.
        ArtefactError: no server answers, or the file can't be opened or is open in another process.
    """
    pymilvus = require("pymilvus", extra="milvus")
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        # They log every error with a traceback and then raise it; the exception is enough. The last one is
        # milvus-lite's server, which tells clients in this way what it can't do.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if place.is_embedded:
        require("milvus_lite", extra="milvus")
        if not Path(place.uri).resolve().parent.is_dir():
            raise ArtefactError(f"{place}: the folder of this file does not exist; make it first")
    try:
        client = pymilvus.MilvusClient(
            place.uri,
            token=os.environ.get(TOKEN_VARIABLE, ""),
            timeout=_CONNECT_SECONDS,
            dedicated=True,  # a shared connection would outlive the embedded server it talks to
        )
    except pymilvus.MilvusException as error:
        likely = (
            "another process has it open (only one may), or it is no file of milvus-lite"
            if place.is_embedded
            else f"see that the server runs there, and that {TOKEN_VARIABLE} holds its token if it wants one"
        )
        raise ArtefactError(f"{place}: can't be opened: {likely}") from error
    if place.is_embedded:
        with _users_lock:
            _users[_path_of(place)] += 1
    return client


def disconnect(place: Place, client: Any) -> None:
    """Close a client; the last one of an embedded file also gives the file free for other processes."""
    client.close()
    if not place.is_embedded:
        return
    with _users_lock:
        _users[_path_of(place)] -= 1
        is_last = _users[_path_of(place)] <= 0
    if is_last:
        require("milvus_lite.server_manager", extra="milvus").server_manager_instance.release_server(place.uri)


def _path_of(place: Place) -> str:
    return os.path.abspath(place.uri)
