"""What the readers of isolated corpora share: videos found by name, one gloss a clip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from signwave.errors import MediaError
from slr.datasets.videos import SUFFIXES


def one_gloss(text: str) -> str:
    """A gloss as one token; the words of a longer one are joined by hyphens, as glosses are written.

    >>> one_gloss("  don't want "), one_gloss("THINKCHIN ")
    ("don't-want", 'THINKCHIN')
    """
    return "-".join(text.split())


def find_videos(folder: Path) -> dict[str, list[Path]]:
    """Videos below a folder by their name without suffix, in a fixed order; hidden folders are not entered."""
    found: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES and not name.startswith("."):
                found.setdefault(stem, []).append(Path(parent, name))
    return found


def video_named(videos: Mapping[str, list[Path]], stem: str, *, among: str = "") -> Path:
    """The video of a name.

    Args:
        videos: of `find_videos`.
        stem: name without suffix.
        among: of several, one below a folder whose name starts so is taken first.

    Raises:
        MediaError: there is none, of kind "missing".
    """
    paths = videos.get(stem, [])
    inside = [path for path in paths if among and any(part.startswith(among) for part in path.parts[:-1])]
    if not paths:
        raise MediaError(f"{stem}.mp4", "is not below the folder of the corpus; copy it there", kind="missing")
    return (inside or paths)[0]
