"""Words joined from real letters: what the splits hold, the clips as models read them, the same bytes again."""

import hashlib
import importlib
import importlib.util
import itertools
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from signwave import manifest
from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip
from slr.crosslingual.alignment_scores import read_reference
from slr.crosslingual.map_scores import read_truth
from slr.datasets import equal_handshapes, fingerspelling
from slr.datasets.joined_letters import damaged_letters, is_left_handed, join, read_recordings
from slr.datasets.spelled_texts import Sizes, SpelledText, even_strings, opaque_gloss, rare_strings, word_texts
from slr.datasets.words import words
from slr.keypoints.layout import MOUTH, NUM_KEYPOINTS, RIGHT_HAND, read_keypoints
from slr.training.corpus import CorpusConfig

needs_recordings = pytest.mark.skipif(
    importlib.util.find_spec("spoken_to_signed") is None,
    reason="the recordings are not installed: pip install 'signwave[signdata]'",
)
GERMAN = ("--train", "gsg,sgg", "--test", "asq", "--num-train", "24", "--num-dev", "6", "--num-test", "10")
OTHERS = ("--train", "ise,gss", "--opaque", "--num-train", "40", "--num-dev", "4", "--num-test", "6")


@pytest.fixture(scope="module")
def tool(repository: Path) -> ModuleType:
    sys.path.insert(0, str(repository / "tools"))
    try:
        return importlib.import_module("make_spelled_corpus")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def german(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "german"
    assert tool.main([str(out), *GERMAN]) == 0
    return Path(out)


@pytest.fixture(scope="module")
def others(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "others"
    assert tool.main([str(out), *OTHERS, "--truth", str(out.parent / "equal.tsv")]) == 0
    return Path(out)


def read(corpus: Path, split: str) -> list[Clip]:
    return list(manifest.read(corpus / f"{split}.jsonl.gz"))


@needs_recordings
def test_the_splits_share_no_word_and_test_has_its_own_people(german: Path) -> None:
    splits = {split: read(german, split) for split in ("train", "dev", "test")}
    assert [len(clips) for clips in splits.values()] == [24, 6, 10]
    assert [{clip.person for clip in clips} for clips in splits.values()] == [{"gsg", "sgg"}, {"gsg", "sgg"}, {"asq"}]
    groups = [{clip.group for clip in clips} for clips in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[2] & (groups[0] | groups[1])
    assert groups[1] | groups[2] < set(words("de"))
    letters = Counter(gloss for clip in splits["train"] for gloss in clip.text.split())
    assert len(letters) == 30  # every letter, the rare ones by strings of chance letters
    for clip in (clip for clips in splits.values() for clip in clips):
        assert (clip.kind, clip.language, clip.rate_hz) == ("pose", "german", 25.0)


@needs_recordings
def test_words_without_a_sign_for_sharp_s_are_spelled_with_two() -> None:
    alphabets = fingerspelling.load_alphabets(["sgg", "gsg"])
    swiss, german = ({name: alphabets[name]} for name in alphabets)
    texts = word_texts(swiss, german, Sizes(300, 1, 60), chance_share=0, seed=0)
    assert {text.word: "".join(text.labels) for text in texts.train}["straße"] == "STRASSE"
    # No training alphabet has the letter, so no test word does.
    assert not any("ẞ" in text.labels for text in texts.test)


@needs_recordings
def test_a_recipe_reads_the_corpus(german: Path) -> None:
    corpus = CorpusConfig(manifest_dir=str(german)).load()
    batches = corpus.batches(reads="keypoints", stride=4, seed=0, budget=2000)
    batch = next(iter(batches.train_dataloader()))
    assert batch.inputs.shape[2:] == (NUM_KEYPOINTS, 3)
    assert corpus.vocabulary.size == 31


@needs_recordings
def test_clips_show_hand_body_and_mouth(german: Path) -> None:
    for clip in read(german, "train")[:4]:
        points = read_keypoints(clip.path, rate_hz=None).points
        assert len(points) == clip.num_frames
        seen = points[..., 2] > 0
        assert seen[:, RIGHT_HAND].mean() > 0.8
        assert seen[:, 42 : MOUTH.stop].mean() > 0.9
        # The hand hangs on the arm, whatever was moved: the body's wrist is the hand's.
        together = seen[:, 21] & seen[:, 52]
        assert np.abs(points[together, 21, :2] - points[together, 52, :2]).max() < 0.3


@needs_recordings
def test_times_are_a_reference_for_alignment(german: Path) -> None:
    reference = read_reference(german / "times.jsonl")
    clips = [clip for split in ("train", "dev", "test") for clip in read(german, split)]
    assert set(reference) == {clip.id for clip in clips}
    for clip in clips:
        row = reference[clip.id]
        assert (row.num_frames, " ".join(row.glosses)) == (clip.num_frames, clip.text)
        flat = [frame for span in row.spans for frame in span]
        assert flat == sorted(flat)
        assert flat[-1] <= row.num_frames


@needs_recordings
def test_opaque_glosses_occur_about_equally_often(others: Path) -> None:
    clips = read(others, "train")
    counts = Counter(gloss for clip in clips for gloss in clip.text.split())
    assert len(counts) == 26 + 22
    assert max(counts.values()) - min(counts.values()) <= 2
    for clip in clips:
        glosses = clip.text.split()
        assert {gloss.split("-")[0] for gloss in glosses} == {clip.person}
        assert 3 <= len(glosses) <= 6
        assert all(a != b for a, b in itertools.pairwise(glosses))
    assert not {clip.group for clip in clips} & {clip.group for clip in read(others, "test")}


@needs_recordings
def test_left_handed_signers_are_mirrored(others: Path) -> None:
    clip = next(clip for clip in read(others, "train") if clip.person == "ise")
    points = read_keypoints(clip.path, rate_hz=None).points
    assert points[:, RIGHT_HAND, 2].mean() > 0.8 > points[:, :21, 2].mean()
    assert is_left_handed(np.array([[True, False], [True, False]]))
    assert not is_left_handed(np.array([[True, True], [False, True]]))


@needs_recordings
def test_the_truth_is_what_the_mapping_is_scored_with(others: Path) -> None:
    truth = read_truth(others.parent / "equal.tsv")
    assert truth["ise-L"] == {"L"}
    assert truth["gss-Λ"] == {"N", "P"}
    assert "gss-Γ" not in truth


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@needs_recordings
def test_the_same_command_gives_the_same_bytes_and_another_seed_others(tool: ModuleType, tmp_path: Path) -> None:
    small = (*GERMAN, "--num-train", "3", "--num-dev", "1", "--num-test", "1", "--language", "x")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        tool.main([str(tmp_path / name), *small, "--seed", seed])
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


@needs_recordings
def test_no_two_performances_of_a_letter_are_alike() -> None:
    recordings = read_recordings(fingerspelling.load_alphabets(["ase"]))["ase"]
    rng = np.random.default_rng(0)
    letters = [recordings["L"], recordings["L"]]
    joined = [join(letters, rng) for _ in range(2)]
    shapes = [made.hands[start:stop] for made in joined for start, stop in made.spans]
    middles = np.stack([shape[len(shape) // 2, :21] for shape in shapes])
    apart = np.abs(middles[:, None] - middles[None]).max((2, 3))
    assert apart[~np.eye(4, dtype=bool)].min() > 0.01
    # A doubled letter slides outwards, or nobody could see that there are two.
    assert all(made.hands[made.spans[1][0], 0, 0] < made.hands[made.spans[0][0], 0, 0] for made in joined)


@needs_recordings
def test_damaged_recordings_are_known() -> None:
    alphabets = fingerspelling.load_alphabets(["gss", "gsg"])
    assert {name: damaged_letters(alphabet) for name, alphabet in alphabets.items()} == {"gss": ["Ο", "Φ"], "gsg": []}


@needs_recordings
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "gsg,ase", "--test", "asq"), "no word list in common"),
        (("--train", "gsg", "--test", "asq", "--num-test", "9999"), "ask for fewer"),
        (("--train", "nope", "--opaque"), "no alphabet 'nope'"),
        (("--train", "ase,fsl", "--opaque"), "the same recordings"),
        (("--train", "tsm", "--opaque", "--truth", "TRUTH"), "no rows of 'tsm'"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    given = [str(tmp_path / "truth.tsv") if argument == "TRUTH" else argument for argument in arguments]
    assert tool.main([str(tmp_path / "out"), *given]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "gsg"), "--opaque"),
        (("--train", "gsg", "--test", "gsg"), "in both: ['gsg']"),
        (("--train", "gsg", "--test", "asq", "--num-dev", "0"), "at least 1 clip"),
        (("--train", "gsg", "--test", "asq", "--truth", "x.tsv"), "--truth goes with --opaque"),
        (("--train", "gsg", "--test", "asq", "--seed", "-1"), "--seed"),
    ],
)
def test_wrong_options_are_refused(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        tool.main([str(tmp_path / "out"), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), *OTHERS])
    assert "holds something" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_rare_strings_take_the_rarest_letters() -> None:
    texts = [SpelledText("x", "AAAA", ("A",) * 4), SpelledText("x", "BB", ("B",) * 2)]
    made = rare_strings({"x": ["A", "B", "C", "D"]}, texts, 3, np.random.default_rng(0))
    counts = Counter(label for text in [*texts, *made] for label in text.labels)
    assert max(counts.values()) - min(counts.values()) <= 2
    assert set(made[0].labels) <= {"C", "D", "B"}


def test_even_strings_make_none_twice() -> None:
    taken = {("x", "A", "B", "C")}
    made = even_strings({"x": ["A", "B", "C", "D"]}, 20, np.random.default_rng(0), taken=taken)
    assert len({text.labels for text in made}) == 20
    assert ("A", "B", "C") not in {text.labels for text in made}
    assert len(taken) == 21


@needs_recordings
def test_every_letter_of_the_judged_alphabets_has_a_row_and_targets_exist() -> None:
    table = equal_handshapes.equal_handshapes()
    judged = sorted({row.alphabet for row in table})
    alphabets = fingerspelling.load_alphabets([*judged, *equal_handshapes.TARGET_ALPHABETS])
    targets = {label for name in equal_handshapes.TARGET_ALPHABETS for label in alphabets[name]}
    for name in judged:
        assert {row.letter for row in table if row.alphabet == name} == set(alphabets[name])
    assert {row.target_letter for row in table} <= {*targets, equal_handshapes.NONE}
    pairs = [(row.alphabet, row.letter, row.target_letter) for row in table]
    assert len(set(pairs)) == len(pairs)
    none = {(row.alphabet, row.letter) for row in table if row.target_letter == equal_handshapes.NONE}
    assert not none & {pair[:2] for pair in pairs if pair[2] != equal_handshapes.NONE}


def test_a_stricter_truth_is_a_part_of_the_whole() -> None:
    every, sure = equal_handshapes.truth(["ukl"]), equal_handshapes.truth(["ukl"], certainty="high")
    assert set(sure) < set(every)
    assert (opaque_gloss("ukl", "І"), "I") in sure
    with pytest.raises(UserError, match="no rows of 'gsg'"):
        equal_handshapes.truth(["gsg"])


@pytest.mark.parametrize(
    "text", ["", "a\tb\n", "alphabet\tletter\ttarget_letter\tcertainty\tnote\nukl\tА\tA\tsome\t\n"]
)
def test_a_damaged_table_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match=r"equal_handshapes\.tsv"):
        equal_handshapes.parse(text)
