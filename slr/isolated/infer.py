"""A trained recogniser of isolated signs in use: signs in, what every language's classifier says of them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from signwave import bundle, command
from signwave.bundle import Bundle
from signwave.command import pick_device
from signwave.errors import ArtefactError, UserError
from slr.crosslingual.signs import Sign
from slr.isolated.bags import Bag, BagBatch, EvaluationBags, Windows, by_bag, mean_of_bags, stack
from slr.isolated.model import IsolatedSigns
from slr.medium import ISOLATED_KIND
from slr.reading import Needs

_BATCH_SIGNS = 16


class Seen(NamedTuple):
    """What a recogniser says of N signs.

    embeddings: (N, D) float32 of unit length; NaN where a sign couldn't be read.
    log_probs: language → (N, V) float32, natural log, calibrated, class 0 is the blank; NaN likewise.
    problems: place of a sign → why it couldn't be read.
    """

    embeddings: NDArray[np.float32]
    log_probs: dict[str, NDArray[np.float32]]
    problems: dict[int, str]


class IsolatedRecognizer:
    """A model that names single signs.

    A sign is seen through several windows spread evenly over it, whose probabilities are averaged, as a bag is in
    training; its embedding is the mean of theirs.

    Args:
        stored: a bundle of kind "slr.isolated".
        device: cpu, cuda or cuda:N.

    Raises:
        ArtefactError: the bundle holds another kind of model, or lacks a part.
    """

    def __init__(self, stored: Bundle, *, device: str = "cpu") -> None:
        if stored.kind != ISOLATED_KIND:
            raise ArtefactError(
                f"{stored.folder}: a model of kind '{stored.kind}', not '{ISOLATED_KIND}'; name a run of a recipe "
                "*_islr.py"
            )
        info = stored.info
        try:
            self._glosses = {str(name): tuple(map(str, glosses)) for name, glosses in info["glosses"].items()}
            self._temperatures = {name: float(info["temperatures"][name]) for name in self._glosses}
            self.sources: dict[str, dict[str, str]] = dict(info["sources"])
            self.rate_hz, self.window_frames = float(info["rate_hz"]), int(info["window_frames"])
            self.model = IsolatedSigns(**stored.config)
            self.model.load_state_dict(stored.state_dict())
            if {name: len(glosses) for name, glosses in self._glosses.items()} != stored.config["num_classes"]:
                raise ValueError("its glosses are not its classes")
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{stored.folder}: can't be used ({reason}); export the model again") from error
        self.name, self.digest = str(info.get("name", ISOLATED_KIND)), stored.digest
        self.device = device
        self.model.to(device).eval()
        size_px: Any = info.get("size_px")
        picture = None if size_px is None else (int(size_px[0]), int(size_px[1]))
        self.needs = Needs(self.model.reads, self.rate_hz, picture)
        windows = Windows(self.needs, window_frames=self.window_frames)
        self._bags = EvaluationBags([], windows, num_instances=int(info.get("evaluation_instances", 3)))

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> IsolatedRecognizer:
        """Open a run folder or a bundle folder on auto, cpu, cuda or cuda:N."""
        return cls(bundle.load(path), device=pick_device(device))

    @property
    def languages(self) -> tuple[str, ...]:
        """Names of the languages it was trained on."""
        return tuple(self._glosses)

    def glosses(self, language: str) -> tuple[str, ...]:
        """Classes of a language, the blank first."""
        return self._glosses[self.known(language)]

    def temperature(self, language: str) -> float:
        """By which the log-probabilities of a language are divided."""
        return self._temperatures[self.known(language)]

    def known(self, language: str) -> str:
        """The name, if it is one of its languages.

        Raises:
            UserError: it isn't.
        """
        if language not in self._glosses:
            raise UserError(f"{self.name} knows no language '{language}'; it has {', '.join(self._glosses)}")
        return language

    def see(self, signs: Sequence[Sign], *, quiet: bool = True) -> Seen:
        """Look at signs; the same sign gives the same whatever is beside it.

        Args:
            signs: segments or whole clips.
            quiet: no progress on stderr.
        """
        width = sum(self.model.trunk.feature_dims.values())  # type: ignore[operator,union-attr]
        embeddings = np.full((len(signs), width), np.nan, dtype=np.float32)
        log_probs = {
            name: np.full((len(signs), len(glosses)), np.nan, np.float32) for name, glosses in self._glosses.items()
        }
        problems: dict[int, str] = {}
        starts = range(0, len(signs), _BATCH_SIGNS)
        for first in command.progress(starts, "looking at signs", quiet=quiet):
            batch = self._read(signs[first : first + _BATCH_SIGNS], first, problems)
            if batch is not None:
                places = list(batch.places)
                points = None if batch.points is None else batch.points.flatten(0, 1)
                found, rows = self.look(batch.inputs.flatten(0, 1), points=points, num_bags=len(batch))
                embeddings[places] = found
                for name, values in rows.items():
                    log_probs[name][places] = values
        return Seen(embeddings, log_probs, problems)

    def _read(self, signs: Sequence[Sign], first: int, problems: dict[int, str]) -> BagBatch | None:
        bags: list[Bag] = []
        for place, sign in enumerate(signs, first):
            try:
                bags.append(self._bags.bag(sign, 0, place))
            except (UserError, OSError) as error:
                problems[place] = " ".join(str(error).split())
        return stack(bags, "") if bags else None

    def look(
        self, windows: Tensor, *, points: Tensor | None = None, num_bags: int | None = None
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """What is seen in windows that were read already.

        Args:
            windows: (N, window_frames, …), as the trunk reads them at `needs.rate_hz`; any device.
            points: (N, window_frames, 63, 3) float32 keypoints beside frames.
            num_bags: B, where N / B windows one after the other show one sign; None: each window is asked by itself.

        Returns:
            (B, D) float32 embeddings of unit length, and language → (B, V) float32, natural log, calibrated.
        """
        num_bags = len(windows) if num_bags is None else num_bags
        inputs = windows.to(self.device)
        num_frames = torch.full((len(inputs),), inputs.shape[1], dtype=torch.int64, device=inputs.device)
        with torch.inference_mode():
            pooled = self.model(inputs, num_frames, points=None if points is None else points.to(self.device)).whole
            embedded = functional.normalize(by_bag(self.model.embed(pooled), num_bags).mean(1), dim=-1)
            rows = {name: self._calibrated(pooled, name, num_bags) for name in self._glosses}
        return embedded.cpu().numpy(), rows

    def _calibrated(self, pooled: dict[str, Tensor], language: str, num_bags: int) -> NDArray[np.float32]:
        mean = mean_of_bags(self.model.probabilities(pooled, language), num_bags)
        found: NDArray[np.float32] = (mean / self._temperatures[language]).log_softmax(1).float().cpu().numpy()
        return found
