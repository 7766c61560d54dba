"""Manifests that are changed together: one file, or all of a folder, so that one table may be about all splits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from signwave import manifest
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip

_SUFFIXES = (".jsonl", ".jsonl.gz")
_NO_MANIFEST = "problems.jsonl"  # `slr prepare` writes it beside the manifests


def read_manifests(source: Path) -> dict[str, list[Clip]]:
    """Clips by the name of their file; of a file alone under its own name.

    Raises:
        ManifestError: there is no manifest, or one is damaged.
    """
    if not source.is_dir():
        return {source.name: list(manifest.read(source))}
    paths = sorted(p for p in source.iterdir() if p.name.endswith(_SUFFIXES) and p.name != _NO_MANIFEST)
    if not paths:
        raise ManifestError(f"{source}: holds no manifest (.jsonl, .jsonl.gz); make some with `slr prepare`")
    return {path.name: list(manifest.read(path)) for path in paths}


def write_manifests(clips: Iterable[Clip], read: dict[str, list[Clip]], source: Path, out: Path) -> list[Path]:
    """Write clips under the names of the files they were read from: into a folder, or as the file `out`.

    Args:
        clips: as many as were read, in the order of `read`.
        read: what `read_manifests` returned.
        source: what it was given; its paths stay right from the place of `out`.
        out: a folder where `source` is one, else a file.

    Raises:
        UserError: one is a folder and the other a file.
    """
    is_folder = source.is_dir()
    if is_folder == out.name.endswith(_SUFFIXES):
        wanted = "a folder" if is_folder else "a file like train.jsonl.gz"
        raise UserError(f"{out}: must be {wanted}, as {source} is one")
    if is_folder:
        out.mkdir(parents=True, exist_ok=True)
    remaining, written = iter(clips), []
    for name, before in read.items():
        path = out / name if is_folder else out
        manifest.write(path, [clip.seen_from(path.parent) for clip in islice(remaining, len(before))])
        written.append(path)
    return written
