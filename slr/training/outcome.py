"""What came out of a split: hypotheses on disk, scores by protocol, and tables that say where the errors are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signwave.ctc import Clock, Hypothesis, words
from signwave.manifest import Clip
from signwave.rundir import write_json
from signwave.text import Vocabulary
from slr import scoring
from slr.scoring.page import page
from slr.scoring.writers import Recognised, save_hypotheses

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A split as it was decoded.

    Attributes:
        references: clip id → glosses.
        hypotheses: clip id → what was recognised; a clip that couldn't be read is missing, and is scored as empty.
        clips: clip id → its row of the manifest, where there is one.
        vocabulary: tokens of the hypotheses.
        clock: the seconds of a step.
    """

    references: Mapping[str, str]
    hypotheses: Mapping[str, Hypothesis]
    clips: Mapping[str, Clip]
    vocabulary: Vocabulary
    clock: Clock

    def scores(self, *, protocols: Sequence[str], train_texts: Sequence[str]) -> Scores:
        """Score by each protocol, and tell errors apart by signer, length, and how often training showed a gloss."""
        references = {name: self._reference(name, text) for name, text in self.references.items()}
        recognised = {name: scoring.Hypothesis(list(self._glosses(name))) for name in self.hypotheses}
        evaluations = {name: scoring.score(recognised, references, protocol=name) for name in protocols}
        first = evaluations[protocols[0]]
        return Scores(tuple(evaluations.values()), scoring.breakdown(first.pairs, train_texts=train_texts))

    def save(self, run: Path, split: str) -> None:
        """Write hypotheses and references as CTM and STM, see slr.scoring.save_hypotheses."""
        rows = []
        for name in self.references:
            if len(name.split()) > 1:
                log.warning("%s: clip '%s' has a blank in its id, which no CTM can hold; it is left out", run, name)
                continue
            hypothesis = self.hypotheses.get(name)
            found = words(hypothesis, tokens=self.vocabulary.tokens, clock=self.clock) if hypothesis else []
            clip = self.clips.get(name)
            rows.append(Recognised(name, self.references[name], found, clip.person if clip is not None else ""))
        save_hypotheses(run, rows, split=split)

    def _reference(self, name: str, text: str) -> scoring.Reference:
        clip = self.clips.get(name)
        if clip is None:
            return scoring.Reference(text.split())
        return scoring.Reference(text.split(), person=clip.person, group=clip.group, num_frames=clip.num_frames)

    def _glosses(self, name: str) -> list[str]:
        return [self.vocabulary.tokens[token] for token in self.hypotheses[name].tokens]


@dataclass(frozen=True)
class Scores:
    """Scores of a split.

    Attributes:
        evaluations: one for each protocol; the first is the one that is shown.
        breakdown: tables of errors by the first protocol.
    """

    evaluations: tuple[scoring.Evaluation, ...]
    breakdown: scoring.Breakdown

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
