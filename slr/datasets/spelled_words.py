"""The fingerspelling task: which alphabets train, which are never seen, which words test, how far a baseline gets."""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from signwave.text import Vocabulary
from slr.datasets.words import words

if TYPE_CHECKING:
    from signwave.training.data import DataModule
    from slr.datasets.fingerspelling import Alphabet, Letter
    from slr.datasets.stitching import SpelledWord, StitchedWords

_MIN_RECORDINGS = 3
SEEN, UNSEEN = "seen_recordings", "unseen_recordings"


@dataclass
class SpelledWordsConfig:
    """Words to train and to test on. Test words are never trained on; unseen alphabets lend training no recording."""

    raw: str = "package"
    """Folder of the recordings, or "package" for the installed one."""
    train_alphabets: tuple[str, ...] = (
        "ase", "asq", "cse", "csq", "eso", "ise", "lls", "mfs", "psr", "sgg", "svk", "swl", "tsm"
    )  # fmt: skip
    unseen_alphabets: tuple[str, ...] = ("gsg", "bzs", "ssp")
    num_train_words: int = 12_000
    """Words of one pass; their recordings are joined anew in every pass."""
    random_share: float = 0.5
    """Strings of chance letters among them, half of them of at most three letters."""
    mixed_share: float = 0.5
    """Words of one-handed alphabets that take each letter from another of these alphabets."""
    num_seen_test_words: int = 400
    num_dev_words: int = 150
    """About so many held-out words of the seen recordings choose the best weights; no test on these has them."""
    rotation_degrees: float = 20.0
    bone: float = 0.1
    noise: float = 0.008

    def __post_init__(self) -> None:
        both = sorted(set(self.train_alphabets) & set(self.unseen_alphabets))
        if both:
            raise ValueError(f"unseen_alphabets must not be trained on; {', '.join(both)} is in both lists")
        numbers = (self.num_train_words, self.num_seen_test_words, self.num_dev_words)
        if not self.train_alphabets or min(numbers) < 1:
            raise ValueError("train_alphabets and the numbers of words must not be empty or 0")

    def build(self, *, seed: int, budget: int, num_workers: int = 0) -> "SpelledWords":
        """Read the recordings and choose the words.

        Args:
            seed: of the choice of words and of the training order.
            budget: frames of a padded batch.
            num_workers: loader processes.
        """
        from signwave.training.data import DataModule
        from slr.datasets.fingerspelling import RATE_HZ, load_alphabets
        from slr.datasets.stitching import StitchedWords
        from slr.keypoints.hand_transforms import Augmentation

        alphabets = load_alphabets([*self.train_alphabets, *self.unseen_alphabets], raw=self.raw)
        training = {name: alphabets[name] for name in self.train_alphabets}
        vocabulary = Vocabulary.build(label for alphabet in training.values() for label in alphabet)
        augmentation = Augmentation(rotation_degrees=self.rotation_degrees, bone=self.bone, noise=self.noise)
        rng = np.random.default_rng(seed)
        train = StitchedWords(training_words(self, training, rng), vocabulary=vocabulary, augmentation=augmentation)
        held_out = held_out_words(self, alphabets, vocabulary, rng)
        dev, test = (StitchedWords(chosen, vocabulary=vocabulary) for chosen in held_out)
        data = DataModule(
            train, dev, test, budget=budget, seed=seed, num_workers=num_workers, max_items=48, rate_hz=RATE_HZ
        )
        letters = [letter for alphabet in training.values() for letter in alphabet.values()]
        return SpelledWords(data, vocabulary, baseline_answers(test, letters), RATE_HZ)


@dataclass(frozen=True)
class SpelledWords:
    """What `build` gives: the splits, the letters, and what each baseline answers to the test words."""

    data: "DataModule"
    vocabulary: Vocabulary
    baselines: dict[str, dict[str, str]] = field(repr=False)
    rate_hz: float


def training_words(
    config: SpelledWordsConfig, alphabets: "dict[str, Alphabet]", rng: np.random.Generator
) -> "list[SpelledWord]":
    """Words and strings of chance letters, spelled by one alphabet or by several one-handed ones."""
    from slr.datasets.fingerspelling import TWO_HANDED_ALPHABETS, spell
    from slr.datasets.stitching import SpelledWord

    names, vocabulary = sorted(alphabets), words(held_out=False)
    one_handed = [name for name in names if name not in TWO_HANDED_ALPHABETS]
    donors: dict[str, list[Letter]] = {}
    for name in one_handed:
        for label, letter in alphabets[name].items():
            donors.setdefault(label, []).append(letter)
    found: list[SpelledWord] = []
    while len(found) < config.num_train_words:
        name = names[rng.integers(len(names))]
        alphabet = alphabets[name]
        if rng.random() < config.random_share:
            size = int(rng.integers(1, 4) if rng.random() < 0.5 else rng.integers(3, 8))
            letters = [alphabet[label] for label in rng.choice(sorted(alphabet), size)]
        else:
            letters = spell(vocabulary[rng.integers(len(vocabulary))], alphabet) or []
        if name in one_handed and rng.random() < config.mixed_share:
            letters = [donors[letter.label][rng.integers(len(donors[letter.label]))] for letter in letters]
        if letters:
            found.append(SpelledWord(f"{name}/{len(found)}", tuple(letters)))
    return found


