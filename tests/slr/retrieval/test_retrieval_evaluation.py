"""The evaluator against its protocol in loops, against figures known by hand, and on real captions."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest

from signwave.errors import UserError
from signwave.metrics import csls, qb_norm
from slr.retrieval.evaluation.comparison import compare
from slr.retrieval.evaluation.confusable import rank_rivals
from slr.retrieval.evaluation.evaluate import evaluate, evaluate_index, measure_sentences, score_index
from slr.retrieval.evaluation.measured import DIRECTIONS
from slr.retrieval.evaluation.misses import misses, write_misses
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions
from slr.retrieval.evaluation.score_matrix import ScoredClip, ScoredText, ScoreMatrix
from slr.retrieval.learning.data import QueryText
from slr.retrieval.learning.gallery import Searched

FAST = EvaluationOptions(num_resamples=50, mexa_size=3, num_draws=4)


def matrix_of(scores, texts, clips, **more):
    """texts: "GROUP KEY TEXT", clips: "ID GROUP"."""
    read = [text.split(maxsplit=2) for text in texts]
    return ScoreMatrix(
        np.asarray(scores, dtype=np.float32),
        tuple(ScoredText.of_key(text, key, group) for group, key, text in read),
        tuple(ScoredClip(*clip.split()) for clip in clips),
        **more,
    )


def random_matrix(seed=0, num_groups=12, languages=("en", "de", "en+keywords"), **more):
    """One to three clips a group, one or two English texts, scores rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    clips = [f"c{g}.{n} g{g}" for g in range(num_groups) for n in range(1 + g % 3)]
    texts = [f"g{g} {key} {key} of {g}" for key in languages for g in range(num_groups)]
    texts += [f"g{g} en other words of {g}" for g in range(0, num_groups, 4)]
    scores = rng.normal(size=(len(texts), len(clips))) + [
        [1.5 * (text.split()[0] == clip.split()[1]) for clip in clips] for text in texts
    ]
    return matrix_of(scores.round(1), texts, clips, **more)


def ranks_by_loops(matrix, key):
    """Lists of expected ranks of text queries and of clip queries, in the words of the protocol."""
    texts = [(row, text) for row, text in enumerate(matrix.texts) if text.key == key]
    groups = {clip.group for clip in matrix.clips}
    t2v, v2t = [], []

    def rank(best, group):
        above = sum(value > best[group] for value in best.values())
        tied = sum(value == best[group] for value in best.values())
        return above + (1 + tied) / 2

    for row, text in texts:
        best = {g: max(matrix.scores[row][c] for c, clip in enumerate(matrix.clips) if clip.group == g) for g in groups}
        t2v.append(rank(best, text.group))
    for column, clip in enumerate(matrix.clips):
        with_text = {text.group for _, text in texts}
        best = {g: max(matrix.scores[row][column] for row, text in texts if text.group == g) for g in with_text}
        v2t.append(rank(best, clip.group))
    return t2v, v2t


@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_those_of_the_protocol_in_loops(seed):
    matrix = random_matrix(seed)
    result = evaluate(matrix, FAST)
    assert list(result.by_query) == ["en", "de", "en+keywords"]
    assert result.languages == ("en", "de")
    for key, row in result.by_query.items():
        t2v, v2t = ranks_by_loops(matrix, key)
        assert row.directions["text_to_video"].ranks.expected.tolist() == t2v
        assert row.directions["video_to_text"].ranks.expected.tolist() == v2t
    english = result.by_query["en"].directions
    assert (len(english["text_to_video"].ranks), english["text_to_video"].ranks.num_gallery) == (15, 12)
    assert (len(english["video_to_text"].ranks), english["video_to_text"].ranks.num_gallery) == (24, 12)


