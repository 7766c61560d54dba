"""An n-gram language model as flat tables: one lookup scores any number of (state, word) pairs at once, on any device.

A state is a context, i.e. the longest known n-gram (shorter than the order) that the words so far end in. Every listed
n-gram is an arc `state, word -> log probability, next state`; a missing arc backs off. All arcs lie in one array
sorted by `state * num_words + word`, so that a lookup is a binary search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.errors import ArtefactError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

# What KenLM gives to unknown words where a model lists no <unk>.
_MISSING_UNKNOWN_LOG10 = -100.0


@dataclass(frozen=True)
class Level:
    """All n-grams of one order, as read or trained.

    Attributes:
        words: (M, n) int64, word ids.
        log10_prob: (M,) float64, log10 p(last word | the words before).
        log10_backoff: (M,) float64, log10 back-off weight, 0 where there is none.
    """

    words: NDArray[np.int64]
    log10_prob: NDArray[np.float64]
    log10_backoff: NDArray[np.float64]


class LmStep(NamedTuple):
    """Result of `NgramLm.lookup`.

    Attributes:
        log_probs: float32, natural log p(word | state), the shape of the words.
        states: int64, the state after the word, the same shape.
    """

    log_probs: Tensor
    states: Tensor


class NgramLm:
    """An n-gram model with back-off.

    Attributes:
        words: every word; includes `<unk>`, `</s>` and `<s>`.
        order: the longest n-gram.
        levels: the n-grams per order, as `write_arpa` writes them.
        start_state: state after `<s>`.
        empty_state: state with no context at all.
    """

    def __init__(self, words: Sequence[str], levels: Sequence[Level]) -> None:
        self.words = list(words)
        self.levels = list(levels)
        self.order = len(self.levels)
        self._ids = {word: index for index, word in enumerate(self.words)}
        if UNKNOWN not in self._ids:
            self._add_unknown()
        self.unknown_id = self._ids[UNKNOWN]
        self.end_id = self._ids.get(END, self.unknown_id)
        self.empty_state = 0
        self._build()
        self.start_state = self.empty_state
        if START in self._ids:
            _, state = self.lookup(torch.tensor(self.empty_state), torch.tensor(self._ids[START]))
            self.start_state = int(state)

    @classmethod
    def from_arpa(cls, path: str | Path) -> NgramLm:
        """Read an ARPA file, gzipped or not. Raises ArtefactError with file and line."""
        from signwave.ctc.arpa import read_arpa

        return cls(*read_arpa(path))

    @classmethod
    def train(cls, sentences: Iterable[Sequence[str]], *, order: int = 3, vocabulary: Iterable[str] = ()) -> NgramLm:
        """Estimate a model by interpolated modified Kneser-Ney smoothing.

        Args:
            sentences: the words of each sentence, without `<s>` and `</s>`.
            order: the longest n-gram.
            vocabulary: words to know besides those of the sentences.
        """
        from signwave.ctc.kneser_ney import estimate

        return cls(*estimate(sentences, order=order, vocabulary=vocabulary))

    def write_arpa(self, path: str | Path) -> None:
        """Write the model as an ARPA file (gzipped where the name ends in .gz), atomically."""
        from signwave.ctc.arpa import write_arpa

        write_arpa(path, self.words, self.levels)

    def word_id(self, word: str) -> int:
        """Return a word's id, that of `<unk>` for unknown words."""
        return self._ids.get(word, self.unknown_id)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def to(self, device: torch.device | str) -> NgramLm:
        """Move the tables to a device, in place."""
        for name in ("_arc_keys", "_arc_log_probs", "_arc_states", "_backoff_log_probs", "_backoff_states"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    @property
    def num_states(self) -> int:
        """Number of contexts."""
        return int(self._backoff_states.shape[0])

    def lookup(self, states: Tensor, words: Tensor) -> LmStep:
        """Score words after states.

        Args:
            states: int64, any shape, states of this model.
            words: int64, word ids in [0, len(self.words)), broadcastable with states.
        """
        shape = (states + words).shape
        states, words = states.expand(shape), words.expand(shape)
        log_probs = torch.zeros(states.shape, dtype=torch.float32, device=states.device)
        # A hit needs no more back-off. The empty state lists every word, so `order` - 1 back-offs always end in a hit.
        for _ in range(self.order - 1):
            _, hit = self._find(states, words)
            log_probs = log_probs + self._backoff_log_probs[states].masked_fill(hit, 0.0)
            states = torch.where(hit, states, self._backoff_states[states])
        index, _ = self._find(states, words)
        return LmStep(log_probs + self._arc_log_probs[index], self._arc_states[index])

    def score(self, sentence: Sequence[str], *, start: bool = True, end: bool = True) -> float:
        """Return the natural log probability of a sentence, with `<s>` before and `</s>` after it if wanted."""
        return sum(self.word_scores(sentence, start=start, end=end))

    def word_scores(self, sentence: Sequence[str], *, start: bool = True, end: bool = True) -> list[float]:
        """Return natural log p(word | words before) for each word, and for `</s>` last if `end`."""
        ids = [self.word_id(word) for word in sentence] + ([self.end_id] if end else [])
        device = self._arc_keys.device
        state = torch.tensor(self.start_state if start else self.empty_state, device=device)
        scores = []
        for word in ids:
            log_prob, state = self.lookup(state, torch.tensor(word, device=device))
            scores.append(float(log_prob))
        return scores

    def _find(self, states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        keys = states * len(self.words) + words
        index = torch.searchsorted(self._arc_keys, keys).clamp_(max=self._arc_keys.shape[0] - 1)
        return index, self._arc_keys[index] == keys

    def _add_unknown(self) -> None:
        self._ids[UNKNOWN] = len(self.words)
        first = self.levels[0]
        self.levels[0] = Level(
            np.concatenate([first.words, [[len(self.words)]]]).astype(np.int64),
            np.append(first.log10_prob, _MISSING_UNKNOWN_LOG10),
            np.append(first.log10_backoff, 0.0),
        )
        self.words.append(UNKNOWN)

    def _build(self) -> None:
        table = _Arcs(len(self.words))
        for number, level in enumerate(self.levels, start=1):
            table.add_level(level, last=number == self.order, names=self.words)
        ln10 = math.log(10.0)
        self._arc_keys = torch.from_numpy(table.keys)
        self._arc_log_probs = torch.from_numpy((table.log10_probs * ln10).astype(np.float32))
        self._arc_states = torch.from_numpy(table.states)
        self._backoff_log_probs = torch.from_numpy((table.log10_backoffs * ln10).astype(np.float32))
        self._backoff_states = torch.from_numpy(table.backoff_states)


class _Arcs:
    """The arc table while it grows, one order after the other; arcs stay sorted by key."""

    def __init__(self, num_words: int) -> None:
        self.num_words = num_words
        self.keys = np.zeros(0, dtype=np.int64)
        self.log10_probs = np.zeros(0)
        self.states = np.zeros(0, dtype=np.int64)
        self.log10_backoffs = np.zeros(1)  # state 0 is the empty context
        self.backoff_states = np.zeros(1, dtype=np.int64)

    def add_level(self, level: Level, *, last: bool, names: Sequence[str]) -> None:
        """Add all n-grams of one order; the longest need no states of their own."""
        parents = np.zeros(level.words.shape[0], dtype=np.int64)
        for column in level.words[:, :-1].T:
            index, hit = self._find(parents * self.num_words + column)
            if not hit.all():
                missing = " ".join(names[word] for word in level.words[int(np.flatnonzero(~hit)[0])])
                raise ArtefactError(
                    f"the n-gram '{missing}' is listed, but its context is not: the model was cut by hand"
                )
            parents = self.states[index]
        words = level.words[:, -1]
        keys, suffixes = parents * self.num_words + words, self._suffixes(parents, words)
        states = suffixes
        if not last:
            states = self.backoff_states.size + np.arange(words.size, dtype=np.int64)
            self.backoff_states = np.concatenate([self.backoff_states, suffixes])
            self.log10_backoffs = np.concatenate([self.log10_backoffs, level.log10_backoff])
        self._merge(keys, level.log10_prob, states)

    def _suffixes(self, parents: NDArray[np.int64], words: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the state of the longest known proper suffix of each n-gram `parent, word`."""
        result = np.zeros(words.size, dtype=np.int64)
        (open_rows,) = np.nonzero(parents)  # a single word has only the empty suffix
        contexts = self.backoff_states[parents[open_rows]]
        while open_rows.size:
            index, hit = self._find(contexts * self.num_words + words[open_rows])
            result[open_rows[hit]] = self.states[index[hit]]
            going_on = ~hit & (contexts > 0)
            open_rows, contexts = open_rows[going_on], self.backoff_states[contexts[going_on]]
        return result

    def _find(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if not self.keys.size:
            return np.zeros(keys.shape, dtype=np.int64), np.zeros(keys.shape, dtype=np.bool_)
        index = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return index, self.keys[index] == keys

    def _merge(self, keys: NDArray[np.int64], log10_probs: NDArray[np.float64], states: NDArray[np.int64]) -> None:
        all_keys = np.concatenate([self.keys, keys])
        order = np.argsort(all_keys, kind="stable")
        self.keys = all_keys[order]
        if bool((self.keys[1:] == self.keys[:-1]).any()):
            raise ArtefactError("the model lists an n-gram twice: write it again with one tool")
        self.log10_probs = np.concatenate([self.log10_probs, log10_probs])[order]
        self.states = np.concatenate([self.states, states])[order]
