"""The corpus of manual alphabets: rows, traps, words, and the baseline."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from signwave.errors import ManifestError, UserError
from signwave.prepare import Problem, Row, run_prepare
from signwave.text import Vocabulary
from slr.datasets import fingerspelling
from slr.datasets.fingerspelling import label_of, load_alphabets, spell
from slr.datasets.spelled_words import SpelledWordsConfig, baseline_answers, training_words
from slr.datasets.stitching import SpelledWord, StitchedWords
from slr.datasets.words import WORDS, words

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("spoken_to_signed") is None, reason="pip install 'signwave[signdata]'"
)


@pytest.mark.parametrize(
    ("text", "label"), [("ß", "ẞ"), (" ä", "Ä"), ("Dž", "DŽ"), ("ج", "ج"), ("n\u0303", "Ñ"), ("ı", "I")]
)
def test_labels(text: str, label: str) -> None:
    assert label_of(text) == label


def test_rows_name_the_alphabet_whose_file_it_is(lexicon: Path) -> None:
    rows = [row for row in fingerspelling.prepare(lexicon) if isinstance(row, Row)]
    assert [row.clip.id for row in rows][:4] == ["aaa-A", "aaa-B", "aaa-Ñ", "aaa-SCH"]
    assert {(row.clip.language, row.clip.person) for row in rows} == {("aaa", "aaa"), ("bbb", "bbb"), ("ccc", "aaa")}
    assert rows[0].where.endswith("index.csv:2")
    assert rows[2].clip.group == "Ñ"


def test_missing_and_damaged_recordings_are_named_and_the_rest_is_done(lexicon: Path, tmp_path: Path) -> None:
    (lexicon / "bbb" / "0.pose").unlink()
    (lexicon / "bbb" / "1.pose").write_bytes(b"no pose")
    report = run_prepare(
        fingerspelling.prepare(lexicon), tmp_path / "out", check=fingerspelling.check, show_progress=False
    )
    assert report.exit_code == 3
    assert report.num_clips == 10
    kinds = {problem.where.rsplit(":", 1)[1]: problem.kind for problem in report.problems}
    assert kinds == {"6": "missing", "7": "unreadable"}


def test_one_recording_is_never_two_signers(lexicon: Path) -> None:
    with pytest.raises(UserError, match="ccc and aaa are the same recordings"):
        load_alphabets(["aaa", "ccc"], raw=lexicon)
    with pytest.raises(UserError, match="no alphabet 'zzz'"):
        load_alphabets(["zzz"], raw=lexicon)
    assert sorted(load_alphabets(["aaa"], raw=lexicon)["aaa"]) == ["A", "B", "Ñ"]


def test_a_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"index\.csv: can't be read"):
        list(fingerspelling.prepare(tmp_path))
    (tmp_path / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match=r"index\.csv:1: no column 'path'"):
        list(fingerspelling.prepare(tmp_path))


def test_spelling_drops_accents_only_where_the_alphabet_has_none(lexicon: Path) -> None:
    alphabet = load_alphabets(["aaa"], raw=lexicon)["aaa"]
    assert [letter.label for letter in spell("bañá", alphabet) or []] == ["B", "A", "Ñ", "A"]
    assert spell("box", alphabet) is None


def test_held_out_words_are_never_training_words() -> None:
    held_out, kept = set(words(held_out=True)), set(words(held_out=False))
    assert not held_out & kept
    assert held_out | kept == {word for some in WORDS.values() for word in some}
    assert 0.18 < len(held_out) / len(held_out | kept) < 0.32
    with pytest.raises(ValueError, match="language must be one of"):
        words("xx")


def test_training_words_never_use_unseen_recordings(lexicon: Path) -> None:
    config = SpelledWordsConfig(train_alphabets=("aaa",), unseen_alphabets=("bbb",), num_train_words=200)
    alphabets = load_alphabets(["aaa", "bbb"], raw=lexicon)
    made = training_words(config, {"aaa": alphabets["aaa"]}, np.random.default_rng(0))
    assert len(made) == 200
    assert {letter.alphabet for word in made for letter in word.letters} == {"aaa"}
    with pytest.raises(ValueError, match="aaa is in both lists"):
        SpelledWordsConfig(train_alphabets=("aaa",), unseen_alphabets=("aaa",))


def test_the_baseline_knows_what_it_has_seen(lexicon: Path) -> None:
    alphabet = load_alphabets(["aaa"], raw=lexicon)["aaa"]
    letters = list(alphabet.values())
    word = SpelledWord("seen/x", (alphabet["B"], alphabet["A"]))
    test = StitchedWords([word], vocabulary=Vocabulary.build(["A B Ñ"]))
    right = {"seen/x": "B A"}
    answers = baseline_answers(test, letters)
    assert answers["baseline"] == answers["neighbour"] == right
    assert answers["chance"].keys() == right.keys()
    assert all(len(answers["chance"][name].split()) == len(text.split()) for name, text in right.items())


@needs_package
def test_the_installed_package_holds_what_is_said() -> None:
    rows = list(fingerspelling.prepare())
    assert len(rows) == 626
    assert not any(isinstance(row, Problem) for row in rows)
    clips = [row.clip for row in rows if isinstance(row, Row)]
    assert len({clip.path for clip in clips}) == 600
    assert len({clip.language for clip in clips}) == 20
    assert len({clip.person for clip in clips}) == 19
    assert sum(len(clip.text) > 1 for clip in clips) > 25
    assert max(Counter(clip.id for clip in clips).values()) == 1
    assert {clip.language for clip in clips if clip.person == "ase"} == {"ase", "fsl"}


@needs_package
def test_no_recording_occurs_under_two_names() -> None:
    import hashlib

    folder = fingerspelling.package_dir()
    sums = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*/*.pose"))
    assert max(sums.values()) == 1


def test_dev_words_are_neither_trained_on_nor_tested() -> None:
    pytest.importorskip("spoken_to_signed")
    config = SpelledWordsConfig(train_alphabets=("ase", "sgg"), unseen_alphabets=("gsg",), num_train_words=400)
    data = config.build(seed=0, budget=3500).data
    tested = {word.id.rpartition("/")[2] for word in data.splits["test"].words if word.id.startswith("seen")}
    dev = {word.id.rpartition("/")[2] for word in data.splits["val"].words}
    assert 10 < len(dev) <= 150
    assert not dev & tested
    known = {word.text for word in data.splits["train"].words if len(word.letters) > 3}
    assert not known & {word.text for word in data.splits["val"].words}
