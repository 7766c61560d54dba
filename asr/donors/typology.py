"""Distances between languages by URIEL's typological vectors, read from the package lang2vec (an optional one).

The vectors are the kNN-completed ones: 103 features of syntax, 28 of phonology, 158 of the phone inventory (Littell et
al., "URIEL and lang2vec", EACL 2017). The package's own code needs a module that setuptools has dropped, so only its
data files are opened.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError, UserError

Floats = NDArray[np.float64]

_PARTS = {"syntax": "S_", "phonology": "P_", "inventory": "INV_"}
# Macrolanguages whose entry in URIEL is not the language that corpora mean by the code.
_MEMBER = {"fas": "pes", "ara": "arb", "pus": "pbu", "zho": "cmn"}


class Typology(NamedTuple):
    """How far two languages are from each other.

    syntax, phonology, inventory: cosine distance in [0, 1], 0 = alike.
    mean: of these three.
    family: shared share of the groups in both family trees, 1 = the same.
    """

    syntax: float
    phonology: float
    inventory: float
    mean: float
    family: float


@dataclass(frozen=True)
class Uriel:
    """The typological vectors of 7,970 languages.

    Attributes:
        vectors: by part, (N, D) float64.
        families: (N, G) bool, groups that a language belongs to.
        features: names of the features of the inventory.
        rows: place of a language by its ISO 639-3 code.
        letters: ISO 639-3 code by the two-letter one.
    """

    vectors: dict[str, Floats]
    families: NDArray[np.bool_]
    features: list[str]
    rows: dict[str, int]
    letters: dict[str, str]

    @staticmethod
    def is_there() -> bool:
        """Whether the package is installed."""
        return _data_folder() is not None

    @classmethod
    def load(cls) -> Uriel:
        """Read the data files of lang2vec.

        Raises:
            UserError: it isn't installed.
            ArtefactError: its files aren't what they were in 1.1.2.
        """
        folder = _data_folder()
        if folder is None:
            raise UserError("typology needs the package 'lang2vec'; run: pip install 'signwave[donors]'")
        try:
            with np.load(folder / "feature_predictions.npz") as stored:
                names, languages, values = list(map(str, stored["feats"])), stored["langs"], stored["data"][:, :, 0]
            with np.load(folder / "family_features.npz") as stored:
                order = {code: row for row, code in enumerate(stored["langs"])}
                families = stored["data"][[order[code] for code in languages], :, 0] > 0
            letters = json.loads((folder / "letter_codes.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError) as error:
            raise ArtefactError(f"{folder}: not the data of lang2vec 1.1.2 ({error}); install that version") from error
        vectors = {
            part: values[:, [name.startswith(prefix) for name in names]].astype(np.float64)
            for part, prefix in _PARTS.items()
        }
        inventory = [name for name in names if name.startswith(_PARTS["inventory"])]
        return cls(vectors, families, inventory, {str(code): row for row, code in enumerate(languages)}, letters)

    def code(self, language: str) -> str:
        """The ISO 639-3 code that URIEL knows a language by: of two letters or three, in any case.

        >>> Uriel({}, np.zeros((0, 0), bool), [], {"pes": 0}, {"fa": "fas"}).code("fa")
        'pes'

        Raises:
            UserError: it knows none.
        """
        given = language.strip().lower().replace("_", "-").partition("-")[0]
        long = self.letters.get(given, given)
        code = _MEMBER.get(long, long)
        if code not in self.rows:
            close = difflib.get_close_matches(code, self.rows, n=3)
            raise UserError(
                f"language '{language}': URIEL has none of this code; give an ISO 639-3 code"
                + (f", such as {', '.join(close)}" if close else "")
            )
        return code

    def distance(self, one: str, other: str) -> Typology:
        """Compare two languages, given as `code` takes them."""
        first, second = self.rows[self.code(one)], self.rows[self.code(other)]
        parts = {part: _cosine_distance(self.vectors[part][first], self.vectors[part][second]) for part in _PARTS}
        groups = self.families[[first, second]]
        num_all = int(groups.any(axis=0).sum())
        family = float(groups.all(axis=0).sum() / num_all) if num_all else 0.0
        return Typology(**parts, mean=float(np.mean(list(parts.values()))), family=family)

    def phones(self, language: str) -> frozenset[str]:
        """Features of a language's phone inventory, partly guessed from its neighbours."""
        row = self.vectors["inventory"][self.rows[self.code(language)]]
        return frozenset(name for name, value in zip(self.features, row, strict=True) if value >= 0.5)


def _cosine_distance(one: Floats, other: Floats) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return max(0.0, 1.0 - float(one @ other) / norms) if norms else 1.0


def _data_folder() -> Path | None:
    """Where lang2vec's data lie.

    Its metadata say so. The import system would find the script lang2vec.py, which lies beside the command `asr`.
    """
    try:
        return Path(str(metadata.distribution("lang2vec").locate_file("lang2vec/data")))
    except metadata.PackageNotFoundError:
        return None
