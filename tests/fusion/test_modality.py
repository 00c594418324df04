from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.modality import Expert, ExpertSpec, ModalityHead, Part, Shape, Standardise, prior

# Two encoders and their columns: 0-3 dense of `net`; 4-5 dense and 6-8 scores of `terms`.
PARTS = Shape({"text": (Part("net", 4), Part("terms", 2, 3))}, 3)
NET, SCORES, ALL = ExpertSpec((0,)), ExpertSpec((), (1,)), ExpertSpec((0, 1))
LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Class shares


def test_prior() -> None:
    found = prior(torch.tensor([0, 0, 0, 2]), 3)  # 3, 1 for the class without rows, and 1
    torch.testing.assert_close(found, torch.tensor([3 / 5, 1 / 5, 1 / 5]).log())


def test_prior_of_weighted_rows() -> None:
    found = prior(torch.tensor([0, 0, 2]), 3, torch.tensor([1.0, 3.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([4 / 8, 2 / 8, 2 / 8]).log())


# Columns


def test_columns_of_a_modality() -> None:
    assert PARTS.dims == {"text": 6}
    assert PARTS.widths == {"text": 9}
    assert PARTS.dense("text") == [0, 1, 2, 3, 4, 5]
    assert PARTS.dense("text", [1]) == [4, 5]
    assert PARTS.dense("text", []) == []
    assert PARTS.scores("text", [1]) == [6, 7, 8]
    assert PARTS.scores("text", [0]) == []
    swapped = Shape({"text": PARTS.parts["text"][::-1]}, 3)
    assert swapped.dense("text") == [0, 1, 5, 6, 7, 8]
    assert swapped.scores("text", [0]) == [2, 3, 4]


# Standardisation


def test_standardise_is_the_score_of_each_column() -> None:
    rows = drawn(50, 3) * torch.tensor([1.0, 30.0, 0.2]) + torch.tensor([5.0, -7.0, 0.0])
    module = Standardise(3)
    module.fit(rows)
    array = rows.numpy().astype(np.float64)
    expected = (array - array.mean(0)) / array.std(0, ddof=1)
    np.testing.assert_allclose(module(rows).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_standardise_leaves_constant_columns_unscaled() -> None:
    rows = torch.cat([drawn(40, 3), torch.full((40, 1), 2.0), 2 + 1e-4 * drawn(40, 1, seed=1)], dim=1)
    module = Standardise(5)
    module.fit(rows)
    assert module.scale[3:].tolist() == [1.0, 1.0]
    assert (module.scale[:3] != 1).all()
    out = module(rows + torch.tensor([0.0, 0.0, 0.0, 0.5, 0.0]))
    torch.testing.assert_close(out[:, 3], torch.full((40,), 0.5))
    assert out[:, 4].abs().max() < 1e-3


@pytest.mark.parametrize("rows", [0, 1])
def test_standardise_does_nothing_without_two_rows(rows: int) -> None:
    module = Standardise(2)
    module.fit(torch.full((rows, 2), 9.0))
    assert module(torch.tensor([[3.0, 4.0]])).tolist() == [[3.0, 4.0]]


def test_all_columns_constant() -> None:
    module = Standardise(2)
    module.fit(torch.full((5, 2), 9.0))
    assert module(torch.tensor([[9.0, 10.0]])).tolist() == [[0.0, 1.0]]


# Experts


def weighted(expert: Expert, seed: int = 10) -> Expert:
    """The same expert with weights as if trained."""
    with torch.no_grad():
        for i, weight in enumerate(expert.parameters()):
            weight.copy_(drawn(*weight.shape, seed=seed + i))
    return expert.eval()


def test_a_linear_expert_is_undecided_until_it_is_trained() -> None:
    assert not Expert("text", ALL, PARTS)(drawn(4, 9)).any()


@pytest.mark.parametrize(("spec", "columns"), [(NET, [0, 1, 2, 3]), (ExpertSpec((1,)), [4, 5]), (ALL, range(6))])
def test_a_linear_expert_reads_its_columns_as_they_are(spec: ExpertSpec, columns: list[int]) -> None:
    expert, features = weighted(Expert("text", spec, PARTS)), 5 + 3 * drawn(6, 9)
    expert.prepare(features)
    assert expert.output is not None
    expected = features[:, list(columns)] @ expert.output.weight.T + expert.bias
    torch.testing.assert_close(expert(features), expected)


def test_scores_are_answers_already() -> None:
    expert, features = weighted(Expert("text", SCORES, PARTS)), drawn(6, 9)
    assert [name for name, _ in expert.named_parameters()] == ["bias"]
    assert torch.equal(expert(features), expert.bias + features[:, 6:])


def test_dense_columns_and_scores_add_up() -> None:
    expert, features = weighted(Expert("text", ExpertSpec((0,), (1,)), PARTS)), drawn(6, 9)
    assert expert.output is not None
    expected = features[:, :4] @ expert.output.weight.T + expert.bias + features[:, 6:]
    torch.testing.assert_close(expert(features), expected)


def test_an_mlp_expert() -> None:
    shape = Shape.of({"image": 4}, 3, kind="mlp", hidden=8, dropout=0.5)
    features = 2 + 3 * drawn(5, 4)
    expert = weighted(Expert("image", ExpertSpec((0,)), shape))
    expert.prepare(features)
    bias, w1, b1, scale, shift, w2 = expert.parameters()
    std, mean = torch.std_mean(features, 0)
    hidden = F.gelu(F.layer_norm((features - mean) / std @ w1.T + b1, (8,), scale, shift))
    torch.testing.assert_close(expert(features), hidden @ w2.T + bias)
    expert.train()
    assert not torch.equal(expert(features), expert(features))  # dropout


# Heads


def filled(*specs: ExpertSpec, exponents: tuple[float, ...] | None = None) -> ModalityHead:
    head = ModalityHead("text", specs, PARTS)
    for i, expert in enumerate(head.experts):
        weighted(expert, 20 * i)  # type: ignore[arg-type]
    count = len(specs)
    head.temperatures = torch.linspace(0.5, 2.0, count)
    head.slopes = torch.zeros(count)
    head.priors = F.log_softmax(drawn(count, 3, seed=5), 1)
    head.exponents = torch.ones(count) / count if exponents is None else torch.tensor(exponents)
    head.temperature = torch.tensor(1.5)
    head.log_prior = LOG_PRIOR
    return head.eval()


HERE = {"text": torch.tensor([1, 1, 0, 1, 0, 1]).bool()}


def test_a_head_of_one_expert_is_that_expert_calibrated() -> None:
    head, features = filled(NET, exponents=(0.3,)), {"text": drawn(6, 9)}
    logits = head.experts[0](features["text"])
    expected = F.log_softmax(F.log_softmax(logits / 0.5, 1) / 1.5, 1)
    found = head(features, HERE)
    torch.testing.assert_close(found[HERE["text"]], expected[HERE["text"]])
    assert torch.equal(found[~HERE["text"]], LOG_PRIOR.expand(2, 3))


def test_a_head_of_several_experts_is_their_weighted_pool() -> None:
    head, features = filled(NET, SCORES, ALL, exponents=(0.2, 0.7, 0.4)), {"text": drawn(6, 9)}
    said = head.opinions(features).double().detach().numpy()
    torch.testing.assert_close(torch.from_numpy(said).exp().sum(2), torch.ones(3, 6, dtype=torch.float64))
    priors = head.priors.exp().double().numpy()
    for row in (0, 1, 3, 5):
        pooled = LOG_PRIOR.exp().double().numpy()
        for expert, exponent in enumerate((0.2, 0.7, 0.4)):
            pooled = pooled * (np.exp(said[expert, row]) / priors[expert]) ** exponent
        shares = pooled ** (1 / 1.5) / (pooled ** (1 / 1.5)).sum()
        np.testing.assert_allclose(head(features, HERE)[row].exp().detach().numpy(), shares, rtol=1e-4)


def test_exponents_of_zero_are_the_mean() -> None:
    head, features = filled(NET, SCORES, exponents=(0.0, 0.0)), {"text": drawn(6, 9)}
    mean = head.opinions(features).exp().mean(0)
    expected = F.log_softmax(mean.log() / 1.5, 1)
    torch.testing.assert_close(head(features, HERE)[HERE["text"]], expected[HERE["text"]])


def test_a_head_reads_its_own_modality_only() -> None:
    head, there = filled(NET, SCORES), torch.ones(5, dtype=torch.bool)
    one = head({"image": drawn(5, 4), "text": drawn(5, 9)}, {"image": there, "text": there})
    two = head({"image": drawn(5, 4, seed=9), "text": drawn(5, 9)}, {"image": ~there, "text": there})
    assert torch.equal(one, two)
