import pytest

from signwave.ctc.align import Alignment
from signwave.ctc.hypothesis import Hypothesis
from signwave.ctc.times import Clock, words
from signwave.transcript import Word

TOKENS = ["<blank>", " ", "a", "b"]
FOUND = Hypothesis(
    (1, 2, 3, 1, 1, 2), -1.0, ((0, 1), (1, 3), (4, 5), (6, 7), (8, 9), (10, 12)), (1, 0.8, 0.6, 1, 1, 0.5)
)


def test_words_of_characters() -> None:
    found = words(FOUND, tokens=TOKENS, clock=Clock(stride_seconds=0.5, offset_seconds=10.0), boundary=1)
    assert found == [Word("ab", 10.5, 12.5, pytest.approx(0.7)), Word("a", 15.0, 16.0, 0.5)]


def test_a_token_a_word() -> None:
    glosses = Alignment((2, 3), ((0, 2), (3, 4)), (0.9, 0.5), (0.8, 0.5), (0, 3), -1.0)
    found = words(glosses, tokens=["<blank>", "X", "HOUSE", "RAIN"], clock=Clock(stride_seconds=0.25, end_seconds=0.9))
    assert found == [Word("HOUSE", 0.0, 0.5, 0.9), Word("RAIN", 0.75, 0.9, 0.5)]


def test_no_time_lies_outside_the_span() -> None:
    around = Clock(stride_seconds=0.5, offset_seconds=1.75, start_seconds=2.0, end_seconds=6.0)
    found = words(FOUND, tokens=TOKENS, clock=around)
    assert [(word.start_seconds, word.end_seconds) for word in found[::5]] == [(2.0, 2.25), (6.0, 6.0)]


def test_a_hypothesis_without_words() -> None:
    assert words(Hypothesis((), 0.0), tokens=TOKENS, clock=Clock(stride_seconds=0.5), boundary=1) == []
    assert (
        words(Hypothesis((1,), 0.0, ((0, 1),), (1.0,)), tokens=TOKENS, clock=Clock(stride_seconds=1), boundary=1) == []
    )


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="holds no spans"):
        words(Hypothesis((2,), 0.0), tokens=TOKENS, clock=Clock(stride_seconds=0.5))
    with pytest.raises(ValueError, match="stride_seconds must be positive"):
        Clock(stride_seconds=0)
