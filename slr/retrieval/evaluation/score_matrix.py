"""Scores of texts against clips, with what is known of both: all that an evaluation needs, from any system.

The file is a plain .npz without pickle, so that the scores of other people's code can be written with one call:

    np.savez("scores.npz", scores=scores, text_group=[…], clip_group=[…], text=[…], text_language=[…], clip_id=[…])
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError, ManifestError, UserError
from signwave.manifest import Clip
from signwave.rundir import atomic_path
from slr.scoring.broadcasts import broadcast

VARIANT_MARK = "+"
"""Between language and kind in the key of a caption: "en+keywords"."""


class ScoredText(NamedTuple):
    """A text that should find the clips of a group.

    variant: "" for the caption itself, otherwise what was made of it: "keywords", "question", "de" …
    """

    text: str
    language: str
    group: str
    variant: str = ""

    @classmethod
    def of_key(cls, text: str, key: str, group: str) -> ScoredText:
        """The caption that a manifest has under a key."""
        language, _, variant = key.partition(VARIANT_MARK)
        return cls(text, language, group, variant)

    @property
    def key(self) -> str:
        """Key of the caption in a manifest: the language, or LANGUAGE+VARIANT."""
        return f"{self.language}{VARIANT_MARK}{self.variant}" if self.variant else self.language


class ScoredClip(NamedTuple):
    """A clip that texts should find.

    language: of its signs, or of the word that it spells.
    recording: what it was cut from: a broadcast, a video.
    """

    id: str
    group: str
    person: str = ""
    language: str = ""
    recording: str = ""


def as_compared(text: str) -> str:
    """A caption as it is compared with another one: neither case nor the size of a gap makes it a different caption."""
    return " ".join(text.casefold().split())


def texts_of(clips: Iterable[Clip]) -> tuple[ScoredText, ...]:
    """Every distinct caption of every group, in the order of the clips; a clip without group is one of its own."""
    found: dict[ScoredText, None] = {}
    for clip in clips:
        for key, text in clip.captions.items():
            found[ScoredText.of_key(text, key, clip.group or clip.id)] = None
    return tuple(found)


def gallery_of(clips: Iterable[Clip]) -> tuple[ScoredClip, ...]:
    """The clips as a gallery.

    Raises:
        ManifestError: an id occurs twice.
    """
    found: dict[str, ScoredClip] = {}
    for clip in clips:
        if clip.id in found:
            raise ManifestError(f"clip '{clip.id}' is there twice; ids must be unique in what is evaluated together")
        recording = _recording(clip.id) or clip.path
        found[clip.id] = ScoredClip(clip.id, clip.group or clip.id, clip.person, clip.language, recording)
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores of T texts against C clips, and of those of the training set for the normalised columns.

    Attributes:
        scores: (T, C) float32, higher is better; -inf marks a pair that wasn't scored.
        texts: T queries.
        clips: C clips.
        bank_texts: (B, C) float32, training texts × these clips, or None.
        bank_clips: (T, A) float32, these texts × training clips, or None.
        nearness: (C, C) float32, how alike clips look (nearer is higher), for the test of confusable clips, or None.
        missing: ids of clips that belong to the set and weren't scored.
        name: of the system.

    Raises:
        ValueError: shapes don't agree, or a score is NaN.
    """

    scores: NDArray[np.float32]
    texts: tuple[ScoredText, ...]
    clips: tuple[ScoredClip, ...]
    bank_texts: NDArray[np.float32] | None = None
    bank_clips: NDArray[np.float32] | None = None
    nearness: NDArray[np.float32] | None = None
    missing: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        num_texts, num_clips = len(self.texts), len(self.clips)
        for name, matrix, wanted in (
            ("scores", self.scores, (num_texts, num_clips)),
            ("bank_texts", self.bank_texts, (None, num_clips)),
            ("bank_clips", self.bank_clips, (num_texts, None)),
            ("nearness", self.nearness, (num_clips, num_clips)),
        ):
            if matrix is not None and not _fits(matrix, wanted):
                shown = " × ".join("any" if size is None else str(size) for size in wanted)
                raise ValueError(
                    f"{name} has shape {matrix.shape}, {num_texts} texts and {num_clips} clips need {shown}"
                )
            if matrix is not None and np.isnan(matrix).any():
                row, column = np.argwhere(np.isnan(matrix))[0]
                raise ValueError(f"{name} holds NaN, the first in row {row}, column {column}: a NaN has no rank")

    def save(self, path: str | Path) -> None:
        """Write everything to one .npz, atomically."""
        columns: dict[str, NDArray[Any]] = {"scores": self.scores, "name": np.array(self.name)}
        columns |= {
            _TEXT_COLUMNS[n]: np.array([row[n] for row in self.texts], dtype=str) for n in range(len(_TEXT_COLUMNS))
        }
        columns |= {
            _CLIP_COLUMNS[n]: np.array([row[n] for row in self.clips], dtype=str) for n in range(len(_CLIP_COLUMNS))
        }
        columns["missing"] = np.array(self.missing, dtype=str)
        columns |= {name: matrix for name in _MATRICES if (matrix := getattr(self, name)) is not None}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> ScoreMatrix:
        """Read an .npz; only `scores`, `text_group` and `clip_group` must be there.

        Without `text`, each group's name stands for its caption: no two captions are known to be the same.

        Raises:
            ArtefactError: the file is missing, is none, needs pickle, lacks a part, or its shapes don't agree.
        """
        parts = _read(Path(path))
        lacking = [name for name in ("scores", "text_group", "clip_group") if name not in parts]
        if lacking:
            raise ArtefactError(f"{path}: lacks {lacking[0]}; it needs scores, text_group and clip_group at least")
        unknown = sorted(set(parts) - {"scores", "name", "missing", *_TEXT_COLUMNS, *_CLIP_COLUMNS, *_MATRICES})
        if unknown:
            allowed = ", ".join((*_TEXT_COLUMNS, *_CLIP_COLUMNS, *_MATRICES, "missing", "name"))
            raise ArtefactError(f"{path}: holds '{unknown[0]}', which means nothing here; beside scores are {allowed}")
        parts.setdefault("text", parts["text_group"])
        clip_rows = _rows(path, parts, _CLIP_COLUMNS, of="clip_group")
        # Without ids, clips go by their place; ids tell them apart in lists of errors only.
        clips = tuple(ScoredClip(row[0] or str(place), *row[1:]) for place, row in enumerate(clip_rows))
        try:
            return cls(
                np.asarray(parts["scores"], dtype=np.float32),
                tuple(ScoredText(*row) for row in _rows(path, parts, _TEXT_COLUMNS, of="text_group")),
                clips,
                missing=tuple(parts["missing"].tolist()) if "missing" in parts else (),
                name=str(parts.get("name", "")),
                **{name: np.asarray(parts[name], dtype=np.float32) for name in _MATRICES if name in parts},
            )
        except ValueError as error:
            raise ArtefactError(f"{path}: {error}; write it again") from error

    def require_finite(self) -> None:
        """Say so if a pair wasn't scored: what isn't there can't be normalised.

        Raises:
            UserError: a score, or one of the banks, is infinite.
        """
        for name in ("scores", "bank_texts", "bank_clips"):
            matrix = getattr(self, name)
            if matrix is not None and not np.isfinite(matrix).all():
                raise UserError(
                    f"{self.name or 'scores'}: {name} holds pairs without a score, so nothing can be normalised; score "
                    "every pair, or leave out the bank and the transductive rows"
                )


