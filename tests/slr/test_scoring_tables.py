"""Tables of an evaluation, counted by hand, and their text, page and alignments."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from slr.scoring import Hypothesis, Reference, breakdown, read_references, score
from slr.scoring import alignments as alignment_text
from slr.scoring.page import page, tables_of, to_text

ROWS = [
    ("a", "REGEN NORD SONNE", "REGEN SUED SONNE", "S1", 50),
    ("b", "REGEN NORD", "REGEN", "S1", 40),
    ("c", "WIND SONNE KALT SCHNEE", "WIND SONNE KALT SCHNEE JETZT", "S2", 80),
    ("d", "NORD", "SUED", "S2", None),
]
TRAIN = ["REGEN NORD", "REGEN WIND", "REGEN SONNE KALT SONNE"]


def test_tables_counted_by_hand():
    found = breakdown(ROWS, train_texts=TRAIN)
    person = {rate.name: (rate.counts.num_sentences, rate.counts.num_errors) for rate in found.per_person}
    assert person == {"S1": (2, 2), "S2": (2, 2)}
    length = {rate.name: (rate.counts.num_reference, rate.counts.num_errors) for rate in found.per_length}
    assert length == {"1-3": (6, 3), "4-6": (4, 1)}
    assert {rate.name: rate.counts.num_sentences for rate in found.per_seen} == {"in training": 1, "new": 3}
    frequency = {r.name: (r.num_tokens, r.correct, r.substituted, r.deleted) for r in found.per_frequency}
    assert frequency["0"] == (1, 1, 0, 0)  # SCHNEE
    assert frequency["1"] == (5, 2, 2, 1)  # NORD three times, WIND, KALT
    assert frequency["2-5"] == (4, 4, 0, 0)  # REGEN and SONNE, twice each
    assert found.confusions == (("NORD", "SUED", 2),)
    assert (found.deleted, found.inserted) == ((("NORD", 1),), (("JETZT", 1),))
    assert [pair.id for pair in found.worst] == ["d", "b", "a", "c"]


def test_tables_are_plain_values_with_fractions():
    document = json.loads(json.dumps(breakdown(ROWS, train_texts=TRAIN).to_dict(), allow_nan=False))
    assert document["per_person"][0]["wer"] == pytest.approx(2 / 5)
    assert document["per_frequency"][0]["recall"] == 1.0
    assert document["per_frequency"][-1]["recall"] is None
    assert document["worst"][0] == {
        "id": "d",
        "person": "S2",
        "errors": 1,
        "wer": 1.0,
        "reference": "NORD",
        "hypothesis": "SUED",
    }


def test_rows_and_pairs_give_the_same_tables():
    wanted = {row[0]: Reference(row[1].split(), row[3], num_frames=row[4]) for row in ROWS}
    given = {row[0]: Hypothesis(row[2].split()) for row in ROWS}
    evaluation = score(given, wanted, num_resamples=10)
    assert breakdown(evaluation.pairs, train_texts=TRAIN).to_dict() == breakdown(ROWS, train_texts=TRAIN).to_dict()


def test_without_training_and_signers_those_tables_are_missing():
    found = breakdown([(i, r, h, "", None) for i, r, h, _, _ in ROWS])
    assert (found.per_person, found.per_seen, found.per_frequency) == ((), (), ())
    titles = [table.title for table in tables_of(found)]
    assert "Signers" not in titles
    assert "Confusions" in titles
    with pytest.raises(ValueError, match="no row"):
        breakdown([])


@pytest.mark.parametrize(
    ("corpus", "out_of_vocabulary"), [("phoenix2014/{}", (38, 45)), ("phoenix2014T/PHOENIX-2014-T.{}", (14, 19))]
)
def test_unseen_tokens_of_the_phoenix_corpora(corpus, out_of_vocabulary, shared_data):
    train, *rest = (
        read_references(shared_data / "sign" / f"{corpus.format(split)}.corpus.csv")
        for split in ("train", "dev", "test")
    )
    texts = [" ".join(reference.tokens) for reference in train.values()]
    for clips, unseen in zip(rest, out_of_vocabulary, strict=True):
        rows = [(clip, " ".join(r.tokens), "", r.person, None) for clip, r in clips.items()]
        assert breakdown(rows, train_texts=texts).per_frequency[0].num_tokens == unseen


def test_isharah_sentences_that_training_has(shared_data):
    folder = shared_data / "sign/isharah"
    train = [" ".join(r.tokens) for r in read_references(folder / "annotations_v2/SI/train.txt").values()]
    found = score(folder / "predictions/SI/dev.csv", folder / "annotations_v2/SI/dev.txt", num_resamples=10)
    tables = breakdown(found.pairs, train_texts=train)
    assert {rate.name: rate.counts.num_sentences for rate in tables.per_seen} == {"in training": 932, "new": 17}
    assert tables.per_frequency[0].num_tokens == 3


def evaluation_and_tables():
    wanted = {row[0]: Reference(row[1].split(), row[3]) for row in ROWS}
    given = {row[0]: Hypothesis(row[2].split()) for row in ROWS[:-1]}
    evaluation = score(given, wanted, num_resamples=10)
    return evaluation, breakdown(evaluation.pairs)


def test_alignments_read_like_sclites():
    text = alignment_text.to_text(*evaluation_and_tables())
    assert "Percent Total Error       =   40.0%   (4)" in text
    assert "   1:     1  ->  NORD ==> SUED" in text
    assert (
        "id: (a)\nSpeaker: S1\nScores: (#C #S #D #I) 2 1 0 0\n"
        "REF:  REGEN NORD SONNE\nHYP:  REGEN SUED SONNE\nEval:       S\n" in text
    )
    assert "REF:  REGEN NORD\nHYP:  REGEN ****\nEval:       D\n" in text
    assert Counter(line[:5] for line in text.splitlines())["REF: "] == 4


def test_page_and_text_hold_every_table():
    evaluation, tables = evaluation_and_tables()
    html = page([evaluation], tables).html()
    for table in tables_of(tables):
        assert table.title in html
        assert table.title in to_text(table)
    assert "without a hypothesis, counted as empty: d" in html
    assert "<script" not in html
