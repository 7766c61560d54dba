"""Made-up signers: the official layout, true times, keypoints of what was drawn, damage, and the same bytes again."""

import hashlib
import importlib
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from signwave.errors import MediaError
from signwave.media.poses import probe_pose, read_pose
from signwave.media.video import count_frames, open_video
from signwave.prepare import Row
from slr.datasets import poses

ROOT = "phoenix-2014-multisigner"


@pytest.fixture(scope="module")
def tool(repository: Path) -> ModuleType:
    sys.path.insert(0, str(repository / "tools"))
    try:
        return importlib.import_module("make_sign_corpus")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def corpus(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    sizes = ["--num-train", "5", "--num-dev", "2", "--num-test", "4", "--num-signers", "3", "--unseen-signers", "1"]
    tool.main([str(out), *sizes, "--bad"])
    return out / ROOT


def rows(corpus: Path, split: str) -> list[list[str]]:
    text = (corpus / "annotations" / "manual" / f"{split}.corpus.csv").read_text(encoding="utf-8")
    header, *lines = text.splitlines()
    assert header == "id|folder|signer|annotation"
    return [line.split("|") for line in lines]


def times(corpus: Path) -> list[dict[str, object]]:
    lines = (corpus / "annotations" / "automatic" / "times.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def bad(corpus: Path) -> dict[str, str]:
    lines = (corpus / "annotations" / "automatic" / "bad.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["kind"]: row["clip"] for row in map(json.loads, lines)}


def frames_of(corpus: Path, split: str, clip: str) -> Path:
    return corpus / "features" / "fullFrame-210x260px" / split / clip / "1"


def test_the_layout_is_the_official_one(corpus: Path) -> None:
    for split, num_clips in (("train", 5 + 4), ("dev", 2), ("test", 4)):
        found = rows(corpus, split)
        assert len(found) == num_clips
        for clip, folder, signer, annotation in found:
            assert folder == f"{clip}/1/*.png"
            assert signer.startswith("Signer")
            assert annotation
        stm = (corpus / "evaluation" / f"phoenix2014-groundtruth-{split}.stm").read_text(encoding="utf-8").splitlines()
        assert [line.split() for line in stm] == [
            [clip, "1", signer.lower(), "0.0", "1.79769e+308", *annotation.split()]
            for clip, _, signer, annotation in found
        ]
    clip = rows(corpus, "dev")[0][0]
    first = min(frames_of(corpus, "dev", clip).iterdir())
    assert first.name == f"{clip.rsplit('_default', 1)[0]}.avi_pid0_fn000000-0.png"
    with Image.open(first) as picture:
        assert (picture.size, picture.mode) == ((64, 80), "RGB")


def test_times_tell_what_is_signed_when(corpus: Path) -> None:
    found = times(corpus)
    for split in ("dev", "test"):
        for clip, _, _, annotation in rows(corpus, split):
            spans = [row for row in found if row["clip"] == clip]
            assert [row["gloss"] for row in spans] == annotation.split()
            edges = [edge for row in spans for edge in (row["start_frame"], row["end_frame"])]
            assert edges == sorted(set(edges)), "signs must not touch: there is a transition between them"
            num_frames = count_frames(frames_of(corpus, split, clip))
            assert edges[0] >= 2
            assert edges[-1] <= num_frames - 4


def test_pictures_move_within_signs_and_rest_at_both_ends(corpus: Path) -> None:
    clip = rows(corpus, "dev")[0][0]
    with open_video(frames_of(corpus, "dev", clip)) as video:
        frames = video.frames().pixels.astype(np.int16)
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    spans = [(row["start_frame"], row["end_frame"]) for row in times(corpus) if row["clip"] == clip]
    signed = np.concatenate([change[start : end - 1] for start, end in spans])  # type: ignore[misc]
    assert signed.mean() > change[:2].mean()
    assert signed.mean() > change[-2:].mean()


def test_keypoints_lie_where_the_hands_were_drawn(corpus: Path) -> None:
    """Around the wrist of the leading hand the picture changes more from frame to frame than elsewhere."""
    clip = rows(corpus, "dev")[1][0]
    path = corpus / "poses" / "dev" / f"{clip}.pose"
    info = probe_pose(path)
    assert info.components == {
        "POSE_LANDMARKS": 33,
        "FACE_LANDMARKS": 44,
        "LEFT_HAND_LANDMARKS": 21,
        "RIGHT_HAND_LANDMARKS": 21,
    }
    with open_video(frames_of(corpus, "dev", clip)) as video:
        frames = video.frames().pixels.astype(np.float32)
    assert (info.num_frames, info.fps) == (len(frames), 25.0)
    pose = read_pose(path, layout="hands_body_face")
    middle = pose.points[:, 21:42, :2].mean(1)  # right hand
    background = np.median(frames, axis=0)
    unlike = np.abs(frames - background).mean(1)
    near, far = [], []
    for number, (x, y) in enumerate(middle):
        down, right = np.ogrid[:80, :64]
        close = (right - x) ** 2 + (down - y) ** 2 < 25
        if not close.any() or unlike[number][close].mean() < 5:
            continue
        near.append(unlike[number][close].mean())
        far.append(unlike[number][~close].mean())
    assert len(near) > len(frames) / 4
    assert np.mean(near) > 3 * np.mean(far)


def test_left_and_right_are_the_signers_own(corpus: Path) -> None:
    clip = rows(corpus, "dev")[0][0]
    pose = read_pose(corpus / "poses" / "dev" / f"{clip}.pose", layout="hands_body")
    place = {name: pose.points[:, number, 0].mean() for number, name in enumerate(pose.names)}
    assert place["POSE_LANDMARKS.LEFT_SHOULDER"] > place["POSE_LANDMARKS.RIGHT_SHOULDER"]
    wrists = {name: pose.points[:, number] for number, name in enumerate(pose.names) if name.endswith("WRIST")}
    np.testing.assert_allclose(
        wrists["POSE_LANDMARKS.LEFT_WRIST"], wrists["LEFT_HAND_LANDMARKS.WRIST"], atol=1e-4, err_msg="same joint"
    )


def test_unseen_signers_are_in_every_second_test_clip_only(corpus: Path) -> None:
    known = {row[2] for split in ("train", "dev") for row in rows(corpus, split)}
    assert [row[2] in known for row in rows(corpus, "test")].count(False) == 2
    assert "Signer04" not in known


def test_broadcasts_lie_in_one_split(corpus: Path) -> None:
    broadcasts = [
        {row[0].rsplit("_default", 1)[0] for row in rows(corpus, split)} for split in ("train", "dev", "test")
    ]
    assert not broadcasts[0] & broadcasts[1]
    assert not broadcasts[1] & broadcasts[2]


def test_broken_things_are_planted(corpus: Path) -> None:
    found = bad(corpus)
    labels = {clip: annotation for clip, _, _, annotation in rows(corpus, "train")}
    assert set(found.values()) <= set(labels)
    with pytest.raises(MediaError, match="can be decoded"):
        count_frames(frames_of(corpus, "train", found["truncated"]))
    assert list(frames_of(corpus, "train", found["empty"]).iterdir()) == []
    assert count_frames(frames_of(corpus, "train", found["label_too_long"])) == 16
    assert len(labels[found["label_too_long"]].split()) == 24
    assert any("  " in label for label in labels.values())
    assert list((corpus / "features" / "fullFrame-210x260px" / "dev").glob("*.lprof"))
    assert not set(found.values()) & {row["clip"] for row in times(corpus)}


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def test_the_same_seed_makes_the_same_bytes(tool: ModuleType, tmp_path: Path) -> None:
    sizes = ["--num-train", "1", "--num-dev", "1", "--num-test", "0"]
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        tool.main([str(tmp_path / name), *sizes, "--seed", seed])
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")


def test_the_language_does_not_depend_on_the_vocabulary(tool: ModuleType) -> None:
    language = sys.modules["made_up_signers.language"]
    large = language.signs(30)
    assert language.signs(12) == large[:12]
    assert len({sign.gloss for sign in large}) == 30
    with pytest.raises(ValueError, match="between 2 and 100, got 101"):
        language.signs(101)


def test_a_bigram_model_knows_more_than_counts_alone(tool: ModuleType) -> None:
    grammar = sys.modules["made_up_signers.language"].Grammar(12)
    rng = np.random.default_rng(0)
    sentences = [grammar.sentence(rng) for _ in range(2000)]
    assert {len(sentence) for sentence in sentences} == {2, 3, 4, 5, 6}
    pairs = Counter(pair for s in sentences for pair in itertools.pairwise(s))
    assert all(a != b for a, b in pairs)
    total = sum(pairs.values())
    follower = Counter(b for (_, b), n in pairs.items() for _ in range(n))
    leader = Counter(a for (a, _), n in pairs.items() for _ in range(n))
    unigram = -sum(n / total * np.log2(n / total) for n in follower.values())
    bigram = -sum(n / total * np.log2(n / leader[a]) for (a, _), n in pairs.items())
    assert bigram < unigram - 0.5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--size", "64"], "'64' is no WIDTHxHEIGHT"), (["--num-glosses", "1"], "--num-glosses from 2 to 100")],
)
def test_impossible_options_say_what_is_allowed(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), *arguments])
    assert text in capsys.readouterr().err


