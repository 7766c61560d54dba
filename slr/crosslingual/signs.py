"""Isolated signs, wherever they come from: segments of a continuous corpus, or the clips of an isolated one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from signwave import manifest as manifests
from signwave.errors import ArtefactError, ManifestError
from signwave.manifest import Clip
from slr.crosslingual.segments import BLANK_GLOSS, SUFFIX, Segment, Segments, read_segments

_TRAIN, _DEV, _TEST = ("train",), ("dev", "val", "validation"), ("test",)


class Sign(NamedTuple):
    """One isolated sign.

    Attributes:
        clip: where it is signed.
        gloss: its name, or BLANK_GLOSS.
        start_seconds: from the start of the clip.
        end_seconds: instant to stop before; None is the end of the clip.
    """

    clip: Clip
    gloss: str
    start_seconds: float = 0.0
    end_seconds: float | None = None

    @property
    def origin(self) -> str:
        """What may not lie on both sides of a split: the clip it was cut from."""
        return self.clip.id


@dataclass(frozen=True)
class Signs:
    """The dictionary of one language.

    Attributes:
        name: of the language.
        signs: in the order of the file.
        sha256: of the file's content.
        source: the file; of a folder, its train split.
        manifest_sha256: of the manifest whose clips they are cut from; "" where there is none.
    """

    name: str
    signs: list[Sign] = field(repr=False)
    sha256: str
    source: str
    manifest_sha256: str = ""


class Splits(NamedTuple):
    """The dictionary of one language, and what its corpus holds back by its own rules.

    Attributes:
        train: the dictionary; all of it where the corpus says nothing.
        dev: signs to choose by; None where the corpus names none.
        test: signs to measure on; None likewise.
    """

    train: Signs
    dev: Signs | None = None
    test: Signs | None = None


def load_signs(
    path: str | Path,
    *,
    name: str = "",
    manifest: str | Path | None = None,
    min_mean_posterior: float = 0.0,
    with_blanks: bool = True,
) -> Signs:
    """Read a dictionary.

    Args:
        path: a table of `slr align` (.parquet), a manifest whose clips are one sign each, or a folder of `slr prepare`
            with such manifests, whose train split is read.
        name: of the language; "" takes the table's or the manifest's.
        manifest: of a table, where it isn't where the table says.
        min_mean_posterior: segments that the aligner was less sure of are left out.
        with_blanks: keep stretches without a sign.

    Raises:
        ArtefactError: the table is damaged, or its manifest has changed since.
        ManifestError: the manifest is wrong, or a clip of an isolated corpus has not exactly one gloss.
    """
    if Path(path).is_dir():
        return _isolated(_train_of(Path(path)), name)
    if Path(path).suffix != SUFFIX:
        return _isolated(Path(path), name)
    table = read_segments(path)
    clips = _clips_of(table, path, manifest)
    rate_hz = table.header.rate_hz
    kept = [row for row in table.rows if _is_kept(row, min_mean_posterior, with_blanks)]
    missing = [row.clip for row in kept if row.clip not in clips]
    if missing:
        raise ArtefactError(
            f"{path}: its clip '{missing[0]}' is not in {table.header.manifest}; align the corpus again"
        )
    signs = [Sign(clips[row.clip], row.gloss, row.start_frame / rate_hz, row.end_frame / rate_hz) for row in kept]
    name = name or table.header.language or table.header.corpus
    return Signs(name, signs, table.sha256, str(path), table.header.manifest_sha256)


def load_splits(path: str | Path, *, name: str = "", min_mean_posterior: float = 0.0) -> Splits:
    """Read a dictionary, and of a folder the splits of its corpus too.

    Args:
        path: as for `load_signs`; of a folder also dev (or val, validation) and test, where they are there.
        name: of the language; "" takes the table's or the manifest's.
        min_mean_posterior: segments that the aligner was less sure of are left out.

    Raises:
        ArtefactError: see `load_signs`.
        ManifestError: see `load_signs`; or the folder has no train split.
    """
    train = load_signs(path, name=name, min_mean_posterior=min_mean_posterior)
    if not Path(path).is_dir():
        return Splits(train)
    dev, test = (_manifest_in(Path(path), names) for names in (_DEV, _TEST))
    return Splits(
        train,
        None if dev is None else _isolated(dev, train.name),
        None if test is None else _isolated(test, train.name),
    )


def split_by_origin(signs: Sequence[Sign], *, held_out: float = 0.1, seed: int = 0) -> tuple[list[int], list[int]]:
    """Places of the training signs and of those held out, by the clip they were cut from.

    Windows of one clip are nearly the same, so a split by sign would only ask the model what it has seen. Clips of one
    group (a broadcast) stay together too. A clip falls where its name falls, whatever else is in the corpus; only where
    none of three or more would fall among those held out, the nearest to it does.

    Args:
        signs: of one language.
        held_out: share of the clips.
        seed: other seeds, other clips.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must be in [0, 1), got {held_out}")
    shares = [_share(sign.clip.group or sign.origin, seed) for sign in signs]
    if held_out and len(set(shares)) > 2:
        held_out = max(held_out, math.nextafter(min(shares), 1.0))
    train: list[int] = []
    rest: list[int] = []
    for place, share in enumerate(shares):
        (rest if share < held_out else train).append(place)
    return train, rest


def _share(name: str, seed: int) -> float:
    """A number in [0, 1) that belongs to a name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def _is_kept(row: Segment, min_mean_posterior: float, with_blanks: bool) -> bool:
    if row.gloss == BLANK_GLOSS:
        return with_blanks
    return row.mean_posterior >= min_mean_posterior and row.end_frame > row.start_frame


def _clips_of(table: Segments, path: str | Path, manifest: str | Path | None) -> dict[str, Clip]:
    where = Path(manifest or table.header.manifest)
    if not where.is_file():
        raise ArtefactError(f"{path}: its manifest {where} is not there; give the file, or align the corpus again")
    if manifests.file_hash(where) != table.header.manifest_sha256:
        raise ArtefactError(f"{path}: was aligned on another {where}; align the corpus again")
    return {clip.id: clip for clip in manifests.read(where)}


def _manifest_in(folder: Path, names: Sequence[str]) -> Path | None:
    """The manifest of the first split that is there."""
    paths = [folder / f"{name}{suffix}" for name in names for suffix in (".jsonl.gz", ".jsonl")]
    return next((path for path in paths if path.is_file()), None)


def _train_of(folder: Path) -> Path:
    found = _manifest_in(folder, _TRAIN)
    if found is None:
        names = ", ".join(sorted(path.name for path in folder.glob("*.jsonl*") if "problems" not in path.name))
        raise ManifestError(
            f"{folder}: has no train.jsonl.gz; it has {names or 'no manifest'}; give a folder of `slr prepare`, one "
            "manifest of isolated signs, or a table of `slr align`"
        )
    return found


def _isolated(path: Path, name: str) -> Signs:
    signs = []
    for number, clip in enumerate(manifests.read(path), 1):
        glosses = clip.text.split()
        if len(glosses) != 1:
            raise ManifestError(
                f"{path}:{number}: clip '{clip.id}' has {len(glosses)} glosses; a manifest of isolated signs has one "
                "each; align a continuous corpus with `slr align` and give its table"
            )
        signs.append(Sign(clip, glosses[0]))
    if not signs:
        raise ManifestError(f"{path}: holds no clip; prepare the corpus again")
    sha256 = manifests.file_hash(path)
    return Signs(name or signs[0].clip.language or path.resolve().parent.name, signs, sha256, str(path), sha256)