class HeldOut(NamedTuple):
    """Words that training never has."""

    dev: "list[SpelledWord]"
    test: "list[SpelledWord]"


def held_out_words(
    config: SpelledWordsConfig, alphabets: "dict[str, Alphabet]", vocabulary: Vocabulary, rng: np.random.Generator
) -> HeldOut:
    """Held-out words: two samples over the training alphabets, and for the test all that each unseen alphabet has.

    Words with a letter that no training alphabet has are left out: no answer to them could be right. No word of dev is
    tested on seen recordings, in whatever alphabet; an unseen alphabet may spell it.
    """
    seen = [
        spelled
        for name in config.train_alphabets
        for spelled in _spelled(name, alphabets[name], vocabulary, group=SEEN)
    ]
    unseen = [
        spelled
        for name in config.unseen_alphabets
        for spelled in _spelled(name, alphabets[name], vocabulary, group=name)
    ]
    if not seen or (config.unseen_alphabets and not unseen):
        raise UserError("no held-out word can be spelled with these alphabets; name others in train_alphabets")
    names = sorted({_word_of(spelled) for spelled in seen})
    place = {names[index]: rank for rank, index in enumerate(rng.permutation(len(names)).tolist())}
    # Whole words go to dev, in all alphabets: at most as many as asked for, and no more than a quarter.
    by_word = sorted(seen, key=lambda spelled: (place[_word_of(spelled)], spelled.id))
    size = min(config.num_dev_words, len(seen) // 4)
    last = place[_word_of(by_word[size - 1])] if size else -1
    dev = [spelled for spelled in by_word if place[_word_of(spelled)] <= last]
    rest = [spelled for spelled in seen if place[_word_of(spelled)] > last]
    chosen = sorted(rng.permutation(len(rest))[: config.num_seen_test_words].tolist())
    return HeldOut(dev, [rest[index] for index in chosen] + unseen)


def _word_of(spelled: "SpelledWord") -> str:
    return spelled.id.rpartition("/")[2]


def _spelled(name: str, alphabet: "Alphabet", vocabulary: Vocabulary, *, group: str) -> "list[SpelledWord]":
    from slr.datasets.fingerspelling import SPOKEN_LANGUAGE, spell
    from slr.datasets.stitching import SpelledWord

    found = []
    for word in words(SPOKEN_LANGUAGE.get(name, ""), held_out=True):
        letters = spell(word, alphabet)
        if letters and not vocabulary.unknown(" ".join(letter.label for letter in letters)):
            found.append(SpelledWord(f"{group}/{name}/{word}", tuple(letters)))
    return found


def baseline_answers(test: "StitchedWords", letters: "Sequence[Letter]") -> dict[str, dict[str, str]]:
    """What plain comparison of hand shapes says about each test word, given where its letters begin and end.

    The boundaries are the true ones, which no recogniser has: such a baseline can't insert or miss a letter, and on
    recordings it was made from it only has to find them again. Letters that fewer than three training alphabets have
    are left out, because their few accented forms would draw answers away from the plain ones.

    Args:
        test: words, made as the model sees them.
        letters: training recordings.

    Returns:
        "baseline" (nearest mean shape of a letter), "neighbour" (nearest single recording) and "chance" (any letter),
        each id → letters.
    """
    counts = Counter(letter.label for letter in letters)
    fewest = min(_MIN_RECORDINGS, max(counts.values()))
    kept = [letter for letter in letters if counts[letter.label] >= fewest]
    names = [letter.label for letter in kept]
    shapes = np.stack([_mean_shape(letter.hands[letter.start : letter.stop]) for letter in kept])
    labels = sorted(set(names))
    centroids = np.stack([shapes[[name == label for name in names]].mean(0) for label in labels])
    answers: dict[str, dict[str, str]] = {"baseline": {}, "neighbour": {}, "chance": {}}
    rng = np.random.default_rng(0)
    for index, word in enumerate(test.words):
        made = test.stitched(index)
        seen = [_mean_shape(made.hands[start:stop]) for start, stop in made.spans]
        answers["baseline"][word.id] = " ".join(_nearest(shape, centroids, labels) for shape in seen)
        answers["chance"][word.id] = " ".join(rng.choice(labels, len(seen)))
        answers["neighbour"][word.id] = " ".join(_nearest(shape, shapes, names) for shape in seen)
    return answers


def _nearest(shape: NDArray[np.float32], shapes: NDArray[np.float32], names: Sequence[str]) -> str:
    return names[int(((shapes - shape) ** 2).sum(1).argmin())]


def _mean_shape(hands: NDArray[np.float32]) -> NDArray[np.float32]:
    """(60,) float32, median over time of the signing hand about its wrist, in palm sizes. hands: (T, 42, 3) float32."""
    shape = hands[:, 1:21] - hands[:, :1]
    size = np.linalg.norm(shape[:, [4, 8, 12, 16]], axis=-1).mean() or 1.0
    return np.asarray(np.median(shape / size, axis=0).ravel(), dtype=np.float32)