def test_constant_scores_are_chance_everywhere():
    matrix = random_matrix()
    bank = np.zeros((5, len(matrix.clips)), dtype=np.float32)
    constant = dataclasses.replace(matrix, scores=np.zeros_like(matrix.scores), bank_texts=bank)
    result = evaluate(constant, dataclasses.replace(FAST, transductive=True))
    for row in result.by_query.values():
        for directions in (row.directions, *row.normalised.values()):
            for direction in directions.values():
                assert direction.recall(1) == pytest.approx(1 / 12)
                assert direction.recall(5) == pytest.approx(5 / 12)
                assert direction.chance(1) == pytest.approx(1 / 12)
                assert direction.hubness == 0.0
        assert row.mexa is not None
        assert row.mexa.value == 0.0
    assert result.selection_score == pytest.approx((1 * 5 * 10 / 12**3) ** (1 / 3))
    assert all(spread.mrv_std == 0 for spread in result.spread.values())


def test_renaming_and_reordering_change_nothing():
    matrix = random_matrix(1)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(matrix.texts)), rng.permutation(len(matrix.clips))
    shuffled = ScoreMatrix(
        matrix.scores[np.ix_(rows, columns)],
        tuple(matrix.texts[row]._replace(group=f"new {matrix.texts[row].group}") for row in rows),
        tuple(matrix.clips[column]._replace(group=f"new {matrix.clips[column].group}") for column in columns),
    )
    one, other = evaluate(matrix, FAST), evaluate(shuffled, FAST)
    for which in DIRECTIONS:
        assert one.mean_recall(which, 1) == pytest.approx(other.mean_recall(which, 1))
        assert one.spread[which] == pytest.approx(other.spread[which])


def test_a_variant_has_a_row_of_its_own():
    """Keywords that find nothing leave the figures of the language alone."""
    clips = ["a1 a", "b1 b"]
    plain = matrix_of(np.eye(2), ["a en one", "b en two"], clips)
    both = matrix_of(
        np.vstack([np.eye(2), 1 - np.eye(2)]), ["a en one", "b en two", "a en+keywords x", "b en+keywords y"], clips
    )
    one, other = evaluate(plain, FAST), evaluate(both, FAST)
    assert other.by_query["en"].to_dict() == one.by_query["en"].to_dict()
    assert other.by_query["en+keywords"].directions["text_to_video"].recall(1) == 0
    assert other.headline() == one.headline()
    assert other.spread == {}


def test_texts_and_clips_without_partner_are_counted_not_scored():
    matrix = matrix_of(
        [[1, 0, 0], [0, 1, 0], [5, 5, 5]], ["a en one", "b en two", "z en nobody"], ["a1 a", "b1 b", "c1 c"]
    )
    row = evaluate(matrix, FAST).by_query["en"]
    assert (row.num_texts_without_clip, row.num_clips_without_text) == (1, 1)
    assert (len(row.directions["text_to_video"].ranks), row.directions["text_to_video"].ranks.num_gallery) == (2, 3)
    # The text without a clip stays in the gallery of texts, where it takes the first place.
    assert row.directions["video_to_text"].ranks.expected.tolist() == [2, 2]
    text = evaluate(matrix, FAST).to_text()
    assert "en: 1 texts whose group has no clip are no queries" in text
    with pytest.raises(UserError, match="no text belongs to the group of a clip"):
        evaluate(matrix_of([[1]], ["a en one"], ["b1 b"]), FAST)


def test_ceiling_of_duplicates_and_their_credit():
    """Groups a and b have the same caption but for case: half of their queries must fail, unless they count as one."""
    texts = ["a en Rain", "b en rain", "c en sun", "d en fog"]
    scores = np.eye(4)
    scores[0, 1] = scores[1, 0] = 1
    matrix = matrix_of(scores, texts, ["a1 a", "b1 b", "c1 c", "d1 d"])
    direction = evaluate(matrix, FAST).by_query["en"].directions["text_to_video"]
    assert direction.ceiling.recall(1) == direction.recall(1) == 0.75
    credited = evaluate(matrix, dataclasses.replace(FAST, credit_duplicates=True))
    direction = credited.by_query["en"].directions["text_to_video"]
    assert direction.recall(1) == direction.ceiling.recall(1) == 1.0
    assert direction.ranks.num_gallery == 3
    assert "groups of the same caption are one" in credited.to_text()