def test_a_corpus_is_not_written_over(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ROOT).mkdir()
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path)])
    assert "remove it or choose another folder" in capsys.readouterr().err


def test_without_languages_the_corpus_is_what_it_was(tool: ModuleType, tmp_path: Path) -> None:
    """Tables and times don't depend on how pictures are drawn, so their digest holds everywhere."""
    tool.main([str(tmp_path), "--num-train", "3", "--num-dev", "1", "--num-test", "2", "--unseen-signers", "1"])
    digest = hashlib.sha256()
    for path in sorted((tmp_path / ROOT).glob("annotations/**/*.*")):
        digest.update(path.read_bytes())
    assert digest.hexdigest()[:16] == "d62413db26e7e4d9"


@pytest.fixture(scope="module")
def pair(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pair")
    sizes = ["--num-glosses", "6,8", "--num-train", "2,3", "--num-dev", "1", "--num-test", "1", "--num-signers", "2"]
    tool.main([str(out), "--languages", "2", "--shared", "0.5", *sizes])
    return out


def _shared(pair: Path) -> dict[str, str]:
    header, *lines = (pair / "shared_signs.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "language2_gloss\tlanguage1_gloss"
    return dict(line.split("\t") for line in lines)  # type: ignore[misc]


def test_two_languages_are_two_corpora_without_a_common_name(pair: Path) -> None:
    found = [{split: rows(pair / name / ROOT, split) for split in ("train", "dev", "test")} for name in _LANGUAGES]
    assert [[len(split) for split in one.values()] for one in found] == [[2, 1, 1], [3, 1, 1]]
    for column in (0, 2):  # clips, people
        target, auxiliary = ({row[column] for split in one.values() for row in split} for one in found)
        assert not target & auxiliary
    glosses = [{gloss for split in one.values() for row in split for gloss in row[3].split()} for one in found]
    assert not glosses[0] & glosses[1]
    truth = _shared(pair)
    assert len(truth) == len(set(truth.values())) == 3


_LANGUAGES = ("language1", "language2")


def test_shared_signs_are_the_same_motion_and_others_are_like_none(tool: ModuleType) -> None:
    world, language = sys.modules["made_up_signers.world"], sys.modules["made_up_signers.language"]
    exact = world.make_world((20, 20), shared=0.6)
    accented = world.make_world((20, 20), shared=0.6, accent=0.05)
    for made, largest in ((exact, 0.0), (accented, 0.35)):
        target, auxiliary = ({sign.gloss: language._look(sign) for sign in one.signs} for one in made.languages)
        assert len(made.shared) == 12
        near = {a: min(target, key=lambda b, a=a: np.linalg.norm(auxiliary[a] - target[b])) for a in auxiliary}
        gaps = {a: np.linalg.norm(auxiliary[a] - target[near[a]]) for a in auxiliary}
        assert all(near[a] == b for a, b in made.shared.items())
        assert max(gaps[a] for a in made.shared) <= largest
        assert min(gaps[a] for a in auxiliary if a not in made.shared) > max(0.5, largest)
    assert accented.shared == exact.shared, "an accent must not change who shares what"


def test_worlds_differ_and_stay(tool: ModuleType) -> None:
    make = sys.modules["made_up_signers.world"].make_world
    first, again, other = (make((20, 20), shared=0.6, number=number) for number in (0, 0, 1))
    assert first.shared == again.shared != other.shared
    assert [one.signs for one in first.languages] == [one.signs for one in again.languages]
    grammars = [one.grammar.following for made in (first, other) for one in made.languages]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(grammars, 2))
    assert make((5, 9), shared=0.0).shared == {}
    with pytest.raises(ValueError, match="need 120 motions; there are 100"):
        make((60, 60), shared=0.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--num-train", "30,200"], "give --languages 2"),
        (["--num-train", "a"], "'a' is neither a whole number nor two like 30,200"),
        (["--languages", "2", "--num-glosses", "60", "--shared", "0"], "got 0.0, 0.05, 0 and 120"),
        (["--languages", "2", "--shared", "1.5"], "need --shared from 0 to 1"),
        (["--performances", "2"], "above that needs --captions, got 2"),
        (["--captions", "--performances", "0"], "--performances must be at least 1"),
        (["--captions", "--performances", "5"], "need --num-signers of at least 5 and --unseen-signers of 0 or at"),
        (["--captions", "--performances", "3", "--unseen-signers", "1"], "--unseen-signers of 0 or at least 2"),
        (["--poses-only", "--no-poses"], "leave one of them out"),
        (["--poses-only", "--bad"], "leave one of them out"),
    ],
)
def test_impossible_combinations_say_what_is_allowed(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), *arguments])
    assert text in " ".join(capsys.readouterr().err.split())


