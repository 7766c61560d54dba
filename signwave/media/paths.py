"""Turn what a user or a manifest calls a file into an existing local file, and refuse everything else.

FFmpeg and its kin open network addresses, `concat:` lists and device names when a *name* says so; a manifest from
somebody else must not be able to. Names are checked here before any decoder sees them.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from signwave.errors import MediaError

MEMBER_SEPARATOR = "::"
_PROTOCOL = re.compile(r"^[a-z][a-z0-9+.-]*[:,]", re.IGNORECASE)
_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"<mpd", b"<asx", b"<smil", b"http://", b"https://")
_NUM_SNIFFED_BYTES = 4096


def local_file(path: str | Path) -> Path:
    """Return the absolute path of an existing regular file that is no playlist.

    Raises:
        MediaError: kind "missing" or "refused".
    """
    resolved = _existing(path)
    mode = resolved.stat().st_mode
    if stat.S_ISDIR(mode):
        raise MediaError(path, "is a folder where one file is meant; name the file inside it", kind="refused")
    if not stat.S_ISREG(mode):
        raise MediaError(path, "is a device, pipe or socket; only regular files are read", kind="refused")
    _refuse_playlist(path, resolved)
    return resolved


def local_folder(path: str | Path) -> Path:
    """Return the absolute path of an existing folder.

    Raises:
        MediaError: kind "missing" or "refused".
    """
    resolved = _existing(path)
    if not resolved.is_dir():
        raise MediaError(path, "is no folder; a folder of PNG or JPEG frames is meant here", kind="refused")
    return resolved


def split_member(path: str | Path) -> tuple[str, str | None]:
    """Split `file.zip::folder/inside` into the archive's name and the member; the member is None without `::`."""
    text = str(path)
    head, separator, member = text.partition(MEMBER_SEPARATOR)
    return (head, member) if separator else (text, None)


def _existing(path: str | Path) -> Path:
    text = str(path)
    if "\0" in text or not text:
        raise MediaError(repr(text), "is no file name", kind="refused")
    # A drive letter looks like a protocol; only Windows has them.
    if _PROTOCOL.match(text) and not (os.name == "nt" and re.match(r"^[a-z]:[\\/]", text, re.IGNORECASE)):
        raise MediaError(
            path,
            "looks like a network address or a decoder protocol; only local files are read "
            "(download it first; write ./NAME if the file is really called that)",
            kind="refused",
        )
    resolved = Path(text).expanduser().absolute()
    try:
        return resolved.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise MediaError(path, "does not exist; check the name and the folder it is relative to", kind="missing") from (
            error
        )


def _refuse_playlist(path: str | Path, resolved: Path) -> None:
    try:
        with resolved.open("rb") as file:
            head = file.read(_NUM_SNIFFED_BYTES)
    except OSError as error:
        raise MediaError(path, f"can't be opened ({error.strerror}); check its permissions", kind="missing") from error
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    is_manifest = text.startswith(b"<?xml") and any(mark in text for mark in (b"<mpd", b"<smil", b"<asx", b"<playlist"))
    if text.startswith(_PLAYLIST_STARTS) or is_manifest:
        raise MediaError(path, "is a playlist that points at other media; name the media file itself", kind="refused")
