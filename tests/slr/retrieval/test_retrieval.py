"""Score, loss, towers and figures of retrieval against slow, obvious versions of themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slr.datasets.fingerspelled_concepts import QUERY_NORMALISER
from slr.models.dual_encoder import CharacterTower, DualEncoder, Embedded, PoseTower
from slr.models.towers import DualEncoderConfig
from slr.retrieval.evaluation.figures import retrieval_figures
from slr.retrieval.learning.batch import CaptionItem, ClipItem, GroupItem, collate_groups, pad_texts
from slr.retrieval.learning.data import QueryText
from slr.retrieval.learning.loss import RetrievalLossConfig
from slr.retrieval.learning.module import TextVideoRetrieval
from slr.retrieval.similarity import contrastive_loss, exact_scores, fine_grained, rows_loss
from slr.retrieval.text_config import character_vocabulary
from slr.retrieval.texts import Characters


def made_up(lengths: list[int], dim: int = 8, seed: int = 0, padding: int = 0) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    size = max(lengths) + padding
    tokens = functional.normalize(torch.randn(len(lengths), size, dim, generator=generator), dim=-1)
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
    pooled = functional.normalize(torch.randn(len(lengths), dim, generator=generator), dim=-1)
    return Embedded(tokens, torch.tensor(lengths), pooled)


def slow_score(signs: Tensor, words: Tensor, tau: float) -> tuple[float, float]:
    """The formula of CiCo with loops: signs (M, D), words (N, D)."""
    cosines = [[float(sign @ word) for word in words] for sign in signs]
    by_sign = by_word = 0.0
    for row in cosines:
        weights = [math.exp(value / tau) for value in row]
        by_sign += sum(w * v for w, v in zip(weights, row, strict=True)) / sum(weights) / len(cosines)
    for column in zip(*cosines, strict=True):
        weights = [math.exp(value / tau) for value in column]
        by_word += sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights) / len(cosines[0])
    return by_sign, by_word


@pytest.mark.parametrize("tau", [0.07, 0.02, 1.0])
def test_score_is_the_formula(tau: float) -> None:
    signs, texts = made_up([5, 3, 1]), made_up([2, 4], seed=1)
    scores = fine_grained(signs, texts, temperature=tau)
    for a in range(3):
        for c in range(2):
            expected = slow_score(signs.tokens[a, : signs.num_tokens[a]], texts.tokens[c, : texts.num_tokens[c]], tau)
            assert float(scores.by_sign[a, c]) == pytest.approx(expected[0], abs=1e-5)
            assert float(scores.by_word[a, c]) == pytest.approx(expected[1], abs=1e-5)
    assert torch.allclose(scores.mean, (scores.by_sign + scores.by_word) / 2)


def test_score_does_not_depend_on_padding_unless_legacy() -> None:
    signs, texts = made_up([5, 3]), made_up([2, 4], seed=1)
    wide_signs = signs._replace(tokens=functional.pad(signs.tokens, (0, 0, 0, 7)))
    wide_texts = texts._replace(tokens=functional.pad(texts.tokens, (0, 0, 0, 9)))
    assert torch.allclose(fine_grained(signs, texts).mean, fine_grained(wide_signs, wide_texts).mean, atol=1e-6)
    legacy = fine_grained(signs, texts, temperature=0.5, legacy_unmasked=True).mean
    wide = fine_grained(wide_signs, wide_texts, temperature=0.5, legacy_unmasked=True).mean
    assert not torch.allclose(legacy, wide, atol=1e-3)


def test_legacy_score_is_the_released_formula() -> None:
    signs, texts = made_up([5, 3]), made_up([2, 4], seed=1)
    scores = fine_grained(signs, texts, temperature=0.07, legacy_unmasked=True)
    cosines = signs.tokens[1] @ texts.tokens[0].T
    by_sign = (cosines * (cosines / 0.07).softmax(1)).sum(1)[:3].mean()
    by_word = (cosines * (cosines / 0.07).softmax(0)).sum(0)[:2].mean()
    assert float(scores.by_sign[1, 0]) == pytest.approx(float(by_sign), abs=1e-6)
    assert float(scores.by_word[1, 0]) == pytest.approx(float(by_word), abs=1e-6)


def test_limits_of_the_temperature() -> None:
    signs, texts = made_up([5]), made_up([4], seed=1)
    cosines = signs.tokens[0] @ texts.tokens[0].T
    sharp, flat = fine_grained(signs, texts, temperature=1e-4), fine_grained(signs, texts, temperature=1e5)
    assert float(sharp.by_sign) == pytest.approx(float(cosines.max(1).values.mean()), abs=1e-5)
    assert float(sharp.by_word) == pytest.approx(float(cosines.max(0).values.mean()), abs=1e-5)
    product = float(signs.tokens[0].mean(0) @ texts.tokens[0].mean(0))
    assert float(flat.by_sign) == pytest.approx(product, abs=1e-5)
    assert float(flat.by_word) == pytest.approx(product, abs=1e-5)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        fine_grained(signs, texts, temperature=0)


def test_gradients_are_finite_on_both_ways_of_computing() -> None:
    for tau in (0.07, 0.01):
        signs, texts = made_up([5, 1]), made_up([2, 4], seed=1)
        tokens = signs.tokens.clone().requires_grad_()
        fine_grained(signs._replace(tokens=tokens), texts, temperature=tau).mean.sum().backward()
        assert tokens.grad is not None
        assert bool(tokens.grad.isfinite().all())


def test_exact_scores_are_the_transposed_score_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    signs, texts = made_up([5, 3, 2, 2, 1]), made_up([2, 4, 1], seed=1)
    expected = fine_grained(signs, texts).mean.T.numpy()
    monkeypatch.setattr("slr.retrieval.similarity._CLIPS_AT_ONCE", 2)
    monkeypatch.setattr("slr.retrieval.similarity._TEXTS_AT_ONCE", 2)
    np.testing.assert_allclose(exact_scores(texts, signs), expected, atol=1e-6)


def slow_rows(logits: Tensor, positive: Tensor, rule: str) -> float:
    losses = []
    for row, wanted in zip(logits.tolist(), positive.tolist(), strict=True):
        total = math.log(sum(math.exp(value) for value in row))
        chosen = [value - total for value, is_wanted in zip(row, wanted, strict=True) if is_wanted]
        if not chosen:
            continue
        if rule == "any_positive":
            losses.append(-math.log(sum(math.exp(value) for value in chosen)))
        else:
            losses.append(-sum(chosen) / (len(chosen) if rule == "per_positive" else 1))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("rule", ["per_positive", "one_to_k", "any_positive"])
def test_rows_loss_is_the_formula(rule: str) -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)) * 3
    positive = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()
    assert float(rows_loss(logits, positive, rule)) == pytest.approx(slow_rows(logits, positive, rule), abs=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["per_positive", "one_to_k", "any_positive"])
@pytest.mark.parametrize("dual_mix", [0.5, 0.8])
def test_one_performance_and_one_caption_is_cico(rule: str, dual_mix: float) -> None:
    generator = torch.Generator().manual_seed(0)
    by_sign, by_word = torch.randn(6, 6, generator=generator), torch.randn(6, 6, generator=generator)
    labels = torch.arange(6)
    rows, columns = functional.cross_entropy(by_sign, labels), functional.cross_entropy(by_sign.T, labels)
    rows2, columns2 = functional.cross_entropy(by_word, labels), functional.cross_entropy(by_word.T, labels)
    first = dual_mix * rows + (1 - dual_mix) * columns
    second = dual_mix * columns2 + (1 - dual_mix) * rows2
    loss = contrastive_loss(by_sign, by_word, torch.eye(6).bool(), dual_mix=dual_mix, normalisation=rule)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(float((first + second) / 2), abs=1e-6)


def test_one_to_k_is_the_released_loss() -> None:
    """B images, K texts each in order: sums over K on the image side, mean on the text side, all over K."""
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    positive = torch.arange(3)[:, None] == torch.arange(6)[None, :] // 2
    log_rows, log_columns = logits.log_softmax(1), logits.log_softmax(0)
    to_text = torch.stack([-(log_rows[i, 2 * i] + log_rows[i, 2 * i + 1]) for i in range(3)]).mean()
    to_image = torch.stack([-log_columns[j // 2, j] for j in range(6)]).mean()
    loss = contrastive_loss(logits, logits, positive, normalisation="one_to_k")
    assert float(loss) == pytest.approx(float((to_text + to_image) / 2 / 2), abs=1e-6)


def test_order_of_captions_inside_a_group_changes_nothing() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    positive = torch.arange(4)[:, None] // 2 == torch.arange(6)[None, :] // 3
    order = torch.tensor([2, 0, 1, 4, 5, 3])
    first = contrastive_loss(logits, logits, positive)
    second = contrastive_loss(logits[:, order], logits[:, order], positive[:, order])
    assert float(first) == pytest.approx(float(second), abs=1e-6)
    with pytest.raises(ValueError, match="no clip with a text of its group"):
        contrastive_loss(logits, logits, torch.zeros_like(positive))


def small_model(**settings: int) -> DualEncoder:
    torch.manual_seed(0)
    sizes = {"dim": 16, "sign_dim": 16, "text_dim": 16, "num_heads": 2, "num_extra_tokens": 2}
    config = DualEncoderConfig(**{**sizes, **settings})
    return config.build(num_characters=9).eval()


def hands(num_frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_frames, 126)).astype(np.float32)


def captions(*texts: list[int]) -> list[CaptionItem]:
    return [CaptionItem(ids, text="".join(map(str, ids))) for ids in texts]


def test_towers_do_not_see_padding() -> None:
    model = small_model()
    items = [
        GroupItem(f"g/{n}", [ClipItem(str(n), hands(n, n))], captions([2, 3, 4][: 1 + n % 3])) for n in (9, 30, 1, 17)
    ]
    batch = collate_groups(items)
    clips = model.embed_signs(batch.inputs, batch.num_frames)
    texts = model.embed_texts(batch.text_ids, batch.num_tokens)
    for place, item in enumerate(items):
        alone = collate_groups([item])
        clip = model.embed_signs(alone.inputs, alone.num_frames)
        text = model.embed_texts(alone.text_ids, alone.num_tokens)
        for together, single, row in ((clips, clip, batch.ids.index(item.clips[0].id)), (texts, text, place)):
            num = int(single.num_tokens[0])
            assert int(together.num_tokens[row]) == num
            assert torch.allclose(together.tokens[row, :num], single.tokens[0, :num], atol=1e-5)
            assert torch.allclose(together.pooled[row], single.pooled[0], atol=1e-5)
            assert not bool(together.tokens[row, num:].any())


def test_tokens_are_unit_length_and_say_their_frames() -> None:
    model = small_model()
    tower = model.signs
    assert isinstance(tower, PoseTower)
    for num_frames in (1, 4, 5, 33):
        batch = collate_groups([GroupItem("g", [ClipItem("a", hands(num_frames))], captions([2]))])
        embedded = model.embed_signs(batch.inputs, batch.num_frames)
        assert int(embedded.num_tokens[0]) == int(tower.num_tokens(batch.num_frames)[0])
        spans = tower.token_frames(num_frames)
        assert len(spans) == int(embedded.num_tokens[0])
        assert spans[0][0] == 0
        assert spans[-1][1] == num_frames
        assert torch.allclose(embedded.tokens.norm(dim=-1), torch.ones(1, len(spans)), atol=1e-5)


def test_long_clips_keep_the_first_and_the_last_of_their_tokens() -> None:
    model = small_model(max_tokens=5)
    tower = model.signs
    assert isinstance(tower, PoseTower)
    batch = collate_groups([GroupItem("g", [ClipItem("a", hands(60)), ClipItem("b", hands(9))], captions([2]))])
    embedded = model.embed_signs(batch.inputs, batch.num_frames)
    assert embedded.num_tokens.tolist() == [3, 5]  # a batch begins with its shortest clip
    assert [start for start, _ in tower.token_frames(60)] == [0, 12, 28, 40, 56]


def test_every_parameter_learns() -> None:
    model = small_model().train()
    batch = collate_groups([GroupItem(str(n), [ClipItem("a", hands(20, n))], captions([2 + n, 3])) for n in range(3)])
    clips, texts = model(batch.inputs, batch.num_frames, batch.text_ids, batch.num_tokens)
    scores = fine_grained(clips, texts)
    logits = clips.pooled @ texts.pooled.T * model.log_scale_pooled.exp()
    scale = model.log_scale.exp()
    loss = contrastive_loss(scores.by_sign * scale, scores.by_word * scale, batch.positive)
    (loss + contrastive_loss(logits, logits, batch.positive)).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert still == []


def test_another_text_tower_fits_and_a_wrong_one_is_named() -> None:
    class Words(torch.nn.Module):
        out_dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(9, 4)

        def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            return self.table(ids), lengths

    signs = PoseTower(dim=16, num_halvings=1, num_layers=1, num_heads=2, dropout=0.0)
    model = DualEncoder(signs, Words(), dim=8)
    assert model.embed_texts(torch.tensor([[1, 2]]), torch.tensor([2])).tokens.shape == (1, 2, 8)
    with pytest.raises(ValueError, match="Linear has no integer out_dim"):
        DualEncoder(signs, torch.nn.Linear(1, 1), dim=8)
    with pytest.raises(ValueError, match="multiples of num_heads"):
        DualEncoderConfig(sign_dim=10, num_heads=4)
    assert CharacterTower(5, dim=8, num_layers=1, num_heads=2, dropout=0.0).out_dim == 8


def test_groups_are_padded_and_captions_count_once() -> None:
    items = [
        GroupItem("dog", [ClipItem("a", hands(3)), ClipItem("b", hands(5))], captions([2, 3], [4])),
        GroupItem("cat", [ClipItem("c", hands(2))], captions([5])),
        GroupItem("dog", [ClipItem("d", hands(4))], captions([2, 3], [4])),
    ]
    batch = collate_groups(items)
    batch.check()
    assert batch.groups == ("cat", "dog", "dog", "dog")
    assert batch.ids == ("c", "a", "d", "b")  # by length
    assert batch.sizes == (2, 3, 4, 5)
    assert len(set(batch.clip_groups[1:].tolist())) == 1
    assert batch.clip_groups[0] != batch.clip_groups[1]
    assert batch.text_ids.tolist() == [[2, 3], [4, 0], [5, 0]]
    assert batch.positive.sum().item() == 7
    assert "inputs=float32[4, 5, 126]" in repr(batch)


def test_figures_by_hand() -> None:
    queries = [QueryText("s/0", "en", "dog"), QueryText("s/1", "en", "cat"), QueryText("s/0", "de", "Hund")]
    scores = np.array([[3, 1, 2], [3, 1, 2], [1, 2, 3]], dtype=np.float32)
    figures = retrieval_figures(scores, queries=queries, groups=["s/0", "s/0", "s/1"], languages=["en", "de", "en"])
    assert figures["recall_at_1"] == pytest.approx(1 / 3)
    assert figures["recall_at_5"] == 1.0
    assert figures["chance_at_1"] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    english, german = figures["by_language"]["en"], figures["by_language"]["de"]
    assert english["recall_at_1"] == 0.5
    assert english["spelled_en"] == 0.5
    assert german["spelled_de"] == 1.0
    assert german["spelled_en"] == 0.0
    low, high = figures["recall_at_1_interval"]
    assert low <= figures["recall_at_1"] <= high


def small_module(model: DualEncoder, **settings: Any) -> TextVideoRetrieval:
    texts = Characters(QUERY_NORMALISER, character_vocabulary(["abc"], QUERY_NORMALISER))
    return TextVideoRetrieval(model, texts=texts, measure=lambda searched: {}, **settings)


def test_embedding_by_length_is_embedding_the_whole_batch() -> None:
    model = small_model()
    items = [GroupItem(str(n), [ClipItem(str(n), hands(n, n))], captions([2, 3])) for n in (9, 30, 2, 17, 5, 11)]
    batch = collate_groups(items)
    whole, parts = model.embed_signs(batch.inputs, batch.num_frames), small_module(model)._embed_by_length(batch)
    assert torch.equal(whole.num_tokens, parts.num_tokens)
    assert torch.allclose(whole.tokens, parts.tokens, atol=1e-5)
    assert torch.allclose(whole.pooled, parts.pooled, atol=1e-5)


def test_swapped_captions_reach_the_word_half_alone() -> None:
    model = small_model()
    plain = [GroupItem(str(n), [ClipItem(str(n), hands(9, n))], captions([2 + n, 3])) for n in range(3)]
    swapped = [item._replace(captions=[c._replace(swapped=[3, c.ids[0]]) for c in item.captions]) for item in plain]
    module, batch = small_module(model), collate_groups(swapped)
    assert batch.swapped_ids is not None
    clips, texts = model(batch.inputs, batch.num_frames, batch.text_ids, batch.num_tokens)
    words = model.embed_texts(batch.swapped_ids, batch.num_swapped)
    scale = model.log_scale.exp()
    by_sign, by_word = fine_grained(clips, texts).by_sign, fine_grained(clips, words).by_word
    expected = contrastive_loss(by_sign * scale, by_word * scale, batch.positive).detach()
    found = module.loss.fine(clips, texts, words, batch.positive, scale).detach()
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
    unswapped = module.loss.fine(clips, texts, None, batch.positive, scale).detach()
    assert float(unswapped) != pytest.approx(float(expected), abs=1e-5)


def test_the_same_text_is_no_negative() -> None:
    same = [CaptionItem([2], "hello"), CaptionItem([3], "hallo")]
    items = [GroupItem("a", [ClipItem("a", hands(3))], same), GroupItem("b", [ClipItem("b", hands(4))], same[:1])]
    batch = collate_groups([*items, GroupItem("c", [ClipItem("c", hands(5))], [CaptionItem([4], "bye")])])
    assert batch.positive.tolist() == [[True, True, True, False], [True, False, True, False], [False] * 3 + [True]]


def test_texts_are_padded() -> None:
    padded, lengths = pad_texts([[2, 3], [4]])
    assert padded.tolist() == [[2, 3], [4, 0]]
    assert lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank_by": "x"}, r"loss\.rank_by=x: allowed are fine, pooled"),
        ({"temperature": 0}, "temperature must be above"),
        ({"fine_weight": 0, "pooled_weight": 0}, "nothing to learn"),
        ({"normalisation": "k"}, "allowed are per_positive"),
    ],
)
def test_losses_that_make_no_sense_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalLossConfig(**settings)
