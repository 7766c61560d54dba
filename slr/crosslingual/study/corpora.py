"""Prepared corpora as a study takes them, and several of them as one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from signwave import manifest as manifests
from signwave.manifest import Clip
from slr.training.corpus import split_path

SPLITS = ("train", "dev", "test")


class Prepared(NamedTuple):
    """A folder of `slr prepare`.

    folder: where it lies.
    name: of the language, in a study.
    sha256: of its manifests.
    """

    folder: Path
    name: str
    sha256: str

    @classmethod
    def open(cls, folder: Path, name: str = "") -> Prepared:
        """Read its hashes; "" calls it as its folder is.

        Raises:
            UserError: a split is missing.
        """
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(manifests.file_hash(split_path(folder, split, setting="corpus")).encode())
        return cls(folder, name or folder.resolve().name, digest.hexdigest())

    def split(self, name: str) -> Path:
        """Manifest of a split."""
        return split_path(self.folder, name, setting="corpus")

    def glosses(self) -> list[str]:
        """Those of its training sentences, by name."""
        return sorted({gloss for clip in manifests.read(self.split("train")) for gloss in clip.text.split()})


def join(corpora: Sequence[Prepared], out: Path) -> Prepared:
    """One corpus of several, for training on all their native glosses; of a single one itself.

    A gloss and a clip are called LANGUAGE/NAME there: equal names of two languages are different signs.
    """
    if len(corpora) == 1:
        return corpora[0]
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        manifests.write(out / f"{split}.jsonl.gz", _joined(corpora, split, out))
    return Prepared.open(out)


def _joined(corpora: Sequence[Prepared], split: str, out: Path) -> Iterator[Clip]:
    for corpus in corpora:
        for clip in manifests.read(corpus.split(split)):
            text = " ".join(f"{corpus.name}/{gloss}" for gloss in clip.text.split())
            yield dataclasses.replace(clip.seen_from(out), id=f"{corpus.name}/{clip.id}", text=text)
