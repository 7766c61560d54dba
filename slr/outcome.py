"""What came out of a split: hypotheses on disk, scores by protocol, and tables that say where the errors are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signwave.ctc import Hypothesis
from signwave.manifest import Clip
from signwave.rundir import atomic_write, write_json
from signwave.text import Vocabulary
from slr.scoring.evaluation import Evaluation, score
from slr.scoring.page import page
from slr.scoring.readers import Hypothesis as Recognised
from slr.scoring.readers import Reference
from slr.scoring.tables import Breakdown, breakdown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A split as it was decoded.

    Attributes:
        references: clip id → glosses.
        hypotheses: clip id → what was recognised.
        clips: clip id → its row of the manifest, where there is one.
        vocabulary: tokens of the hypotheses.
        seconds_per_step: length of a step.
    """

    references: Mapping[str, str]
    hypotheses: Mapping[str, Hypothesis]
    clips: Mapping[str, Clip]
    vocabulary: Vocabulary
    seconds_per_step: float

    def scores(self, *, protocols: Sequence[str], train_texts: Sequence[str]) -> Scores:
        """Score by each protocol, and tell errors apart by signer, length, and how often training showed a gloss."""
        references = {name: self._reference(name, text) for name, text in self.references.items()}
        recognised = {name: Recognised(list(self._glosses(name))) for name in self.references}
        evaluations = {name: score(recognised, references, protocol=name) for name in protocols}
        first = evaluations[protocols[0]]
        return Scores(tuple(evaluations.values()), breakdown(first.pairs, train_texts=train_texts))

    def _reference(self, name: str, text: str) -> Reference:
        clip = self.clips.get(name)
        if clip is None:
            return Reference(text.split())
        return Reference(text.split(), person=clip.person, group=clip.group, num_frames=clip.num_frames)

    def _glosses(self, name: str) -> list[str]:
        return [self.vocabulary.tokens[token] for token in self.hypotheses[name].tokens]


@dataclass(frozen=True)
class Scores:
    """Scores of a split.

    Attributes:
        evaluations: one for each protocol; the first is the one that is shown.
        breakdown: tables of errors by the first protocol.
    """

    evaluations: tuple[Evaluation, ...]
    breakdown: Breakdown

    @property
    def figures(self) -> dict[str, Any]:
        """Protocol → its document, as `slr score --json` prints it."""
        return {evaluation.protocol: evaluation.to_dict() for evaluation in self.evaluations}

    @property
    def summary(self) -> str:
        """A few lines for people."""
        return "\n".join(evaluation.summary() for evaluation in self.evaluations)

    def headline(self) -> dict[str, float]:
        """The figures of the first protocol that belong among a run's metrics."""
        first = self.evaluations[0]
        return {
            "wer_decoded": first.wer,
            "wer_decoded_low": first.interval.low,
            "wer_decoded_high": first.interval.high,
            "ser_decoded": first.total.sentence_error_rate,
        }

    def write(self, folder: Path, split: str) -> None:
        """Write the tables: errors_SPLIT.json for programs, errors_SPLIT.html for people."""
        write_json(folder / f"errors_{split}.json", self.breakdown.to_dict())
        page(self.evaluations, self.breakdown).write(folder / f"errors_{split}.html")


def write_hypotheses(path: Path, outcome: Outcome) -> None:
    """Write a split as CTM, and its references as STM beside it; `slr score` and `slr compare` read both.

    A clip in which nothing was recognised is a comment line, ";; id". Times have leading zeros, because Phoenix's own
    script sorts them as text. Clips whose id holds a blank can't stand in a CTM and are left out with a warning.
    """
    lines, references = [], []
    names = [name for name in outcome.references if len(name.split()) == 1]
    if len(names) < len(outcome.references):
        log.warning(
            "%s: %d clips have a blank in their id and are left out", path, len(outcome.references) - len(names)
        )
    for name in names:
        hypothesis = outcome.hypotheses[name]
        if not hypothesis.tokens:
            lines.append(f";; {name}")
        for token, (first, stop), confidence in zip(
            hypothesis.tokens, hypothesis.steps, hypothesis.confidences, strict=True
        ):
            start, duration = first * outcome.seconds_per_step, (stop - first) * outcome.seconds_per_step
            gloss = outcome.vocabulary.tokens[token]
            lines.append(f"{name} 1 {start:09.3f} {duration:.3f} {gloss} {confidence:.4f}")
        clip = outcome.clips.get(name)
        person = "_".join(clip.person.split()) if clip is not None and clip.person else "unknown"
        end = (clip.duration_seconds if clip is not None else None) or 0.0
        references.append(f"{name} 1 {person} 0.0 {end:.3f} {outcome.references[name]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, "".join(f"{line}\n" for line in lines))
    atomic_write(path.with_suffix(".stm"), "".join(f"{line}\n" for line in references))