def test_duplicates_are_credited_through_others():
    texts = ["a en one", "b en one", "b en two", "c en two", "d en three"]
    matrix = matrix_of(np.zeros((5, 4)), texts, ["a1 a", "b1 b", "c1 c", "d1 d"])
    row = evaluate(matrix, dataclasses.replace(FAST, credit_duplicates=True)).by_query["en"]
    assert row.directions["text_to_video"].ranks.num_gallery == 2


def test_mean_rank_spread_by_hand():
    """German puts a's clip second of three, English first: deviation 1/2 for a, 0 for b; c has no German."""
    scores = [[3, 2, 1], [1, 3, 2], [0, 0, 1], [2, 3, 1], [1, 3, 2]]
    texts = ["a en one", "b en two", "c en three", "a de eins", "b de zwei"]
    result = evaluate(matrix_of(scores, texts, ["a1 a", "b1 b", "c1 c"]), FAST)
    t2v = result.spread["text_to_video"]
    assert (t2v.mrv_std, t2v.mrv_var, t2v.num_languages, t2v.num_instances) == (0.25, 0.125, 2, 2)
    v2t = result.spread["video_to_text"]
    # English texts of a and b: clip a finds a, clip b finds b. German: clip a 2:1, clip b 3:3, a tie of two.
    assert (v2t.mrv_std, v2t.num_instances) == (0.125, 2)


def test_normalised_rows_use_the_bank_of_their_direction():
    rng = np.random.default_rng(4)
    matrix = random_matrix(2, languages=("en",))
    banks = {
        "bank_texts": rng.normal(size=(9, len(matrix.clips))).astype(np.float32),
        "bank_clips": rng.normal(size=(len(matrix.texts), 7)).astype(np.float32),
    }
    result = evaluate(dataclasses.replace(matrix, **banks), FAST)
    normalised = result.by_query["en"].normalised
    for name, normalise in (("qb_norm", qb_norm), ("csls", csls)):
        for which, scores, bank in (
            ("text_to_video", matrix.scores, banks["bank_texts"]),
            ("video_to_text", matrix.scores.T, banks["bank_clips"].T),
        ):
            changed = normalise(scores, bank).astype(np.float64)
            changed = changed if which == "text_to_video" else changed.T
            plain = evaluate(
                ScoreMatrix(np.float32(changed), matrix.texts, matrix.clips), FAST
            ).by_query["en"].directions[which]  # fmt: skip
            assert normalised[name][which].recall(1) == pytest.approx(plain.recall(1))
            assert normalised[name][which].ranks.mean == pytest.approx(plain.ranks.mean)
    only_texts = evaluate(dataclasses.replace(matrix, bank_texts=banks["bank_texts"]), FAST).by_query["en"]
    assert set(only_texts.normalised["csls"]) == {"text_to_video"}
    text = result.to_text()
    assert "a bank of 9 training texts and 7 training clips" in text
    assert "transductive" not in text
    assert "CSLS, transductive" in evaluate(matrix, dataclasses.replace(FAST, transductive=True)).to_text()


def test_pairs_without_a_score_are_last_and_not_normalised():
    matrix = matrix_of([[-np.inf, 1], [0, 1]], ["a en one", "b en two"], ["a1 a", "b1 b"])
    assert evaluate(matrix, FAST).by_query["en"].directions["text_to_video"].ranks.expected.tolist() == [2, 1]
    with pytest.raises(UserError, match="scores holds pairs without a score"):
        evaluate(dataclasses.replace(matrix, bank_texts=np.zeros((1, 2), np.float32)), FAST)


def test_captions_seen_in_training():
    matrix = matrix_of([[1, 0], [1, 0]], ["a en Good  day", "b en rain"], ["a1 a", "b1 b"])
    training = [ScoredText("good day", "en", "x"), ScoredText("rain", "de", "y"), ScoredText("rain", "en", "z", "kw")]
    result = evaluate(matrix, FAST, training_texts=training)
    unseen = result.by_query["en"].unseen
    assert unseen["text_to_video"] == (1, 2, 0.0)
    assert unseen["video_to_text"] == (1, 2, 0.5)
    assert "en T2V: 1 of 2 captions occur verbatim in training; R@1 without them 0.0" in result.to_text()
    every = evaluate(matrix, FAST, training_texts=matrix.texts).by_query["en"].unseen["text_to_video"]
    assert every == (2, 2, None)


