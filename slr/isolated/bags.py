"""Bags of windows: several short looks at one isolated sign, drawn for training, evenly spread for evaluation."""

from __future__ import annotations

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.batch import Batch
from signwave.errors import MediaError, UserError
from signwave.manifest import Clip
from signwave.sampling import Draw
from slr.crosslingual.signs import Sign
from slr.reading import Needs, Reading, read
from slr.training.augmentation import NUM_CHANCES

log = logging.getLogger(__name__)

Balance = Literal["square_root", "class", "natural"]
_CACHED_CLIPS = 4096
_TRIES = 8


@dataclass(frozen=True, repr=False)
class BagBatch(Batch):
    """B bags of K windows each, of one language.

    inputs: (B, K, T, …), what the trunk reads.
    foreground: (B, K, T) bool, frames that belong to the sign.
    labels: (B,) int64, classes of the language, 0 for blanks.
    language: its name.
    places: place of each sign in its dictionary.
    points: (B, K, T, 63, 3) float32 keypoints beside frames.
    chances: (B, R) float32 in [0, 1), from which augmentation on the device is made; None where there is none.
    """

    inputs: Tensor
    foreground: Tensor
    labels: Tensor
    language: str
    places: tuple[int, ...]
    points: Tensor | None = None
    chances: Tensor | None = None

    @property
    def num_frames(self) -> Tensor:
        """(B * K,) int64, frames of each window."""
        num_bags, num_instances, size = self.inputs.shape[:3]
        return torch.full((num_bags * num_instances,), size, dtype=torch.int64, device=self.inputs.device)


class Bag(NamedTuple):
    """One sign on its way into a batch; see BagBatch."""

    inputs: NDArray[Any]
    foreground: NDArray[np.bool_]
    label: int
    place: int
    points: NDArray[np.float32] | None = None
    chances: NDArray[np.float32] | None = None


class ReadClip(Protocol):
    """Reads a span of a clip."""

    def __call__(self, clip: Clip, start_seconds: float, end_seconds: float | None) -> Reading:
        """The span, counted from the start of the clip."""


def read_span(clip: Clip, start_seconds: float, end_seconds: float | None, *, needs: Needs) -> Reading:
    """Read a span of a clip, as `slr.reading.read` does."""
    first = clip.start_seconds
    end = clip.end_seconds if end_seconds is None else first + end_seconds
    return read(clip.path, needs, start_seconds=first + start_seconds, end_seconds=end, poses_path=clip.poses_path)


class Windows:
    """Windows of clips; keypoints of whole clips are kept, frames are read where a window needs them.

    Args:
        needs: what the trunk reads.
        window_frames: length of a window.
        inside: windows lie within their sign, where it is as long as one; else only their centres do.
        read_clip: reads a span; by default the clip's file.
    """

    def __init__(
        self, needs: Needs, *, window_frames: int = 16, inside: bool = False, read_clip: ReadClip | None = None
    ) -> None:
        if needs.rate_hz is None:
            raise ValueError("windows need a rate")
        self.needs, self.rate_hz, self.window_frames, self.inside = needs, needs.rate_hz, window_frames, inside
        self._read_clip = read_clip
        self._cache: OrderedDict[tuple[object, ...], Reading] = OrderedDict()

    def span_of(self, sign: Sign) -> tuple[int, int]:
        """Half-open frames of a sign, counted from the start of its clip; at least one.

        Raises:
            MediaError: nobody knows how long the clip is.
        """
        clip = sign.clip
        if not clip.duration_seconds:
            raise MediaError(clip.path, "has no length in its manifest; prepare the corpus again", kind="empty")
        size = max(1, round(clip.duration_seconds * self.rate_hz))
        start = min(round(sign.start_seconds * self.rate_hz), size - 1)
        end = size if sign.end_seconds is None else min(round(sign.end_seconds * self.rate_hz), size)
        return start, max(end, start + 1)

    def room(self, sign: Sign, *, tempo: float = 1.0) -> tuple[float, float]:
        """Between which frames the centre of a window may lie, counted from the start of the clip."""
        start, end = self.span_of(sign)
        if not self.inside:
            return start - 0.5, end - 0.5
        half = (self.window_frames - 1) / 2 * tempo
        low, high = start + half - 0.5, end - half - 0.5
        middle = (start + end - 1) / 2
        return min(low, middle), max(high, middle)

    def __call__(self, sign: Sign, centres: NDArray[np.float64], *, tempo: float = 1.0) -> Reading:
        """Windows about some frames, joined.

        Beyond the ends of the clip its first and last frame are repeated.

        Args:
            sign: what is looked at.
            centres: (K,) float64, frames counted from the start of the clip.
            tempo: frames of the clip per frame of the window.

        Returns:
            A reading of K * window_frames frames.
        """
        wanted = self._wanted(centres, tempo).ravel()
        low, reading = self._around(sign.clip, int(wanted.min()), int(wanted.max()) + 1)
        places = np.clip(wanted - low, 0, len(reading.inputs) - 1)
        points = None if reading.points is None else reading.points[np.minimum(places, len(reading.points) - 1)]
        return reading._replace(inputs=reading.inputs[places], points=points)

    def frames(self, sign: Sign, centres: NDArray[np.float64], *, tempo: float = 1.0) -> NDArray[np.bool_]:
        """(K, T) bool, which frames of the windows belong to the sign."""
        start, end = self.span_of(sign)
        wanted = self._wanted(centres, tempo)
        return np.asarray((wanted >= start) & (wanted < end))

    def _wanted(self, centres: NDArray[np.float64], tempo: float) -> NDArray[np.int64]:
        """(K, T) int64, frames of the windows, those beyond the ends of the clip too."""
        steps = (np.arange(self.window_frames) - (self.window_frames - 1) / 2) * tempo
        # Not np.round, which brings halves to even numbers: a window about a whole frame would see every other twice.
        return np.floor(centres[:, None] + steps + 0.5).astype(np.int64)

    def _around(self, clip: Clip, low: int, high: int) -> tuple[int, Reading]:
        """Where a reading starts, and the reading."""
        if self.needs.reads != "keypoints":
            low = max(0, low)
            return low, self._read(clip, low / self.rate_hz, max(high, low + 1) / self.rate_hz)
        # The id alone isn't enough: ids are unique within a split of one corpus.
        key = (clip.id, clip.path, clip.poses_path, clip.start_seconds, clip.end_seconds)
        if key not in self._cache:
            self._cache[key] = self._read(clip, 0.0, None)
            if len(self._cache) > _CACHED_CLIPS:
                self._cache.popitem(last=False)
        return 0, self._cache[key]

    def _read(self, clip: Clip, start: float, end: float | None) -> Reading:
        if end is not None and clip.duration_seconds is not None:
            end = min(end, clip.duration_seconds)
            start = max(0.0, min(start, end - 1 / self.rate_hz))
        if self._read_clip is not None:
            return self._read_clip(clip, start, end)
        found = read_span(clip, start, end, needs=self.needs)
        if not len(found.inputs):
            raise MediaError(clip.path, "has no frame in the span of a sign; align the corpus again", kind="empty")
        if self.needs.reads == "frames+keypoints" and found.points is None:
            reason = "has no keypoints beside it, and two streams need them; prepare the corpus with --poses"
            raise MediaError(clip.path, reason, kind="missing")
        return found


