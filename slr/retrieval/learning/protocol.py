"""Which checkpoint counts: the best on validation. What the field's papers print can be noted beside it.

Nearly all published figures of sign-video retrieval are the best *test* recall over the epochs of training, which is
higher than what the same run gives when validation chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCORE = "recall"
"""Figure that validation chooses by; see `RetrievalResult.selection_score`."""
PAPER_SCORE = "recall_at_1"
"""Figure that the papers' code keeps the best of, on test."""
PAPER_NAME = "test-selected (paper protocol)"


class Selection:
    """Keeps the validation that a run is judged by.

    Args:
        paper_protocol: the test set is searched at every validation too, and its best is kept under a name that says
            so. It never decides which checkpoint is kept.
    """

    def __init__(self, *, paper_protocol: bool = False) -> None:
        self.paper_protocol = paper_protocol
        self._validation: dict[str, Any] | None = None
        self._test_then: dict[str, Any] | None = None
        self._best_test: dict[str, Any] | None = None

    def update(self, step: int, validation: Mapping[str, float], test: Mapping[str, float] | None = None) -> bool:
        """Note one validation.

        Args:
            step: of the optimiser.
            validation: headline of the validation split, see `RetrievalResult.headline`.
            test: likewise of the test split, with `paper_protocol` only.

        Returns:
            Whether this is the best validation so far; of equals the first stays.

        Raises:
            ValueError: figures of the test split were given without `paper_protocol`, or the other way round.
        """
        if (test is not None) != self.paper_protocol:
            state = "on" if self.paper_protocol else "off"
            raise ValueError(
                f"paper_protocol is {state}, so figures of the test split must {'' if self.paper_protocol else 'not '}"
                "be given at a validation"
            )
        is_best = self._validation is None or validation[SCORE] > self._validation["figures"][SCORE]
        if is_best:
            self._validation = {"step": step, "figures": dict(validation)}
            self._test_then = None if test is None else {"step": step, "figures": dict(test)}
        if test is not None and (
            self._best_test is None or test[PAPER_SCORE] > self._best_test["figures"][PAPER_SCORE]
        ):
            self._best_test = {"step": step, "figures": dict(test)}
        return is_best

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file.

        With `paper_protocol` also the best test figures, those at the selected step, and how much R@1 test selection
        adds, a fraction.
        """
        found: dict[str, Any] = {"selected_on": "validation", "by": SCORE, "validation": self._validation}
        if self._best_test is not None and self._test_then is not None:
            found[PAPER_NAME] = self._best_test
            found["test at the selected step"] = self._test_then
            best, honest = (part["figures"][PAPER_SCORE] for part in (self._best_test, self._test_then))
            found["gain of test selection"] = best - honest
        return found

    def summary(self) -> str:
        """Return the figures as lines for people."""
        if self._validation is None:
            return "nothing was validated"
        lines = [f"selected on validation at step {self._validation['step']}: {_figures(self._validation, SCORE)}"]
        if self._best_test is not None and self._test_then is not None:
            lines.append(f"test at that step: {_figures(self._test_then, PAPER_SCORE)}")
            lines.append(
                f"{PAPER_NAME}, for comparison only: {_figures(self._best_test, PAPER_SCORE)} at step "
                f"{self._best_test['step']}"
            )
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"validation": self._validation, "test_then": self._test_then, "best_test": self._best_test}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._validation, self._test_then = state["validation"], state["test_then"]
        self._best_test = state["best_test"]


def _figures(part: Mapping[str, Any], name: str) -> str:
    label = {SCORE: "geometric mean of R@1, 5, 10", PAPER_SCORE: "text-to-video R@1"}[name]
    return f"{label} {100 * part['figures'][name]:.1f} %"
