"""Ranks against enumeration of every order of tied items, and the figures known for real captions."""

import csv
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.metrics import (
    Ranks,
    caption_ceiling,
    chance,
    dot_scores,
    mean_rank_variance,
    rank_both_ways,
    rank_queries,
)


def ranks_by_enumeration(row, relevant):
    """Rank of the first relevant item in each order of the gallery that agrees with the scores."""
    found = []
    for order in itertools.permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order)):
            found.append(1 + min(order.index(item) for item in relevant))
    return found


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).flatmap(
        lambda row: st.tuples(st.just(row), st.sets(st.integers(0, len(row) - 1), min_size=1))
    )
)
def test_expected_values_under_ties_equal_enumeration(case):
    row, relevant = case
    groups = ["yes" if i in relevant else f"no{i}" for i in range(len(row))]
    ranks = rank_queries(np.array([row], dtype=np.float32), query_groups=["yes"], gallery_groups=groups)
    every = ranks_by_enumeration(row, relevant)
    for k in range(1, len(row) + 2):
        assert ranks.recall(k) == pytest.approx(float(Fraction(sum(r <= k for r in every), len(every))))
    assert ranks.expected[0] == pytest.approx(np.mean(every))
    assert ranks.mrr == pytest.approx(np.mean([1 / r for r in every]))


def test_constant_scores_are_chance():
    ranks = rank_queries(np.zeros((20, 20)), query_groups=range(20), gallery_groups=range(20))
    assert ranks.recall(1) == pytest.approx(1 / 20)
    assert ranks.recall(5) == pytest.approx(5 / 20)
    assert ranks.median == ranks.mean == 10.5
    assert ranks.recall(20) == ranks.recall(99) == 1.0


def test_chance_counts_how_many_items_answer():
    """3 of 10 items are relevant: one draw hits with 3/10, two miss with 7/10 · 6/9."""
    ranks = chance(query_groups=["a"], gallery_groups=["a"] * 3 + list("bcdefgh"))
    assert ranks.recall(1) == pytest.approx(0.3)
    assert ranks.recall(2) == pytest.approx(1 - 7 / 10 * 6 / 9)
    assert chance(query_groups=["a"], gallery_groups=["a"] * 3 + list("bcdefgh"), by_group=True).recall(1) == 1 / 8


def test_plain_ranks_without_ties():
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.1, 0.3], [0.3, 0.2, 0.1]])
    ranks = rank_queries(scores, query_groups=[0, 1, 2], gallery_groups=[0, 1, 2])
    assert ranks.expected.tolist() == [1, 3, 3]
    assert ranks.recall(1) == pytest.approx(1 / 3)
    assert ranks.mrr == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    result = ranks.to_dict(recall_at=(1, 2))
    assert result["num_queries"] == result["num_gallery"] == 3
    assert result["recall_at_1_interval_95"][0] <= result["recall_at_1"] <= result["recall_at_1_interval_95"][1]


def both_ways_by_loops(scores, text_groups, video_groups):
    """The protocol in words: each text ranks groups of videos, each video ranks groups of texts, best item counts."""
    names_videos, names_texts = sorted(set(video_groups)), sorted(set(text_groups))
    t2v, v2t = [], []
    for t, group in enumerate(text_groups):
        best = {g: max(scores[t][v] for v, o in enumerate(video_groups) if o == g) for g in names_videos}
        t2v.append(1 + sum(best[g] > best[group] for g in names_videos))
    for v, group in enumerate(video_groups):
        best = {g: max(scores[t][v] for t, o in enumerate(text_groups) if o == g) for g in names_texts}
        v2t.append(1 + sum(best[g] > best[group] for g in names_texts))
    return t2v, v2t


def test_both_directions_with_groups_equal_loops():
    rng = np.random.default_rng(0)
    text_groups = ["a", "b", "c", "d", "a"]
    video_groups = ["c", "a", "b", "d", "a", "d", "b", "a"]
    scores = rng.standard_normal((5, 8)).astype(np.float32)
    both = rank_both_ways(scores, text_groups=text_groups, video_groups=video_groups)
    t2v, v2t = both_ways_by_loops(scores, text_groups, video_groups)
    assert both.text_to_video.expected.tolist() == t2v
    assert both.video_to_text.expected.tolist() == v2t
    assert both.text_to_video.num_gallery == 4
    single = rank_both_ways(scores, text_groups=text_groups, video_groups=video_groups, by_group=False)
    assert single.text_to_video.num_gallery == 8


