"""Validation chooses; the papers' way of choosing is noted under its own name."""

import pytest

from slr.retrieval.learning.protocol import PAPER_NAME, Selection


def figures(recall, first=0.0):
    return {"recall": recall, "recall_at_1": first}


def test_the_first_best_validation_is_kept():
    selection = Selection()
    assert [selection.update(step, figures(value)) for step, value in enumerate([0.2, 0.5, 0.5, 0.4])] == [
        True, True, False, False,
    ]  # fmt: skip
    found = selection.to_dict()
    assert found["selected_on"] == "validation"
    assert found["validation"]["step"] == 1
    assert PAPER_NAME not in found
    assert selection.summary() == "selected on validation at step 1: geometric mean of R@1, 5, 10 50.0 %"


def test_the_test_set_never_decides():
    selection = Selection(paper_protocol=True)
    selection.update(1, figures(0.5), figures(0.0, 0.30))
    selection.update(2, figures(0.6), figures(0.0, 0.25))
    assert not selection.update(3, figures(0.4), figures(0.0, 0.41))
    found = selection.to_dict()
    assert found["validation"]["step"] == 2
    assert (found[PAPER_NAME]["step"], found[PAPER_NAME]["figures"]["recall_at_1"]) == (3, 0.41)
    assert found["test at the selected step"]["figures"]["recall_at_1"] == 0.25
    assert found["gain of test selection"] == pytest.approx(0.16)
    assert "test-selected (paper protocol), for comparison only: text-to-video R@1 41.0 % at step 3" in (
        selection.summary()
    )


def test_a_resumed_run_goes_on():
    whole, half = Selection(paper_protocol=True), Selection(paper_protocol=True)
    steps = [(1, figures(0.5), figures(0, 0.9)), (2, figures(0.7), figures(0, 0.1)), (3, figures(0.6), figures(0, 0.2))]
    for step in steps:
        whole.update(*step)
    half.update(*steps[0])
    resumed = Selection(paper_protocol=True)
    resumed.load_state_dict(half.state_dict())
    for step in steps[1:]:
        resumed.update(*step)
    assert resumed.to_dict() == whole.to_dict()


def test_test_figures_come_only_with_the_paper_protocol():
    with pytest.raises(ValueError, match="paper_protocol is off, so figures of the test split must not be given"):
        Selection().update(1, figures(0.1), figures(0.1))
    with pytest.raises(ValueError, match="paper_protocol is on, so figures of the test split must be given"):
        Selection(paper_protocol=True).update(1, figures(0.1))
    assert Selection().summary() == "nothing was validated"
