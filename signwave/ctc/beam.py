"""Prefix beam search in torch: all items, beams and tokens of a step at once, on CPU or GPU.

Letters here: K beams an item, C candidate tokens a step. Two beams never hold the same prefix: a beam that grows into
another beam's prefix gives its probability to that beam. Prefixes are recognised by a 63-bit hash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signwave.ctc.fusion import Fusion, extend_hash
from signwave.ctc.hypothesis import Hypothesis, check_log_probs, with_steps
from signwave.ctc.labels import BLANK

_IMPOSSIBLE = -math.inf

# Sorting beats topk with tie-breaking keys below this many candidates (measured on CPU).
_SORT_UP_TO = 1024


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """Settings of the beam search.

    Attributes:
        beam_width: prefixes kept per item.
        top_tokens: most probable tokens tried per step.
        top_probability: tokens are tried only until their probabilities (the blank's counted too) sum to this.
        num_best: hypotheses returned per item, at most beam_width.
        blank_skip: steps whose blank is more probable than this count as pure blank, which skips most steps of a
            trained model; None computes every step exactly.
        spans: also align each hypothesis, for its steps and confidences.
    """

    beam_width: int = 16
    top_tokens: int = 40
    top_probability: float = 1.0
    num_best: int = 1
    blank_skip: float | None = None
    spans: bool = True

    def __post_init__(self) -> None:
        for name in ("beam_width", "top_tokens", "num_best"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("top_probability", "blank_skip"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {value}")


class _Steps(NamedTuple):
    """The search's input, items sorted longest first.

    Attributes:
        log_probs: (T, B, V) natural log.
        tokens: (T, B, C + 1) int64, 0, then the candidates in ascending order.
        token_log_probs: (T, B, 1, C) natural log of the candidates.
        after_gap: (T, B, 1) bool, skipped blank steps lie before this one; None where nothing was skipped.
        order: the caller's row of each item.
        num_steps: steps per item.
        skipped_score: (B,) what the skipped steps add to every hypothesis.
    """

    log_probs: Tensor
    tokens: Tensor
    token_log_probs: Tensor
    after_gap: Tensor | None
    order: list[int]
    num_steps: list[int]
    skipped_score: Tensor


class _Beams(NamedTuple):
    """The beams of the items still running.

    Attributes:
        blank: (B, K) natural log, paths that end in a blank.
        label: (B, K) natural log, paths that end in the last token.
        total: (B, K) natural log, both.
        prefix: (3, B, K) int64: hash of the prefix, hash without its last token (-1: none), last token (0: none).
        gain: (B, K) float32, weighted language model score; None without one.
        states: (B, K, L) int64, language model states; None without one.
    """

    blank: Tensor
    label: Tensor
    total: Tensor
    prefix: Tensor
    gain: Tensor | None
    states: Tensor | None


def beam_search(
    log_probs: Tensor, num_steps: Tensor, *, options: BeamOptions | None = None, fusion: Fusion | None = None
) -> list[list[Hypothesis]]:
    """Return the best hypotheses of each item, best first.

    The same input gives the same output, whatever shares its batch. Ties go to the beam that was better before, then
    to the lower token id.

    Args:
        log_probs: (B, T, V) float32, natural log, V[0] is the blank; anything past num_steps.
        num_steps: (B,) int64, steps per item.
        options: the settings.
        fusion: a language model.

    Returns:
        Per item 1 to num_best hypotheses. An item whose steps allow no path gives one empty one with score -inf.
    """
    options = options or BeamOptions()
    lengths = check_log_probs(log_probs, num_steps)
    if not lengths:
        return []
    with torch.inference_mode():
        if fusion is not None:
            fusion.to(log_probs.device)
        steps = _prepare(log_probs, lengths, options)
        choices, beams = _search(steps, options.beam_width, fusion)
        found = _read_out(steps, choices, beams, options.num_best)
        return with_steps(found, log_probs, lengths) if options.spans else found


def _prepare(log_probs: Tensor, lengths: list[int], options: BeamOptions) -> _Steps:
    log_probs = log_probs if log_probs.dtype == torch.float64 else log_probs.float()
    after_gap, skipped_score = None, log_probs.new_zeros(len(lengths))
    if options.blank_skip is not None and log_probs.shape[1]:
        log_probs, after_gap, lengths, skipped_score = _skip_blanks(log_probs, lengths, math.log(options.blank_skip))
    order = sorted(range(len(lengths)), key=lambda item: -lengths[item])
    index = torch.tensor(order, device=log_probs.device)
    log_probs = log_probs[:, : max(lengths)].index_select(0, index).transpose(0, 1).contiguous()
    tokens, chosen = _candidates(log_probs, options)
    return _Steps(
        log_probs=log_probs,
        tokens=tokens,
        token_log_probs=chosen.unsqueeze(2),
        after_gap=None if after_gap is None else after_gap[index].T.unsqueeze(2),
        order=order,
        num_steps=[lengths[item] for item in order],
        skipped_score=skipped_score[index],
    )


def _candidates(log_probs: Tensor, options: BeamOptions) -> tuple[Tensor, Tensor]:
    num_rows, num_items, vocab_size = log_probs.shape
    width = min(options.top_tokens, vocab_size - 1)
    chosen = log_probs[:, :, 1:]
    if width == vocab_size - 1:
        tokens = torch.arange(vocab_size, device=log_probs.device).expand(num_rows, num_items, vocab_size)
    else:
        index = chosen.topk(width, dim=2, sorted=False).indices.sort(dim=2).values
        chosen = chosen.gather(2, index)
        tokens = torch.nn.functional.pad(index + 1, (1, 0))
    if options.top_probability < 1 and chosen.numel():
        chosen = _cut(chosen, log_probs[:, :, :1], options.top_probability)
    return tokens, chosen


def _cut(chosen: Tensor, blank: Tensor, top_probability: float) -> Tensor:
    """Rule out the tokens past the cumulative probability, counting the blank where it ranks before them."""
    ranked, order = chosen.sort(dim=2, descending=True, stable=True)
    before = ranked.exp().cumsum(2) - ranked.exp() + blank.exp() * (blank > ranked)
    return torch.empty_like(chosen).scatter(2, order, ranked.masked_fill(before >= top_probability, _IMPOSSIBLE))


def _skip_blanks(log_probs: Tensor, lengths: list[int], threshold: float) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Take out the steps that count as pure blank and close the rows up; says where a kept step follows a gap."""
    num_rows = log_probs.shape[1]
    position = torch.arange(num_rows, device=log_probs.device)
    inside = position < torch.tensor(lengths, device=log_probs.device).unsqueeze(1)
    blank = log_probs[:, :, BLANK]
    skipped = (blank > threshold) & inside
    keep = inside & ~skipped
    # A stable sort by "not kept" moves the kept steps to the front in their order.
    source = (~keep).to(torch.uint8).sort(dim=1, stable=True).indices
    closed = log_probs.gather(1, source.unsqueeze(2).expand_as(log_probs))
    after_gap = source.diff(dim=1, prepend=torch.full_like(source[:, :1], -1)) > 1
    return closed, after_gap, keep.sum(1).tolist(), blank.masked_fill(~skipped, 0.0).sum(1)


def _search(steps: _Steps, beam_width: int, fusion: Fusion | None) -> tuple[list[Tensor], list[_Beams]]:
    """Return the chosen candidates, (B, K) int64 a step, and the beams in which each item ended, longest item first."""
    num_candidates = steps.token_log_probs.shape[3]
    slots = torch.arange(beam_width * (num_candidates + 1), device=steps.log_probs.device)
    # The slots are the K beams as they are, then every beam with every token; column 0 is "no token".
    grown = (slots - beam_width).clamp(min=0)
    parents = torch.where(slots < beam_width, slots, grown // max(num_candidates, 1))
    columns = torch.where(slots < beam_width, 0, grown % max(num_candidates, 1) + 1)
    beams = _start(steps, beam_width, fusion)
    choices: list[Tensor] = []
    ended: list[_Beams] = []
    num_running = len(steps.num_steps)
    for step in range(steps.num_steps[0] + 1):
        while num_running and steps.num_steps[num_running - 1] <= step:
            num_running -= 1
            ended.append(_finish(_rows(beams, num_running, num_running + 1), fusion))
        if num_running:
            beams = _rows(beams, 0, num_running) if num_running < beams.total.shape[0] else beams
            beams, chosen = _advance(beams, steps, step, parents, columns, fusion)
            choices.append(chosen)
    return choices, ended[::-1]


def _start(steps: _Steps, beam_width: int, fusion: Fusion | None) -> _Beams:
    shape = (len(steps.num_steps), beam_width)
    blank = steps.log_probs.new_full(shape, _IMPOSSIBLE)
    blank[:, 0] = 0.0
    prefix = torch.zeros((3, *shape), dtype=torch.int64, device=blank.device)
    prefix[1] = -1
    if fusion is None:
        return _Beams(blank, torch.full_like(blank, _IMPOSSIBLE), blank, prefix, None, None)
    states = fusion.start().expand(*shape, -1)
    return _Beams(blank, torch.full_like(blank, _IMPOSSIBLE), blank, prefix, torch.zeros_like(blank), states)


def _rows(beams: _Beams, start: int, end: int) -> _Beams:
    return _Beams(
        beams.blank[start:end],
        beams.label[start:end],
        beams.total[start:end],
        beams.prefix[:, start:end],
        None if beams.gain is None else beams.gain[start:end],
        None if beams.states is None else beams.states[start:end],
    )


def _finish(beams: _Beams, fusion: Fusion | None) -> _Beams:
    if fusion is None or beams.gain is None or beams.states is None:
        return beams
    return beams._replace(gain=beams.gain + fusion.finish(beams.states))


def _advance(
    beams: _Beams, steps: _Steps, step: int, parents: Tensor, columns: Tensor, fusion: Fusion | None
) -> tuple[_Beams, Tensor]:
    """Take one step for the running items; returns the new beams and the (B, K) slots that became them."""
    num_items, beam_width = beams.total.shape
    row = steps.log_probs[step, :num_items]
    tokens = steps.tokens[step, :num_items]
    if steps.after_gap is not None:
        gap = steps.after_gap[step, :num_items]
        beams = beams._replace(
            blank=torch.where(gap, beams.total, beams.blank), label=beams.label.masked_fill(gap, _IMPOSSIBLE)
        )
    hashes, shorter, last = beams.prefix
    merges = hashes.unsqueeze(2) == shorter.unsqueeze(1)  # beam k plus the last token of beam j is beam j
    blank_k, total_k = beams.blank.unsqueeze(2), beams.total.unsqueeze(2)
    # The same token again is a new token only after a blank.
    given = torch.where(last.unsqueeze(2) == last.unsqueeze(1), blank_k, total_k)
    given = given.masked_fill_(~merges, _IMPOSSIBLE).amax(1)
    blank = beams.total + row[:, :1]
    label = torch.logaddexp(beams.label, given) + row.gather(1, last)
    repeats = last.unsqueeze(2) == tokens[:, 1:].unsqueeze(1)
    grown = torch.where(repeats, blank_k, total_k) + steps.token_log_probs[step, :num_items]
    doubled = torch.bmm(merges.to(torch.float32), repeats.to(torch.float32)) > 0  # already given to its own beam
    grown = grown.masked_fill_(doubled, _IMPOSSIBLE)
    totals = torch.cat([torch.logaddexp(blank, label), grown.flatten(1)], 1)
    gains = None
    if fusion is not None and beams.gain is not None and beams.states is not None:
        more = beams.gain.unsqueeze(2) + fusion.gains(beams.states, tokens[:, 1:])
        gains = torch.cat([beams.gain, more.flatten(1)], 1)
    chosen = _best(totals if gains is None else totals + gains, beam_width)
    return _select(beams, blank, label, totals, gains, chosen, parents, columns, tokens, fusion), chosen


def _select(
    beams: _Beams,
    blank: Tensor,
    label: Tensor,
    totals: Tensor,
    gains: Tensor | None,
    chosen: Tensor,
    parents: Tensor,
    columns: Tensor,
    tokens: Tensor,
    fusion: Fusion | None,
) -> _Beams:
    parent = parents[chosen]
    token = tokens.gather(1, columns[chosen])
    is_new = token > 0
    total = totals.gather(1, chosen)
    before = beams.prefix.gather(2, parent.expand_as(beams.prefix))
    prefix = torch.where(is_new, torch.stack([extend_hash(before[0], token), before[0], token]), before)
    prefix[1].masked_fill_(total == _IMPOSSIBLE, -1)  # a dead beam must not draw probability from a live one
    states = None
    if fusion is not None and beams.states is not None:
        states = beams.states.gather(1, parent.unsqueeze(2).expand_as(beams.states))
        states = fusion.advance(states, token)
    return _Beams(
        blank=blank.gather(1, parent).masked_fill_(is_new, _IMPOSSIBLE),
        label=torch.where(is_new, total, label.gather(1, parent)),
        total=total,
        prefix=prefix,
        gain=None if gains is None else gains.gather(1, chosen),
        states=states,
    )


def _best(scores: Tensor, count: int) -> Tensor:
    """Return the indices of the highest scores, best first, ties to the lower index (which topk doesn't promise)."""
    width = scores.shape[1]
    if width <= _SORT_UP_TO or scores.dtype != torch.float32:
        return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
    # Order-preserving integers, made unique by the index: topk over them has no ties.
    bits = scores.contiguous().view(torch.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64) << 32
    return (keys + torch.arange(width - 1, -1, -1, device=scores.device)).topk(count, dim=1).indices


def _read_out(steps: _Steps, choices: list[Tensor], ended: list[_Beams], num_best: int) -> list[list[Hypothesis]]:
    """Follow the chosen slots back to the tokens of the best beams; items in the caller's order."""
    beam_width = ended[0].total.shape[1]
    totals = torch.cat([beams.total for beams in ended])
    gains = torch.cat([torch.zeros_like(beams.total) if beams.gain is None else beams.gain for beams in ended])
    scores = totals + gains + steps.skipped_score.unsqueeze(1)
    ranks = scores.sort(dim=1, descending=True, stable=True).indices[:, :num_best]
    emitted = _trace(ranks.cpu().numpy(), choices, steps, beam_width)
    best_scores, best_gains = scores.gather(1, ranks).tolist(), gains.gather(1, ranks).tolist()
    result: list[list[Hypothesis]] = [[] for _ in ended]
    for row, item in enumerate(steps.order):
        for rank, score in enumerate(best_scores[row]):
            if score > _IMPOSSIBLE:
                tokens = emitted[: steps.num_steps[row], row, rank]
                found = tuple(int(token) for token in tokens[tokens > 0])
                result[item].append(Hypothesis(found, score, lm_score=best_gains[row][rank]))
        if not result[item]:
            result[item].append(Hypothesis((), _IMPOSSIBLE))
    return result


def _trace(ranks: NDArray[np.int64], choices: list[Tensor], steps: _Steps, beam_width: int) -> NDArray[np.int64]:
    """Return (T, B, M) int64, the token emitted at each step of the wanted beams, 0 where none was."""
    emitted = np.zeros((len(choices), *ranks.shape), dtype=np.int64)
    if not choices:
        return emitted
    flat = torch.cat([chosen.flatten() for chosen in choices]).cpu().numpy()
    tokens = steps.tokens.cpu().numpy()
    num_candidates = max(tokens.shape[2] - 1, 1)
    pointers, end = ranks.copy(), flat.size
    for step in range(len(choices) - 1, -1, -1):
        num_running = choices[step].shape[0]
        start = end - num_running * beam_width
        chosen = np.take_along_axis(flat[start:end].reshape(num_running, beam_width), pointers[:num_running], axis=1)
        grown = chosen - beam_width
        columns = np.where(grown < 0, 0, grown % num_candidates + 1)
        emitted[step, :num_running] = np.take_along_axis(tokens[step, :num_running], columns, axis=1)
        pointers[:num_running] = np.where(grown < 0, chosen, grown // num_candidates)
        end = start
    return emitted
