"""The lean objective against transformers' class and a plain twin of fairseq's formula: same loss, same gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

from asr.pretraining.contrastive import ContrastiveObjective, contrast
from asr.pretraining.masking import Masked, masked_positions, sample_negatives

TINY = Wav2Vec2Config(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, num_codevectors_per_group=12, codevector_dim=16,
    proj_codevector_dim=20, num_negatives=15, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True,
    hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
    feat_quantizer_dropout=0.0,
)  # fmt: skip


def ours_of(model: Wav2Vec2ForPreTraining) -> ContrastiveObjective:
    config = model.config
    objective = ContrastiveObjective(
        config.conv_dim[-1], config.hidden_size, num_groups=config.num_codevector_groups,
        num_codes=config.num_codevectors_per_group, code_width=config.codevector_dim,
        width=config.proj_codevector_dim, num_negatives=config.num_negatives,
        temperature=config.contrastive_logits_temperature, diversity_weight=config.diversity_loss_weight,
    )  # fmt: skip
    names = set(objective.state_dict())
    objective.load_state_dict({name: value for name, value in model.state_dict().items() if name in names})
    return objective


def to_positions(negatives: Tensor, mask: Tensor, masked: Masked) -> Tensor:
    """transformers numbers negatives by frame of the whole batch, we by masked position of the clip."""
    order = mask.long().cumsum(1) - 1
    found = torch.zeros(*masked.valid.shape, negatives.shape[2], dtype=torch.int64)
    for row in range(len(mask)):
        frames = negatives[row, mask[row]] - row * mask.shape[1]
        found[row, : len(frames)] = order[row][frames]
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("temperature", [2.0, 0.1])
def test_loss_and_gradients_equal_those_of_transformers(training, temperature, monkeypatch):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - transformers draws from the global generator
    model = Wav2Vec2ForPreTraining(TINY).train(training)
    model.set_gumbel_temperature(temperature)
    lengths, audio = [16000, 12000, 9000], torch.randn(3, 16000)
    attention = torch.arange(16000)[None] < torch.tensor(lengths)[:, None]
    steps = int(model._get_feat_extract_output_lengths(16000))
    steps_mask = model._get_feature_vector_attention_mask(steps, attention.long())
    mask_array = _compute_mask_indices((3, steps), 0.65, 10, attention_mask=steps_mask.long(), min_masks=2)
    mask = torch.from_numpy(mask_array)
    assert len(set(mask.sum(1).tolist())) > 1, "clips with unequal numbers of masked frames are wanted here"
    negatives = torch.from_numpy(_sample_negative_indices((3, steps), 15, mask_array)).long()
    groups, codes = TINY.num_codevector_groups, TINY.num_codevectors_per_group
    noise = -torch.empty(3 * steps * groups, codes).exponential_().log()
    monkeypatch.setattr(F, "gumbel_softmax", lambda logits, tau, hard: straight_through(logits, tau, noise))

    sides = {"attention_mask": attention.long(), "mask_time_indices": mask}
    theirs = model(audio, **sides, sampled_negative_indices=negatives)
    theirs.loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    model.zero_grad()
    states = model.wav2vec2(audio, **sides)
    objective = ours_of(model).train(training)
    masked = masked_positions(mask)
    picked = masked.take(noise.view(3, steps, groups * codes)).unflatten(-1, (groups, codes))
    loss = objective(
        states.last_hidden_state, states.extract_features, masked, gumbel_temperature=temperature,
        negatives=to_positions(negatives, mask, masked), noise=picked,
    )  # fmt: skip
    if not training:  # transformers' diversity in evaluation is that of hard codes; the contrast is the same
        close(loss.by_clip.sum(), theirs.contrastive_loss)
        return
    close(loss.total, theirs.loss)
    loss.total.backward()
    found = {f"wav2vec2.{name}": parameter.grad for name, parameter in model.wav2vec2.named_parameters()}
    found |= {name: parameter.grad for name, parameter in objective.named_parameters()}
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        if name.endswith("k_proj.bias"):  # attention doesn't depend on it: rounding is all there is
            assert float(found[name].abs().max()) < 1e-6 > float(gradient.abs().max())
        else:
            close(found[name], gradient, name)


def straight_through(logits: Tensor, tau: float, noise: Tensor) -> Tensor:
    soft = ((logits + noise) / tau).softmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


def close(one: Tensor, other: Tensor, name: str = "loss") -> None:
    scale = float(other.detach().abs().max().clamp(min=1e-12))
    assert float((one.detach() - other.detach()).abs().max()) / scale < 1e-5, name


def fairseq_loss(objective: ContrastiveObjective, context, features, mask, negatives, noise, tau, penalty):
    """fairseq's Wav2Vec2Model.forward after the encoder and its criterion with infonce, as plain as they are.

    mask: (B, T) with equally many True in each row; negatives: (B, M, K) positions; noise: (B, M, G, V).
    """
    quantizer, (batch, _, _) = objective.quantizer, context.shape
    y = features[mask].view(batch, -1, features.shape[-1])
    logits = quantizer.weight_proj(y).view(-1, quantizer.num_codes)
    soft = logits.view(-1, quantizer.num_groups, quantizer.num_codes).softmax(-1).mean(0)
    prob_perplexity = torch.exp(-(soft * torch.log(soft + 1e-7)).sum(-1)).sum()
    one_hot = straight_through(logits, tau, noise.reshape(-1, quantizer.num_codes))
    product = one_hot.view(y.shape[0] * y.shape[1], -1, 1) * quantizer.codevectors
    q = product.view(len(product), quantizer.num_groups, quantizer.num_codes, -1).sum(-2).view(batch, y.shape[1], -1)
    y = objective.project_q(q)
    x = objective.project_hid(context[mask].view(batch, -1, context.shape[-1]))
    rows = torch.arange(batch)[:, None, None]
    sampled = y[rows, negatives].permute(2, 0, 1, 3)
    same = (q == q[rows, negatives].permute(2, 0, 1, 3)).all(-1)
    scores = torch.cosine_similarity(x, torch.cat([y[None], sampled]), dim=-1) / objective.temperature
    scores[1:][same] = -torch.inf
    scores = scores.transpose(0, 2).reshape(-1, scores.shape[0])
    sample_size = len(scores)
    loss = F.cross_entropy(scores, torch.zeros(sample_size, dtype=torch.int64), reduction="sum")
    num_vars = quantizer.num_codes * quantizer.num_groups
    loss = loss + objective.diversity_weight * (num_vars - prob_perplexity) / num_vars * sample_size
    loss = loss + objective.penalty_weight * penalty * sample_size
    best, worst = scores.argmax(-1) == 0, scores.argmin(-1) == 0
    return loss, int(best.sum() - (best & worst).sum()), int(torch.isinf(scores).sum())


@pytest.mark.parametrize("tau", [2.0, 0.5])
def test_loss_and_gradients_equal_a_twin_of_fairseqs(tau):
    torch.manual_seed(1)
    objective = ContrastiveObjective(
        16, 24, num_codes=5, code_width=12, width=20, num_negatives=30, penalty_weight=10.0
    )
    context, features = torch.randn(3, 40, 24), F.layer_norm(torch.randn(3, 40, 16), (16,))
    mask = torch.zeros(3, 40, dtype=torch.bool)
    for row in range(3):
        mask[row, torch.randperm(40)[:21]] = True
    masked = masked_positions(mask)
    negatives = sample_negatives(masked.counts, 30)
    noise = -torch.empty(3, 21, 2, 5).exponential_().log()
    found = []
    for twin in (False, True):
        inputs = [context.clone().requires_grad_(), features.clone().requires_grad_(),
                  torch.tensor(0.3).requires_grad_()]  # fmt: skip
        objective.zero_grad()
        if twin:
            loss, correct, excluded = fairseq_loss(
                objective, inputs[0], inputs[1], mask, negatives, noise, tau, inputs[2]
            )
        else:
            result = objective(inputs[0], inputs[1], masked, gumbel_temperature=tau, penalty=inputs[2],
                               negatives=negatives, noise=noise)  # fmt: skip
            loss, correct, excluded = result.total, int(result.num_correct), int(result.num_excluded)
            assert int(result.num_negatives) == 3 * 21 * 30
        loss.backward()
        gradients = [p.grad.clone() for p in (*inputs, *objective.parameters())]
        found.append((loss.detach(), gradients, correct, excluded))
    (loss, gradients, correct, excluded), (twin_loss, twin_gradients, twin_correct, twin_excluded) = found
    assert excluded == twin_excluded > 0
    assert correct == twin_correct
    close(loss, twin_loss)
    for one, other in zip(gradients, twin_gradients, strict=True):
        close(one, other)


def test_when_all_codes_are_alike_the_loss_is_zero_and_everything_excluded():
    """The signature of a collapse, as fairseq's and transformers' formulas have it."""
    valid = torch.ones(1, 12, dtype=torch.bool)
    negatives = sample_negatives(torch.tensor([12]), 100)
    scores = contrast(torch.randn(1, 12, 8), torch.randn(1, 1, 8).expand(1, 12, 8),
                      torch.zeros(1, 12, 2, dtype=torch.int64), valid, negatives)  # fmt: skip
    assert float(scores.losses.abs().max()) == 0.0
    assert bool(scores.correct.all())
    assert int(scores.num_excluded) == 1200


def test_a_clip_with_one_masked_frame_costs_nothing_and_stays_finite():
    objective = ContrastiveObjective(16, 24, num_codes=5, code_width=12, width=20)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, 4], mask[1, :6] = True, True
    context = torch.randn(2, 9, 24, requires_grad=True)
    loss = objective(context, torch.randn(2, 9, 16), masked_positions(mask), gumbel_temperature=1.0)
    loss.total.backward()
    assert float(loss.by_clip[0]) == 0.0
    assert float(loss.by_clip[1]) > 0.0
    assert bool(context.grad.isfinite().all())
    assert float(context.grad[0].abs().max()) == 0.0
    assert int(loss.num_masked.sum()) == 7


def test_padding_never_reaches_the_quantiser():
    """What lies in frames that aren't masked changes neither the loss nor a gradient."""
    torch.manual_seed(3)
    objective = ContrastiveObjective(16, 24, num_codes=5, code_width=12, width=20)
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[0, 3:20], mask[1, 2:9] = True, True
    context, features = torch.randn(2, 30, 24), torch.randn(2, 30, 16)
    spoiled = [tensor.masked_fill(~mask[..., None], 1e6) for tensor in (context, features)]
    found = []
    for pair in ((context, features), spoiled):
        objective.zero_grad()
        loss = objective(*pair, masked_positions(mask), gumbel_temperature=1.0,
                         generator=torch.Generator().manual_seed(5))  # fmt: skip
        loss.total.backward()
        found.append([loss.total.detach(), loss.hard_counts, *(p.grad.clone() for p in objective.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    assert int(found[0][1].sum()) == 2 * (17 + 7)


def test_low_precision_outside_doesnt_reach_the_objective():
    torch.manual_seed(4)
    objective = ContrastiveObjective(16, 24, num_codes=5, code_width=12, width=20)
    mask = torch.ones(1, 20, dtype=torch.bool)
    inputs = (torch.randn(1, 20, 24), torch.randn(1, 20, 16), masked_positions(mask))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(objective(*inputs, gumbel_temperature=1.0, generator=torch.Generator().manual_seed(0)).total)
    assert torch.equal(*found)
