"""Files of scores: written by us or by others, and what is wrong with a wrong one."""

import dataclasses

import numpy as np
import pytest

from signwave.errors import ArtefactError, ManifestError
from signwave.manifest import Clip
from slr.retrieval.evaluation.evaluate import evaluate
from slr.retrieval.evaluation.overlap import caption_overlap
from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, ScoreMatrix, gallery_of, texts_of


def clip(identity, group="", path="a.pose", person="", **captions):
    keys = {key.replace("_", "+"): text for key, text in captions.items()}
    return Clip(id=identity, path=path, kind="pose", group=group, person=person, captions=keys)


def small():
    return ScoreMatrix(
        np.array([[1, 0], [-np.inf, 1]], dtype=np.float32),
        (ScoredText("你好", "zh", "a"), ScoredText("key", "en", "b", "keywords")),
        (ScoredClip("-x1", "a", "P1", "csl", "v1"), ScoredClip("y2", "b")),
        bank_texts=np.ones((3, 2), dtype=np.float32),
        missing=("z3",),
        name="ours",
    )


def test_a_matrix_survives_its_file(tmp_path):
    matrix = small()
    matrix.save(tmp_path / "s.npz")
    loaded = ScoreMatrix.load(tmp_path / "s.npz")
    for field in dataclasses.fields(ScoreMatrix):
        one, other = getattr(matrix, field.name), getattr(loaded, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name


def test_scores_of_other_code_need_three_arrays(tmp_path):
    path = tmp_path / "theirs.npz"
    np.savez(path, scores=np.eye(2), text_group=["a", "b"], clip_group=["a", "b"])
    matrix = ScoreMatrix.load(path)
    assert [text.text for text in matrix.texts] == ["a", "b"]
    assert [one.id for one in matrix.clips] == ["0", "1"]
    result = evaluate(matrix)
    assert result.by_query[""].directions["text_to_video"].recall(1) == 1.0
    assert result.by_query[""].directions["text_to_video"].ceiling.recall(1) == 1.0


GOOD = {"scores": np.eye(2), "text_group": np.array(["a", "b"]), "clip_group": np.array(["a", "b"])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_group": None}, "lacks text_group; it needs"),
        ({"clip_group": np.array(["a"])}, r"scores has shape \(2, 2\), 2 texts and 1 clips need 2 × 1"),
        ({"text": np.array(["a"])}, r"text has shape \(1,\), text_group has 2 rows"),
        ({"scores": np.array([[0, 1], [np.nan, 0]])}, "scores holds NaN, the first in row 1, column 0"),
        ({"text": np.array([{"a": 1}, "b"], dtype=object)}, "can't be read without pickle"),
        ({"captions": np.zeros(2)}, "holds 'captions', which means nothing here"),
        ({"bank_clips": np.zeros((3, 5))}, "bank_clips has shape .* need 2 × any"),
        ({"scores": np.zeros(4)}, r"scores has shape \(4,\)"),
    ],
)
def test_wrong_files_are_named(tmp_path, changes, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: value for name, value in {**GOOD, **changes}.items() if value is not None})
    with pytest.raises(ArtefactError, match=f"bad.npz: .*{message}"):
        ScoreMatrix.load(path)


def test_files_of_another_kind_are_named(tmp_path):
    with pytest.raises(ArtefactError, match=r"absent\.npz: No such file"):
        ScoreMatrix.load(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", np.eye(2))
    with pytest.raises(ArtefactError, match="one array without names"):
        ScoreMatrix.load(tmp_path / "one.npy")
    small().save(tmp_path / "s.npz")
    whole = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match=r"cut\.npz"):
        ScoreMatrix.load(tmp_path / "cut.npz")
    (tmp_path / "text.npz").write_text("scores")
    with pytest.raises(ArtefactError, match=r"text\.npz"):
        ScoreMatrix.load(tmp_path / "text.npz")


def test_texts_and_gallery_of_a_manifest():
    clips = [clip("1", "g", en="hi", en_keywords="hi"), clip("2", "g", en="hi", de="hallo"), clip("3", en="bye")]
    assert texts_of(clips) == (
        ScoredText("hi", "en", "g"),
        ScoredText("hi", "en", "g", "keywords"),
        ScoredText("hallo", "de", "g"),
        ScoredText("bye", "en", "3"),
    )
    assert [one.group for one in gallery_of(clips)] == ["g", "g", "3"]
    with pytest.raises(ManifestError, match="clip '1' is there twice"):
        gallery_of([*clips, clips[0]])


def test_overlap_by_hand():
    train = [
        clip("fZc293MpJk1_3-8-rgb_front", person="8", en="Hi there"),
        clip("01April_2010_Thursday_heute-17", person="Signer01", en="rain"),
        clip("same", person="P", en="sun"),
    ]
    test = [
        clip("fZc293MpJk1-00:00:01.000-00:00:02.500", person="9", en="hi  there", de="sun"),
        clip("01April_2010_Thursday_heute-18", person="Signer01", en="fog"),
        clip("same", person="P", path="b.pose", en="snow"),
        clip("other", path="c.pose", en="storm"),
    ]
    found = caption_overlap(texts_of(train), gallery_of(train), texts_of(test), gallery_of(test))
    assert found.verbatim == {"en": ("fZc293MpJk1-00:00:01.000-00:00:02.500",), "de": ()}
    assert found.num_captions == {"en": 4, "de": 1}
    assert found.shared_persons == ("P", "Signer01")
    assert found.shared_recordings == ("01april_2010_thursday_heute", "fZc293MpJk1")
    assert found.shared_ids == ("same",)
    text = "\n".join(found.source_lines())
    assert "in training too: 2 of 3 signers of the test clips" in text
    assert "in training too: 2 of 4 recordings of the test clips" in text
    assert "1 test clips ARE training clips by their ids: same" in text
    assert found.to_dict()["captions"]["en"] == {"num": 4, "num_verbatim": 1, "groups": [test[0].id]}


def test_overlap_of_phoenix_2014t(shared_data):
    import csv

    sides = []
    for split in ("train", "test"):
        path = shared_data / f"sign/phoenix2014T/PHOENIX-2014-T.{split}.corpus.csv"
        with open(path, encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
        sides.append(
            [clip(row["name"], person=row["speaker"], path=row["video"], de=row["translation"]) for row in rows]
        )
    train, test = sides
    found = caption_overlap(texts_of(train), gallery_of(train), texts_of(test), gallery_of(test))
    assert (found.num_captions["de"], len(found.verbatim["de"])) == (642, 32)
    assert (len(found.shared_recordings), found.num_test_recordings) == (331, 331)
    assert (len(found.shared_persons), found.num_test_persons) == (9, 9)
    assert found.shared_ids == ()
