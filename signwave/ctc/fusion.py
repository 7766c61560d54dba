"""Language models inside the beam search: what each candidate token gains, for all beams and tokens at once.

Two ways to put an n-gram model behind CTC tokens: `TokenFusion`, where each token is a word of the model (glosses, or
characters under a character model), and `WordFusion`, where tokens spell words and a boundary token ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from signwave.ctc.lm import END, START, UNKNOWN, NgramLm

# Up to this many (state, token) pairs are scored once and kept; above, each is looked up when it is needed.
_MAX_DENSE = 4_000_000


class Fusion(Protocol):
    """A language model as the beam search sees it. K beams an item, C candidate tokens; gains are weighted nats."""

    def to(self, device: torch.device) -> None:
        """Move the tables to a device."""

    def start(self) -> Tensor:
        """Return the state before the first token: (L,) int64, L numbers a state."""

    def gains(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, K, C) float32, what each token adds; states: (B, K, L) int64, tokens: (B, C) int64, no blank."""

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return the (B, K, L) states after one token each; tokens: (B, K) int64, 0 leaves the state as it is."""

    def finish(self, states: Tensor) -> Tensor:
        """Return (B, K) float32, what ending the sentence in each state adds."""


def extend_hash(hashes: Tensor, tokens: Tensor) -> Tensor:
    """Return the hash of each prefix with one more token: 63 bits, never negative, so -1 is free as a mark.

    Args:
        hashes: int64, hashes of the prefixes; 0 for the empty one.
        tokens: int64, token ids, broadcastable with hashes.
    """
    mixed = (hashes ^ ((tokens + 1) * 0x1E3779B97F4A7C15)) * 0x3F58476D1CE4E5B9
    return mixed ^ (mixed >> 29)


class TokenFusion:
    """An n-gram model whose words are the CTC tokens themselves."""

    def __init__(self, lm: NgramLm, tokens: Sequence[str], *, weight: float = 0.5, length_bonus: float = 0.0) -> None:
        """Prepare the tables.

        Args:
            lm: the model.
            tokens: the word of each token id; tokens[0] is the blank and never asked for.
            weight: factor on the model's natural log probabilities.
            length_bonus: nats added for each token, against the model's preference for short output.
        """
        self._lm = lm
        self._weight = weight
        self._bonus = length_bonus
        self._word_of = torch.tensor([lm.word_id(token) for token in tokens])
        self._gain_table: Tensor | None = None
        self._next_table: Tensor | None = None
        if lm.num_states * len(tokens) <= _MAX_DENSE:
            states = torch.arange(lm.num_states).unsqueeze(1)
            step = lm.lookup(states, self._word_of.unsqueeze(0))
            self._gain_table = (step.log_probs * weight + length_bonus).flatten()
            self._next_table = step.states.flatten()

    def to(self, device: torch.device) -> None:
        self._lm.to(device)
        self._word_of = self._word_of.to(device)
        if self._gain_table is not None and self._next_table is not None:
            self._gain_table, self._next_table = self._gain_table.to(device), self._next_table.to(device)

    def start(self) -> Tensor:
        return torch.tensor([self._lm.start_state], device=self._word_of.device)

    def gains(self, states: Tensor, tokens: Tensor) -> Tensor:
        tokens = tokens.unsqueeze(1)
        if self._gain_table is not None:
            return self._gain_table[states * self._word_of.shape[0] + tokens]
        return self._lm.lookup(states, self._word_of[tokens]).log_probs * self._weight + self._bonus

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        old = states.squeeze(2)
        if self._next_table is not None:
            new = self._next_table[old * self._word_of.shape[0] + tokens]
        else:
            new = self._lm.lookup(old, self._word_of[tokens]).states
        return torch.where(tokens > 0, new, old).unsqueeze(2)

    def finish(self, states: Tensor) -> Tensor:
        end = torch.tensor(self._lm.end_id, device=states.device)
        return self._lm.lookup(states.squeeze(2), end).log_probs * self._weight


class WordFusion:
    """A word n-gram model over tokens that spell words; the boundary token or the end completes a word and scores it.

    While a word is being spelled it carries the best unigram score of the words it may still become, replaced by the
    real score when it is complete: a beam isn't surprised at the boundary, and the sum is exact.
    """

    def __init__(
        self,
        lm: NgramLm,
        tokens: Sequence[str],
        *,
        boundary: int,
        weight: float = 0.5,
        length_bonus: float = 0.0,
        unknown_penalty: float = 10.0,
        spell: Callable[[str], Sequence[int]] | None = None,
    ) -> None:
        """Prepare the tables.

        Args:
            lm: the model.
            tokens: the text of each token id; tokens[0] is the blank.
            boundary: id of the token between words.
            weight: factor on the model's natural log probabilities.
            length_bonus: nats added for each word.
            unknown_penalty: nats taken from each word that the model doesn't know.
            spell: the token ids of a word, empty where it can't be spelled; by default one token a character.
        """
        if not 0 < boundary < len(tokens):
            raise ValueError(f"boundary is token {boundary}; allowed are 1 to {len(tokens) - 1}")
        self._lm, self._boundary = lm, boundary
        self._weight, self._bonus, self._penalty = weight, length_bonus, unknown_penalty
        known, spellings = _spellings(lm, spell or _by_character(tokens))
        unigrams = lm.lookup(torch.tensor(lm.empty_state), torch.arange(len(lm.words))).log_probs * weight
        self._unknown_gain = float(unigrams[lm.unknown_id]) - unknown_penalty
        self._build(known, spellings, unigrams[known] if known.numel() else unigrams[:0])

    def _build(self, known: Tensor, spellings: Tensor, unigrams: Tensor) -> None:
        """Fill two sorted tables: whole words by hash, and the best unigram of every beginning of a word by hash."""
        hashes = torch.zeros(known.shape, dtype=torch.int64)
        beginnings, bests = [], []
        for column in spellings.T:
            inside = column > 0
            hashes = torch.where(inside, extend_hash(hashes, column), hashes)
            beginnings.append(hashes[inside])
            bests.append(unigrams[inside])
        self._word_hashes, order = hashes.sort()
        self._word_ids = known[order]
        all_hashes = torch.cat([*beginnings, torch.zeros(0, dtype=torch.int64)])
        self._begin_hashes, group = torch.unique(all_hashes, return_inverse=True)
        self._begin_gains = torch.full(self._begin_hashes.shape, -torch.inf).scatter_reduce(
            0, group, torch.cat([*bests, torch.zeros(0)]), "amax"
        )

    def to(self, device: torch.device) -> None:
        self._lm.to(device)
        for name in ("_word_hashes", "_word_ids", "_begin_hashes", "_begin_gains"):
            setattr(self, name, getattr(self, name).to(device))

    def start(self) -> Tensor:
        return torch.tensor([self._lm.start_state, 0], device=self._word_hashes.device)

    def gains(self, states: Tensor, tokens: Tensor) -> Tensor:
        hashes = states[..., 1]
        held = self._expected(hashes)
        spelled = self._expected(extend_hash(hashes.unsqueeze(2), tokens.unsqueeze(1))) - held.unsqueeze(2)
        gain, _ = self._complete(states)
        return torch.where((tokens == self._boundary).unsqueeze(1), gain.unsqueeze(2), spelled)

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        _, after = self._complete(states)
        ends = tokens == self._boundary
        grown = torch.where(tokens > 0, extend_hash(states[..., 1], tokens), states[..., 1])
        return torch.stack([after.where(ends, states[..., 0]), grown.masked_fill(ends, 0)], dim=2)

    def finish(self, states: Tensor) -> Tensor:
        gain, after = self._complete(states)
        end = torch.tensor(self._lm.end_id, device=states.device)
        return gain + self._lm.lookup(after, end).log_probs * self._weight

    def _expected(self, hashes: Tensor) -> Tensor:
        """Return the best unigram gain of the words that begin so; 0 before the first letter."""
        index, hit = _search(self._begin_hashes, hashes)
        if index is None:
            gains = torch.full(hashes.shape, self._unknown_gain, device=hashes.device)
        else:
            gains = self._begin_gains[index].masked_fill(~hit, self._unknown_gain)
        return gains.masked_fill(hashes == 0, 0.0)

    def _complete(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gain and the model's state if the word under way ended here; nothing changes between words."""
        lm_states, hashes = states[..., 0], states[..., 1]
        index, hit = _search(self._word_hashes, hashes)
        words = torch.full_like(hashes, self._lm.unknown_id)
        if index is not None:
            words = self._word_ids[index].where(hit, words)
        step = self._lm.lookup(lm_states, words)
        gain = step.log_probs * self._weight + self._bonus - self._penalty * (~hit) - self._expected(hashes)
        between = hashes == 0
        return gain.masked_fill(between, 0.0), lm_states.where(between, step.states)


def _search(table: Tensor, values: Tensor) -> tuple[Tensor | None, Tensor]:
    if not table.numel():
        return None, torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    index = torch.searchsorted(table, values.contiguous()).clamp_(max=table.numel() - 1)
    return index, table[index] == values


def _by_character(tokens: Sequence[str]) -> Callable[[str], Sequence[int]]:
    ids = {token: index for index, token in enumerate(tokens) if index and len(token) == 1}

    def spell(word: str) -> Sequence[int]:
        spelled = [ids.get(character, 0) for character in word]
        return spelled if all(spelled) else []

    return spell


def _spellings(lm: NgramLm, spell: Callable[[str], Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return the ids (M,) of the words that can be spelled and their tokens (M, N), 0 past the end."""
    rows = [
        (index, list(spelled))
        for index, word in enumerate(lm.words)
        if word not in (START, END, UNKNOWN) and (spelled := spell(word))
    ]
    width = max((len(spelled) for _, spelled in rows), default=0)
    table = [spelled + [0] * (width - len(spelled)) for _, spelled in rows]
    return torch.tensor([index for index, _ in rows], dtype=torch.int64), torch.tensor(
        table, dtype=torch.int64
    ).reshape(len(rows), width)