def test_real_captions_have_the_published_ceiling_and_leak(shared_data):
    """PHOENIX-2014T: 642 captions, R@1 at most 98.13 %, 32 of them in training (33 in training and dev)."""
    captions = {}
    for split in ("train", "dev", "test"):
        path = shared_data / f"sign/phoenix2014T/PHOENIX-2014-T.{split}.corpus.csv"
        with open(path, encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
        captions[split] = [ScoredText(row["translation"], "de", row["name"]) for row in rows]
    test = captions["test"]
    clips = tuple(ScoredClip(text.group, text.group) for text in test)
    matrix = ScoreMatrix(np.eye(642, dtype=np.float32), tuple(test), clips)
    result = evaluate(matrix, EvaluationOptions(num_resamples=200), training_texts=captions["train"])
    row = result.by_query["de"]
    for which in DIRECTIONS:
        direction = row.directions[which]
        assert (len(direction.ranks), direction.ranks.num_gallery) == (642, 642)
        assert round(100 * direction.ceiling.recall(1), 2) == 98.13
        assert row.unseen[which][:2] == (32, 642)
    assert row.mexa == (1.0, 0.0, 100, 50)
    both = evaluate(matrix, FAST, training_texts=[*captions["train"], *captions["dev"]]).by_query["de"]
    assert both.unseen["text_to_video"][:2] == (33, 642)


def test_the_result_is_plain_and_complete():
    result = evaluate(random_matrix(), FAST)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    english = document["by_query"]["en"]["text_to_video"]
    assert english["num_queries"] == 15
    for k in (1, 5, 10):
        low, high = english[f"recall_at_{k}_interval_95"]
        assert low <= english[f"recall_at_{k}"] <= high
    assert english["ceiling_at_1"] == 1.0
    assert document["settings"]["seed"] == 0
    assert result.to_dict() == evaluate(random_matrix(), FAST).to_dict()
    quick = evaluate(random_matrix(), dataclasses.replace(FAST, num_resamples=0))
    assert "recall_at_1_interval_95" not in quick.to_dict()["by_query"]["en"]["text_to_video"]
    assert quick.headline() == result.headline()
    lines = result.to_text().splitlines()
    assert lines[0].startswith("24 clips in 12 groups")
    assert lines[1].split() == [
        "query",
        "queries",
        "gallery",
        "R@1",
        "[95",
        "%]",
        "R@5",
        "R@10",
        "MedR",
        "MeanR",
        "MRR",
        "ceiling",
        "chance",
        "hubs",
    ]
    assert lines[2].split()[:4] == ["en", "T2V", "15", "12"]
    missing = dataclasses.replace(random_matrix(), missing=tuple("uvwxyz"))
    assert "missing from the gallery: 6 clips (u, v, w, x, y and 1 more)" in evaluate(missing, FAST).to_text()


def test_too_few_groups_for_mexa_is_said():
    result = evaluate(random_matrix(), dataclasses.replace(FAST, mexa_size=100))
    assert result.by_query["en"].mexa is None
    assert "MEXA at n = 100: en – (too few groups)" in result.to_text()


def test_confusable_clips_by_loops():
    rng = np.random.default_rng(6)
    matrix = random_matrix(3, languages=("en",))
    texts, clips = [t.group for t in matrix.texts], [c.group for c in matrix.clips]
    nearness = rng.normal(size=(len(clips), len(clips))).astype(np.float32)
    found = rank_rivals(matrix.scores, text_groups=texts, clip_groups=clips, nearness=nearness, num_rivals=4)
    hits = []
    for clip, group in enumerate(clips):
        row = texts.index(group)
        others = sorted((o for o in range(len(clips)) if clips[o] != group), key=lambda o: -nearness[clip, o])[:4]
        values = [matrix.scores[row, o] for o in (clip, *others)]
        best = [value == max(values) for value in values]
        hits.append(best[0] / sum(best))
    assert found is not None
    assert found.hits(1) == pytest.approx(hits)
    assert found.num_gallery == 5
    assert rank_rivals(matrix.scores, text_groups=texts, clip_groups=clips, nearness=nearness, num_rivals=24) is None


def test_topics_are_no_signs():
    """A system that knows the topic of a clip and nothing else: fair recall over all, chance among look-alikes."""
    num_topics, size = 10, 41
    topic = np.repeat(np.arange(num_topics), size)
    same = (topic[:, None] == topic[None, :]).astype(np.float32)
    texts = tuple(ScoredText(f"text {n}", "en", f"g{n}") for n in range(len(topic)))
    clips = tuple(ScoredClip(f"c{n}", f"g{n}") for n in range(len(topic)))
    result = evaluate(ScoreMatrix(same, texts, clips, nearness=same), FAST).by_query["en"]
    assert result.directions["text_to_video"].recall(10) == pytest.approx(10 / 41)
    assert result.to_dict()["confusable"] == pytest.approx(
        {"accuracy": 1 / 41, "chance": 1 / 41, "num_queries": 410, "num_choices": 41}
    )


def test_misses_say_what_came_instead(tmp_path):
    matrix = matrix_of(
        [[1, 0, 2], [0, 1, 0], [0, 0, 1]], ["a en one", "b en two", "c en ONE"], ["-a1 a", "b1 b", "c1 c"]
    )
    found = misses(matrix, FAST)
    first, *rest = found
    assert (first.direction, first.rank, first.query, first.found, first.found_score) == ("T2V", 2, "one", "c", 2)
    assert first.same_caption
    assert [(miss.direction, miss.query, miss.caption) for miss in rest] == [("V2T", "c1", "ONE")]
    write_misses(tmp_path / "m.tsv", found)
    rows = list(csv.DictReader((tmp_path / "m.tsv").open(encoding="utf-8"), delimiter="\t"))
    assert [row["query"] for row in rows] == ["one", "c1"]
    assert rows[0]["same_caption"] == "yes"
    write_misses(tmp_path / "m.html", found)
    assert "2 misses" in (tmp_path / "m.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"m\.txt: errors are written as \.tsv or \.html"):
        write_misses(tmp_path / "m.txt", found)


def test_a_perfect_system_has_no_misses():
    matrix = matrix_of(np.eye(2), ["a en one", "b en two"], ["a1 a", "b1 b"])
    assert misses(matrix, FAST) == []


def test_systems_are_compared_on_the_same_queries():
    rng = np.random.default_rng(7)
    texts = [f"g{n} en text {n}" for n in range(120)]
    clips = [f"c{n} g{n}" for n in range(120)]
    noise = rng.normal(size=(120, 120))
    strong = evaluate(matrix_of(noise + 3 * np.eye(120), texts, clips, name="strong"), FAST)
    weak = evaluate(matrix_of(noise + 1 * np.eye(120), texts, clips, name="weak"), FAST)
    found = compare(strong, weak, num_resamples=500)
    test = found.tests["en"]["text_to_video"]
    gap = strong.by_query["en"].directions["text_to_video"].recall(1) - weak.by_query["en"].directions[
        "text_to_video"
    ].recall(1)  # fmt: skip
    assert test.bootstrap.difference == pytest.approx(gap)
    assert "en T2V: strong is better: strong minus weak is +" in found.to_text()
    assert "weak minus strong is -" in compare(weak, strong, num_resamples=500).to_text()
    assert "no significant difference" in compare(weak, weak, num_resamples=500, second_name="again").to_text()
    document = found.to_dict()["by_query"]["en"]["text_to_video"]
    assert document["significant"] is True
    assert document["sign_test"]["num_second_better"] >= 0


@pytest.mark.parametrize(
    ("texts", "clips", "message"),
    [
        (["a de one", "b de two"], ["a1 a", "b1 b"], "was asked in en, second in de"),
        (["a en one", "b en other"], ["a1 a", "b1 b"], "not the same in the same order"),
        (["a en one", "b en two"], ["a1 a", "b1 b", "c1 c"], "ranks 2 groups and second 3"),
    ],
)
def test_different_queries_are_not_compared(texts, clips, message):
    first = evaluate(matrix_of(np.eye(2), ["a en one", "b en two"], ["a1 a", "b1 b"]), FAST)
    second = evaluate(matrix_of(np.eye(2, len(clips)), texts, clips), FAST)
    with pytest.raises(UserError, match=message):
        compare(first, second)


def test_a_ranking_does_not_depend_on_which_languages_are_there():
    """Rows of other languages are never in the gallery of a clip."""
    matrix = random_matrix(5)
    kept = [row for row, text in enumerate(matrix.texts) if text.key == "de"]
    alone = ScoreMatrix(matrix.scores[kept], tuple(matrix.texts[row] for row in kept), matrix.clips)
    one, other = evaluate(matrix, FAST).by_query["de"], evaluate(alone, FAST).by_query["de"]
    for which, name in itertools.product(DIRECTIONS, ("recall_at_1", "mean_rank", "ceiling_at_1", "hubness")):
        assert one.directions[which].to_dict()[name] == other.directions[which].to_dict()[name]


def test_what_training_logs():
    queries = [QueryText(f"val/{g}", key, f"{key} {g}") for key in ("en", "de", "en+question") for g in "abcd"]
    scores = np.vstack([np.eye(4), np.roll(np.eye(4), 1, axis=0), np.zeros((4, 4))])
    searched = Searched(scores, queries, list("1234"), [f"val/{g}" for g in "abcd"])
    found = measure_sentences(searched._replace(within_training=True))
    assert found["recall_at_1"] == found["video_to_text_recall_at_1"] == 0.5
    assert found["recall_at_1_en"] == 1.0
    assert found["recall_at_1_de"] == 0.0
    # German ranks: 1 above and 1 + 3 tied below, so R@5 and R@10 are 1 and the six rates are ½, 1, 1, twice.
    assert found["recall"] == pytest.approx(0.5 ** (1 / 3))
    assert "interval_95" not in str(found)
    assert "interval_95" in str(measure_sentences(searched))
    assert found["chance_at_1"] == 0.25
    assert found["result"]["by_query"]["en+question"]["text_to_video"]["recall_at_1"] == 0.25


class _Index:
    """The rows of an index are handles, not places."""

    def __init__(self, payloads):
        self._payloads = {100 + 7 * place: payload for place, payload in enumerate(payloads)}

    @property
    def ids(self):
        return [f"-c{row}" for row in self._payloads]

    def row_of(self, identity):
        return int(identity[2:])

    def payloads(self, rows):
        return [self._payloads[row] for row in rows]


class _Retriever:
    """Finds the clips whose text is as long as the query."""

    def embed_texts(self, texts):
        return texts[0]

    def score(self, index, query, *, candidates):
        rows = [int(name[2:]) for name in index.ids]
        near = sorted(rows, key=lambda row: abs(len(index.payloads([row])[0]["text"]) - len(query)))[:candidates]
        return np.array(near), np.array(
            [-float(abs(len(index.payloads([row])[0]["text"]) - len(query))) for row in near]
        )


def test_an_index_is_asked_for_every_caption():
    payloads = [
        {"group": "a", "text": "x", "captions": {"en": "x", "de": "xx"}},
        {"group": "b", "text": "xxx", "captions": {"en": "xxx", "de": "xxxx"}},
        {"group": "b", "text": "xxxx", "captions": {"en": "xxx", "de": "xxxx"}},
    ]
    index, retriever = _Index(payloads), _Retriever()
    matrix = score_index(retriever, index, candidates=2)
    assert [text.key for text in matrix.texts] == ["en", "de", "en", "de"]
    assert [clip.language for clip in matrix.clips] == ["en", "en", "de"]
    assert np.isneginf(matrix.scores).sum() == 4
    figures = evaluate_index(retriever, index)
    assert figures["num_clips"] == 3
    assert figures["recall_at_1"] == 0.875  # "xx" is as far from "x" as from "xxx"
    assert figures["by_language"]["de"]["spelled_de"] == 1.0
    with pytest.raises(UserError, match="the clips of this index have no captions"):
        evaluate_index(retriever, _Index([{"group": "a", "text": "", "captions": {}}]))