def test_a_pair_is_not_written_over(tool: ModuleType, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tool.main([str(pair), "--languages", "2"])
    assert "language1 exists; remove it" in capsys.readouterr().err


def _table(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


@pytest.fixture(scope="module")
def captioned(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("captioned")
    sizes = ["--num-glosses", "30", "--num-train", "30", "--num-dev", "8", "--num-test", "8", "--unseen-signers", "2"]
    tool.main([str(out), *sizes, "--captions", "--performances", "3", "--poses-only"])
    return out / ROOT


def test_each_sentence_is_signed_by_different_people(captioned: Path) -> None:
    table = _table(captioned / "poses" / "clips.tsv")
    assert Counter(row["split"] for row in table) == {"train": 90, "dev": 24, "test": 24}
    groups: dict[str, list[dict[str, str]]] = {}
    for row in table:
        assert row["group"].startswith(f"{row['split']}-")
        groups.setdefault(row["group"], []).append(row)
    assert len(groups) == 46
    for performances in groups.values():
        assert len({row["person"] for row in performances}) == 3
        assert len({row["gloss"] for row in performances}) == 1
    known = {row["person"] for row in table if row["split"] != "test"}
    assert sum(row["person"] not in known for row in table if row["split"] == "test") == 12
    assert not (captioned / "features").exists()
    for split in ("train", "dev", "test"):  # the other tables say the same
        assert [(r["id"], r["gloss"]) for r in table if r["split"] == split] == [
            (clip, glosses) for clip, _, _, glosses in rows(captioned, split)
        ]


def test_no_two_sentences_say_the_same(captioned: Path) -> None:
    table = _table(captioned / "poses" / "clips.tsv")
    assert len({row["gloss"] for row in table}) == 46
    captions = _table(captioned / "annotations" / "captions.tsv")
    assert [row["id"] for row in captions] == [row["id"] for row in table]
    for language in ("en", "de", "fa"):
        said = {(row["group"], caption[language]) for row, caption in zip(table, captions, strict=True)}
        assert len(said) == len({text for _, text in said}) == 46, "one caption a group, each another"


def test_both_tables_say_the_same_groups_and_languages_share_none(
    tool: ModuleType, captioned: Path, tmp_path: Path
) -> None:
    captions, clips = (_table(captioned / name) for name in ("annotations/captions.tsv", "poses/clips.tsv"))
    assert [(row["id"], row["group"]) for row in captions] == [(row["id"], row["group"]) for row in clips]
    sizes = ["--num-glosses", "30", "--num-train", "2", "--num-dev", "1", "--num-test", "1"]
    tool.main([str(tmp_path), *sizes, "--languages", "2", "--captions", "--poses-only"])
    one, other = ({row["group"] for row in _table(tmp_path / n / ROOT / "poses" / "clips.tsv")} for n in _LANGUAGES)
    assert len(one) == len(other) == 4
    assert not one & other


def test_the_folder_of_poses_is_a_corpus(captioned: Path) -> None:
    found = list(poses.prepare(captioned / "poses"))
    assert len(found) == 138
    assert all(isinstance(one, Row) for one in found)
    clip = poses.check(found[0].clip)  # type: ignore[union-attr]
    assert (clip.group, clip.split, clip.language) == ("train-0000", "train", "language1")
    assert clip.text
    assert clip.num_frames


def test_captions_say_what_is_signed(tool: ModuleType, captioned: Path) -> None:
    """The captions leave no noun, time or place out."""
    signs, meanings = (sys.modules[f"made_up_signers.{name}"] for name in ("language", "meanings"))
    meant = {sign.gloss: meanings.meanings()[sign.number] for sign in signs.signs(30)}
    captions = {row["id"]: row for row in _table(captioned / "annotations" / "captions.tsv")}
    kept = ("person", "animal", "food", "thing", "time", "place")
    for row in _table(captioned / "poses" / "clips.tsv"):
        for gloss in row["gloss"].split():
            if meant[gloss].kind not in kept:
                continue
            for language, words in meant[gloss].words.items():
                forms = [form.casefold() for word in words for form in word if len(form) > 1]
                assert any(form in captions[row["id"]][language].casefold() for form in forms), (gloss, language)


def test_shared_signs_mean_the_same(tool: ModuleType) -> None:
    made = sys.modules["made_up_signers.world"].make_world((20, 25), shared=0.6, accent=0.05)
    target, auxiliary = ({sign.gloss: sign.number for sign in one.signs} for one in made.languages)
    common = {a: b for a, b in itertools.product(auxiliary, target) if auxiliary[a] == target[b]}
    assert common == made.shared


def test_every_sign_has_a_meaning_in_three_languages(tool: ModuleType) -> None:
    found = sys.modules["made_up_signers.meanings"].meanings()
    assert [one.number for one in found] == list(range(100))
    assert len({one.name for one in found}) == 100
    num_forms = {"verb": {"en": {3}, "de": {3, 4, 5}, "fa": {2, 3}}}
    num_forms |= {kind: {"en": {2}, "de": {3}, "fa": {1}} for kind in ("person", "animal", "food", "thing")}
    for one in found:
        expected = num_forms.get(one.kind, {key: {1} for key in ("en", "de", "fa")})
        for language, words in one.words.items():
            assert {len(word) for word in words} <= expected[language], one.name
        assert all(form and form == form.strip() for words in one.words.values() for word in words for form in word)


def test_too_few_signs_for_sentences_are_said(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="too few for sentences"):
        tool.main([str(tmp_path / "a"), "--num-glosses", "2", "--captions", "--poses-only"])
    with pytest.raises(SystemExit, match="give more signs or fewer sentences"):
        tool.main([str(tmp_path / "b"), "--num-glosses", "12", "--num-train", "9999", "--captions", "--poses-only"])


def test_the_grammar_of_captions(tool: ModuleType) -> None:
    """Every free choice of a few sentences: articles, cases, tenses, negation, verbs in their places."""
    translations = sys.modules["made_up_signers.translations"]
    named = {one.name: one for one in sys.modules["made_up_signers.meanings"].meanings()}
    noun, frame = translations.Noun, translations.Frame
    helped = frame(noun(named["man"]), named["help"], noun(named["woman"]), time=named["yesterday"])
    bought = frame(noun(named["man"]), named["buy"], noun(named["apple"]), negation=named["not"])

    def say(language: str, what: object) -> set[str]:
        return {translations.Speaker(language, np.random.default_rng(seed)).say(what) for seed in range(3000)}

    assert {"The man helped a woman yesterday.", "Yesterday, a gentleman assisted the lady."} <= say("en", helped)
    assert "The man does not buy an apple." in say("en", bought)
    assert {"Gestern hat der Mann einer Frau geholfen.", "Ein Mann half gestern der Frau."} <= say("de", helped)
    assert {"Der Mann kauft keinen Apfel.", "Der Mann kauft den Apfel nicht."} <= say("de", bought)
    assert {"دیروز مرد به یک زن کمک کرد.", "مرد دیروز به زن یاری رساند."} <= say("fa", helped)
    assert {"مرد سیب را نمی‌خرد.", "آقا یک سیب نمی‌خرد."} <= say("fa", bought)