@pytest.mark.parametrize("by_group", [False, True])
def test_blocks_do_not_change_the_result(monkeypatch, by_group):
    rng = np.random.default_rng(1)
    queries, gallery = rng.standard_normal((37, 8)), rng.standard_normal((53, 8))
    scores = np.round(queries @ gallery.T)  # rounding makes ties
    groups = rng.integers(0, 20, 53)
    wanted = groups[:37]
    whole = rank_queries(scores, query_groups=wanted, gallery_groups=groups, by_group=by_group)
    monkeypatch.setattr("signwave.metrics.retrieval._BLOCK_ELEMENTS", 200)
    parts = rank_queries(lambda a, b: scores[a:b], query_groups=wanted, gallery_groups=groups, by_group=by_group)
    assert all(np.array_equal(getattr(whole, n), getattr(parts, n)) for n in ("num_above", "num_tied"))


def test_scores_from_vectors_stay_in_blocks(monkeypatch):
    monkeypatch.setattr("signwave.metrics.retrieval._BLOCK_ELEMENTS", 5000)
    vectors = np.random.default_rng(2).standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sizes = []
    block_of = dot_scores(vectors, vectors)

    def watched(start, stop):
        sizes.append(stop - start)
        return block_of(start, stop)

    assert rank_queries(watched, query_groups=range(300), gallery_groups=range(300)).recall(1) == 1.0
    assert max(sizes) == 16
    assert sum(sizes) == 300


def test_ceiling_of_duplicate_captions():
    ceiling = caption_ceiling(["rain", "sun", "rain", "wind"], ["g1", "g2", "g3", "g4"])
    assert ceiling.recall(1) == pytest.approx((0.5 + 1 + 0.5 + 1) / 4)
    assert ceiling.recall(2) == 1.0
    videos = caption_ceiling(["rain", "sun", "rain"], [1, 2, 3], query_groups=np.array([1, 1, 2]))
    assert videos.recall(1) == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_ceiling_of_the_phoenix_2014t_test_set(shared_data):
    with open(shared_data / "sign/phoenix2014T/PHOENIX-2014-T.test.corpus.csv", encoding="utf-8") as file:
        captions = [row["translation"] for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)]
    assert len(captions) == 642
    assert round(100 * caption_ceiling(captions, range(642)).recall(1), 1) == 98.1


def test_rank_spread_over_languages():
    ranks = np.array([[0, 4, 900], [2, 4, 0]])
    spread = mean_rank_variance(ranks, clip_rank=100)
    assert spread.mrv_std == pytest.approx((1 + 0 + 450) / 3)
    assert spread.mrv_var == pytest.approx((1 + 0 + 450**2) / 3)
    assert spread.median_std == 1
    assert spread.clipped_std == pytest.approx((1 + 0 + 50) / 3)
    assert (spread.num_languages, spread.num_instances) == (2, 3)
    assert mean_rank_variance(ranks + 1).mrv_std == spread.mrv_std


def test_masked_scores_are_last():
    scores = np.array([[-np.inf, 0.0, 1.0]])
    assert rank_queries(scores, query_groups=[0], gallery_groups=[0, 1, 2]).expected[0] == 3


def test_intervals_of_groups_are_wider():
    hits = np.array([0] * 50 + [9] * 50)
    ranks = Ranks(hits, np.ones(100, dtype=np.int64), np.ones(100, dtype=np.int64), 100)
    narrow, wide = ranks.recall_interval(1), ranks.recall_interval(1, groups=[i // 25 for i in range(100)])
    assert wide.high - wide.low > narrow.high - narrow.low
    low, high, _ = ranks.median_interval()
    assert low <= ranks.median <= high


NAN = np.array([[0.0, 1.0], [np.nan, 0.0]])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: rank_queries(NAN, query_groups=[0, 1], gallery_groups=[0, 1]), "1 NaN, .* query 1, gallery item 0"),
        (lambda: rank_queries(NAN, query_groups=[0, 1], gallery_groups=[0, 0, 1], by_group=True), r"must be \(2, 3\)"),
        (lambda: rank_both_ways(NAN, text_groups=[0, 1], video_groups=[0, 1]), "NaN"),
        (lambda: rank_queries(NAN, query_groups=[0, 7], gallery_groups=[0, 1]), "1 queries .* group 7"),
        (lambda: rank_queries(np.zeros((0, 0)), query_groups=[], gallery_groups=[]), "got 0 and 0"),
        (lambda: caption_ceiling(["a"], [1, 1]), "one caption a group"),
        (lambda: mean_rank_variance([1.0, 2.0]), r"got shape \(2,\)"),
        (lambda: caption_ceiling(["a"], [1]).recall(0), "at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