@dataclass(frozen=True)
class Dictionary:
    """The signs of one language and their classes.

    Attributes:
        name: of the language.
        signs: what is looked at.
        labels: class of each, 0 for blanks.
        glosses: of the classes; the first is the blank.
        split: by which rule these signs were held back, for people.
        num_unknown: signs that are not among them because their gloss is no class.
    """

    name: str
    signs: Sequence[Sign]
    labels: Sequence[int]
    glosses: tuple[str, ...]
    split: str = ""
    num_unknown: int = 0


class _Unread:
    """Tells each clip that can't be read once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, language: str, sign: Sign, problem: str) -> None:
        if (language, sign.clip.id) not in self._told:
            self._told.add((language, sign.clip.id))
            log.warning("clip '%s' of %s left out: %s", sign.clip.id, language, problem)


def sign_weights(labels: Sequence[int], balance: Balance) -> NDArray[np.float64]:
    """(N,) float64 summing to 1, how often each sign is drawn.

    "natural": all alike; "class": all classes alike; "square_root": a class by the square root of its number of signs.
    """
    counts = Counter(labels)
    power = {"natural": 0.0, "square_root": 0.5, "class": 1.0}[balance]
    weights = np.asarray([counts[label] ** -power for label in labels], dtype=np.float64)
    return np.asarray(weights / weights.sum())


class TrainBags:
    """Training batches, each an item: the language turns with the item's number, the signs come from its seed.

    For a sign that can't be read another one is drawn; each such clip is told once.

    Args:
        dictionaries: what is learnt.
        windows: reads them.
        num_bags: B.
        num_instances: K.
        balance: how signs are drawn.
        tempo: windows are drawn at a tempo of 1 / tempo to tempo.
    """

    def __init__(
        self,
        dictionaries: Sequence[Dictionary],
        windows: Windows,
        *,
        num_bags: int = 4,
        num_instances: int = 6,
        balance: Balance = "square_root",
        tempo: float = 1.25,
    ) -> None:
        self.dictionaries, self.windows = list(dictionaries), windows
        self.num_bags, self.num_instances, self.tempo = num_bags, num_instances, tempo
        self.weights = [sign_weights(one.labels, balance) for one in self.dictionaries]
        self._unread = _Unread()

    @property
    def lengths(self) -> list[int]:
        """Frames of each batch."""
        size = self.num_bags * self.num_instances * self.windows.window_frames
        total = sum(len(one.signs) for one in self.dictionaries)
        return [size] * max(len(self.dictionaries), -(-total // self.num_bags))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, draw: Draw) -> BagBatch:
        """One batch; everything in it comes from the draw."""
        number = draw.index % len(self.dictionaries)
        rng = np.random.default_rng(draw.seed)
        return stack([self._bag(number, rng) for _ in range(self.num_bags)], self.dictionaries[number].name)

    def collate(self, items: list[BagBatch]) -> BagBatch:
        """An item is a batch already."""
        (item,) = items
        return item

    def _bag(self, number: int, rng: np.random.Generator) -> Bag:
        dictionary = self.dictionaries[number]
        problem = ""
        for _ in range(_TRIES):
            place = int(rng.choice(len(dictionary.signs), p=self.weights[number]))
            sign = dictionary.signs[place]
            try:
                shares = np.sort(rng.random(self.num_instances))
                tempo = float(self.tempo ** rng.uniform(-1, 1))
                low, high = self.windows.room(sign, tempo=tempo)
                centres = low + (high - low) * shares
                reading = self.windows(sign, centres, tempo=tempo)
            except (UserError, OSError) as error:
                problem = str(error)
                self._unread.tell(dictionary.name, sign, problem)
                continue
            chances = rng.random(NUM_CHANCES, dtype=np.float32)
            inside = self.windows.frames(sign, centres, tempo=tempo)
            return _bag(reading, inside, dictionary.labels[place], place, chances)
        raise UserError(f"none of {_TRIES} signs of {dictionary.name} that were drawn can be read; the last: {problem}")


class EvaluationBags:
    """Signs in order, in batches of one language, each sign seen through windows spread evenly over it.

    A sign that can't be read is left out; each such clip is told once.
    """

    def __init__(
        self, dictionaries: Sequence[Dictionary], windows: Windows, *, num_bags: int = 16, num_instances: int = 3
    ) -> None:
        self.dictionaries, self.windows, self.num_instances = list(dictionaries), windows, num_instances
        self.batches = [
            (number, range(first, min(first + num_bags, len(one.signs))))
            for number, one in enumerate(self.dictionaries)
            for first in range(0, len(one.signs), num_bags)
        ]
        self._unread = _Unread()

    @property
    def lengths(self) -> list[int]:
        """Frames of each batch."""
        return [len(places) * self.num_instances * self.windows.window_frames for _, places in self.batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, draw: Draw) -> BagBatch:
        """One batch."""
        number, places = self.batches[draw.index]
        dictionary = self.dictionaries[number]
        bags, problem = [], ""
        for place in places:
            try:
                bags.append(self.bag(dictionary.signs[place], dictionary.labels[place], place))
            except (UserError, OSError) as error:
                problem = str(error)
                self._unread.tell(dictionary.name, dictionary.signs[place], problem)
        if not bags:
            raise UserError(f"none of {len(places)} signs of {dictionary.name} can be read; the last: {problem}")
        return stack(bags, dictionary.name)

    def collate(self, items: list[BagBatch]) -> BagBatch:
        """An item is a batch already."""
        (item,) = items
        return item

    def bag(self, sign: Sign, label: int, place: int) -> Bag:
        """One sign."""
        low, high = self.windows.room(sign)
        centres = spread(low + 0.5, high + 0.5, num=self.num_instances)
        return _bag(self.windows(sign, centres), self.windows.frames(sign, centres), label, place)


def spread(start: float, end: float, *, num: int) -> NDArray[np.float64]:
    """(num,) float64, the middles of equal parts of [start, end)."""
    return start - 0.5 + (np.arange(num) + 0.5) * (end - start) / num


def _bag(
    reading: Reading,
    inside: NDArray[np.bool_],
    label: int,
    place: int,
    chances: NDArray[np.float32] | None = None,
) -> Bag:
    inputs = reading.inputs.reshape(*inside.shape, *reading.inputs.shape[1:])
    points = None if reading.points is None else reading.points.reshape(*inside.shape, *reading.points.shape[1:])
    return Bag(inputs, inside, label, place, points, chances)


def stack(bags: Sequence[Bag], language: str) -> BagBatch:
    """A batch of bags of one language."""
    points = [bag.points for bag in bags if bag.points is not None]
    chances = [bag.chances for bag in bags if bag.chances is not None]
    return BagBatch(
        inputs=torch.from_numpy(np.stack([bag.inputs for bag in bags])),
        foreground=torch.from_numpy(np.stack([bag.foreground for bag in bags])),
        labels=torch.tensor([bag.label for bag in bags], dtype=torch.int64),
        language=language,
        places=tuple(bag.place for bag in bags),
        points=torch.from_numpy(np.stack(points)) if len(points) == len(bags) else None,
        chances=torch.from_numpy(np.stack(chances)) if len(chances) == len(bags) else None,
    )


def by_bag(values: Tensor, num_bags: int) -> Tensor:
    """(B, K, …) from (B * K, …)."""
    return values.reshape(num_bags, -1, *values.shape[1:])


def mean_of_bags(log_probs: Tensor, num_bags: int) -> Tensor:
    """(B, V) float32, natural log of the mean probability of a bag's windows. log_probs: (B * K, V) float32, as such.

    In logs throughout: a cosine classifier gives probabilities of e^-60, which must keep their order.
    """
    windows = by_bag(log_probs, num_bags)
    return windows.logsumexp(1) - math.log(windows.shape[1])
