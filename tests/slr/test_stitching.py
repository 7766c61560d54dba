"""Words joined from letters: spans, frame labels, what is fixed for tests and what is drawn for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signwave.errors import UserError
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.datasets.fingerspelling import Letter, load_alphabets
from slr.datasets.stitching import SpelledWord, StitchedWords, stitch, write_word
from slr.keypoints.hand_transforms import NUM_POINTS, Augmentation
from slr.training.batch import UNKNOWN_FRAME


def letter(label: str, *, num_frames: int = 20, alphabet: str = "aaa") -> Letter:
    """A letter whose every coordinate is its code point: frames tell where they come from."""
    hands = np.full((num_frames, NUM_POINTS, 3), ord(label), dtype=np.float32)
    return Letter(alphabet, label, "", hands, 3, num_frames - 3)


def words(*texts: str) -> list[SpelledWord]:
    return [SpelledWord(f"aaa/{i}", tuple(letter(label) for label in text)) for i, text in enumerate(texts)]


VOCABULARY = Vocabulary(("<blank>", "A", "B", "C"))


@pytest.mark.parametrize("seed", range(20))
def test_spans_hold_their_letter_and_nothing_else(seed: int) -> None:
    made = stitch([letter(label) for label in "ABBA"], np.random.default_rng(seed))
    assert made.spans[0][0] == 0
    assert made.spans[-1][1] == len(made.hands)
    for label, (start, stop) in zip("ABBA", made.spans, strict=True):
        assert stop - start >= 5
        assert (made.hands[start:stop] == ord(label)).all()
    gaps = [after[0] - before[1] for before, after in zip(made.spans, made.spans[1:], strict=False)]
    assert all(2 <= gap < 8 for gap in gaps)
    assert gaps[1] >= 4


def test_training_draws_anew_and_tests_do_not() -> None:
    training = StitchedWords(words("ABC"), vocabulary=VOCABULARY, augmentation=Augmentation())
    first, again, other = (training[Draw(0, seed)] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert first.inputs.shape != other.inputs.shape or not np.array_equal(first.inputs, other.inputs)
    test = StitchedWords(words("ABC", "ABC"), vocabulary=VOCABULARY)
    np.testing.assert_array_equal(test[Draw(0, 1)].inputs, test[Draw(0, 2)].inputs)
    np.testing.assert_array_equal(test[Draw(0, 1)].inputs, test.stitched(0).hands.reshape(-1, 126))


def test_items_and_batches() -> None:
    data = StitchedWords(words("AB", "C"), vocabulary=VOCABULARY)
    items = [data[Draw(0, 0)], data[Draw(1, 0)]]
    assert items[0].labels == [1, 2]
    assert items[0].frame_labels is not None
    (first, second) = data.stitched(0).spans
    assert set(items[0].frame_labels[slice(*first)]) == {1}
    assert set(items[0].frame_labels[slice(*second)]) == {2}
    assert not items[0].frame_labels[first[1] : second[0]].any()
    batch = data.collate(items)
    batch.check()
    assert batch.inputs.shape[2] == NUM_POINTS * 3
    assert batch.labels.tolist() == [[1, 2], [3, 0]]
    assert (batch.frame_labels[1, int(batch.num_frames[1]) :] == UNKNOWN_FRAME).all()
    assert not batch.inputs[1, int(batch.num_frames[1]) :].any()
    assert len(data.lengths) == 2
    assert data.lengths[0] > data.lengths[1] > 0


def test_a_written_word_holds_its_letters_and_reads_back(tmp_path: Path, lexicon: Path) -> None:
    from slr.keypoints.hands import read_clip

    path = write_word("bä", "aaa", tmp_path / "word.pose", raw=lexicon)
    clip = read_clip(path, rate_hz=25.0)
    alphabet = load_alphabets(["aaa"], raw=lexicon)["aaa"]
    np.testing.assert_allclose(clip.hands[0], alphabet["B"].hands[0], atol=1e-3)
    np.testing.assert_allclose(clip.hands[-1], alphabet["A"].hands[-1], atol=1e-3)
    assert len(clip.hands) == 20 + 4 + 20
    with pytest.raises(UserError, match="'aaa' has no letters for all of 'bz'"):
        write_word("bz", "aaa", tmp_path / "no.pose", raw=lexicon)