_TEXT_COLUMNS = ("text", "text_language", "text_group", "text_variant")
_CLIP_COLUMNS = ("clip_id", "clip_group", "clip_person", "clip_language", "clip_recording")
_MATRICES = ("bank_texts", "bank_clips", "nearness")


# OpenASL: VIDEO-00:00:01.000-00:00:02.000; How2Sign: VIDEO_SENTENCE-SIGNER-rgb_front; CiCo: …-rgb_front_clipNUMBER.
_OF_VIDEO = re.compile(r"(.{11})(-\d\d:\d\d:\d\d\.\d+-\d\d:\d\d:\d\d\.\d+|(_\d+)?-\d+-rgb_\w+)")


def _recording(clip_id: str) -> str:
    """What a clip was cut from, where its id says so, otherwise ""."""
    match = _OF_VIDEO.fullmatch(clip_id)
    return match[1] if match else broadcast(clip_id)


def _fits(matrix: NDArray[Any], wanted: tuple[int | None, int | None]) -> bool:
    return matrix.ndim == 2 and all(size in (None, own) for size, own in zip(wanted, matrix.shape, strict=True))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise ArtefactError(f"{path}: holds one array without names; write it with np.savez, see the manual")
        with stored:
            return dict(stored)
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: can't be read without pickle ({error}); store text as arrays of str") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ArtefactError(f"{path}: is no .npz ({error}); write it again") from error


def _rows(
    path: str | Path, parts: dict[str, NDArray[Any]], columns: Sequence[str], *, of: str
) -> list[tuple[str, ...]]:
    """One tuple a row; a column that isn't there is empty.

    Raises:
        ArtefactError: columns of different lengths.
    """
    size = len(parts[of])
    for name in columns:
        if name in parts and parts[name].shape != (size,):
            raise ArtefactError(f"{path}: {name} has shape {parts[name].shape}, {of} has {size} rows; write it again")
    texts = [[str(value) for value in parts[name]] if name in parts else [""] * size for name in columns]
    return list(zip(*texts, strict=True))
