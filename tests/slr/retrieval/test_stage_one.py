"""Stage 1 and stage 2 of search against exact scores: landmarks, measuring, and scoring ragged candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from signwave.errors import ArtefactError, UserError
from signwave.index.interface import TokenBlock
from slr.models.dual_encoder import Embedded
from slr.retrieval.search.landmark_half import responses
from slr.retrieval.search.landmarks import NAME, Landmarks, fit
from slr.retrieval.search.rerank import rerank
from slr.retrieval.search.stage_one import Mean, make_stage, measure_stage, stages_of
from slr.retrieval.similarity import RELEASED_LENGTHS, exact_scores, fine_grained

DIM = 16


def made_up(num: int, size: int, *, seed: int) -> Embedded:
    """Items whose tokens lie about few directions, as words and signs do."""
    generator = torch.Generator().manual_seed(seed)
    centres = functional.normalize(torch.randn(40, DIM, generator=torch.Generator().manual_seed(99)), dim=-1)
    lengths = torch.randint(1, size + 1, (num,), generator=generator)
    chosen = centres[torch.randint(0, 40, (num, size), generator=generator)]
    tokens = functional.normalize(chosen + 0.15 * torch.randn(num, size, DIM, generator=generator), dim=-1)
    tokens = tokens * (torch.arange(size) < lengths[:, None])[..., None]
    pooled = functional.normalize(torch.randn(num, DIM, generator=generator), dim=-1)
    return Embedded(tokens, lengths, pooled)


def words_of(texts: Embedded) -> torch.Tensor:
    return torch.cat([tokens[:size] for tokens, size in zip(texts.tokens, texts.num_tokens.tolist(), strict=True)])


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    return fit(made_up(400, 8, seed=5), made_up(200, 12, seed=6), num_landmarks=1500, num_features=256)


def test_responses_are_the_word_half_of_one_word_texts() -> None:
    clips, words = made_up(5, 9, seed=0), words_of(made_up(4, 3, seed=1))
    texts = Embedded(words[:, None], torch.ones(len(words), dtype=torch.int64), words)
    expected = fine_grained(clips, texts).by_word
    torch.testing.assert_close(responses(clips.tokens, clips.num_tokens, words, 0.07), expected, atol=1e-5, rtol=1e-5)


def test_products_of_landmark_vectors_are_nearly_the_score(landmarks: Landmarks) -> None:
    clips, texts = made_up(60, 12, seed=7), made_up(40, 8, seed=8)  # neither was seen in the fit
    found = landmarks.query_vectors(texts) @ landmarks.clip_vectors(clips).T / 2
    exact = fine_grained(clips, texts).mean.T.numpy()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.97
    mean = Mean().query_vectors(texts) @ Mean().clip_vectors(clips).T
    assert np.abs(found - exact).mean() < 0.3 * np.abs(mean - exact).mean()
    assert 0 < landmarks.error < 0.1


def test_a_function_of_the_features_is_found_exactly() -> None:
    one_sign, texts = made_up(80, 1, seed=3), made_up(60, 1, seed=4)  # the score is then the cosine, a feature
    fitted = fit(texts, one_sign, num_features=32)
    exact = fine_grained(one_sign, texts).mean.T.numpy()
    np.testing.assert_allclose(fitted.query_vectors(texts) @ fitted.clip_vectors(one_sign).T / 2, exact, atol=2e-3)


def test_a_clip_has_the_same_vector_beside_others_and_longer_padding(landmarks: Landmarks) -> None:
    clips = made_up(5, 9, seed=2)
    together = landmarks.clip_vectors(clips)
    wide = clips._replace(tokens=functional.pad(clips.tokens, (0, 0, 0, 4)))
    np.testing.assert_allclose(landmarks.clip_vectors(wide), together, atol=1e-3)
    alone = landmarks.clip_vectors(Embedded(*(part[2:3] for part in clips)))
    np.testing.assert_allclose(alone[0], together[2], atol=1e-3)


def test_landmarks_survive_being_stored(landmarks: Landmarks, tmp_path: Path) -> None:
    landmarks.save(tmp_path / NAME)
    again = Landmarks.load(tmp_path / NAME)
    texts = made_up(3, 4, seed=4)
    np.testing.assert_array_equal(again.query_vectors(texts), landmarks.query_vectors(texts))
    assert [stage.name for stage in stages_of(tmp_path)] == ["pooled", "mean", "landmarks"]
    assert [stage.name for stage in stages_of(tmp_path / "none", has_pooled=False)] == ["mean"]
    (tmp_path / NAME).write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match="no landmarks can be read"):
        make_stage("landmarks", folder=tmp_path)
    with pytest.raises(UserError, match="allowed are auto, pooled, mean, landmarks"):
        make_stage("best", folder=tmp_path)


def test_measuring_counts_what_stage_one_proposes(landmarks: Landmarks, tmp_path: Path) -> None:
    landmarks.save(tmp_path / NAME)
    clips, texts = made_up(80, 12, seed=7), made_up(25, 8, seed=8)
    exact = exact_scores(texts, clips)
    for stage in stages_of(tmp_path):
        found = measure_stage(stage, clips, texts, exact, ks=(5, 20, 80), best=3)
        rough = stage.query_vectors(texts) @ stage.clip_vectors(clips).T
        for k in (5, 20, 80):
            first = [set(np.argsort(-row)[:k].tolist()) for row in rough]
            best = [np.argsort(-row)[:3].tolist() for row in exact]
            share = np.mean([len(first[q].intersection(best[q])) / 3 for q in range(25)])
            assert found.recall[k] == pytest.approx(share)
            assert found.first[k] == pytest.approx(np.mean([best[q][0] in first[q] for q in range(25)]))
        assert found.recall[80] == 1.0
        assert found.enough(0.0) == 5
        assert found.enough(1.1) is None


@pytest.mark.parametrize("temperature", [0.07, 0.5, 0.01])
def test_ragged_candidates_have_the_exact_score(temperature: float) -> None:
    clips, texts = made_up(9, 7, seed=0), made_up(3, 5, seed=1)
    lengths = clips.num_tokens.numpy()
    block = TokenBlock(np.concatenate([t[:n].numpy() for t, n in zip(clips.tokens, lengths, strict=True)]), lengths)
    expected = fine_grained(clips, texts, temperature=temperature).mean
    for place, size in enumerate(texts.num_tokens.tolist()):
        found = rerank(block, texts.tokens[place, :size].numpy(), temperature=temperature)
        np.testing.assert_allclose(found, expected[:, place].numpy(), atol=1e-5)


def test_the_legacy_score_of_candidates_is_padded_as_released() -> None:
    clips, texts = made_up(4, 7, seed=0), made_up(2, 5, seed=1)
    lengths = clips.num_tokens.numpy()
    block = TokenBlock(np.concatenate([t[:n].numpy() for t, n in zip(clips.tokens, lengths, strict=True)]), lengths)
    expected = fine_grained(clips, texts, legacy_unmasked=True, pad_to=RELEASED_LENGTHS).mean
    size = int(texts.num_tokens[1])
    found = rerank(block, texts.tokens[1, :size].numpy(), legacy_unmasked=True)
    np.testing.assert_allclose(found, expected[:, 1].numpy(), atol=1e-5)
