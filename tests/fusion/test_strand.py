from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.strand import Shape, Standardise, StrandHead, prior


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_prior() -> None:
    found = prior(torch.tensor([0, 0, 0, 2]), 3)  # counts 3, 0, 1, and one more each
    torch.testing.assert_close(found, torch.tensor([4 / 7, 1 / 7, 2 / 7]).log())


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


def weighted(head: StrandHead) -> StrandHead:
    """The same head with weights as if trained."""
    with torch.no_grad():
        for i, weight in enumerate(head.parameters()):
            weight.copy_(drawn(*weight.shape, seed=10 + i))
    return head.eval()


def test_linear_head() -> None:
    features, present = {"text": drawn(6, 4)}, {"text": torch.tensor([1, 1, 0, 1, 0, 1]).bool()}
    head = StrandHead("text", Shape.of({"text": 4}, 3))
    assert (head(features, present)[present["text"]] == 0).all()  # starts undecided
    log_prior = torch.tensor([0.5, 0.3, 0.2]).log()
    head.prepare(features, present, log_prior)
    weighted(head)
    seen = features["text"][present["text"]].numpy().astype(np.float64)
    weight, bias = (p.detach().numpy() for p in head.parameters())
    expected = (seen - seen.mean(0)) / seen.std(0, ddof=1) @ weight.T + bias
    out = head(features, present).detach()
    np.testing.assert_allclose(out[present["text"]].numpy(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(out[~present["text"]], log_prior.expand(2, 3))


def test_mlp_head() -> None:
    shape = Shape.of({"image": 4}, 3, kind="mlp", hidden=8, dropout=0.5)
    features, present = {"image": drawn(5, 4)}, {"image": torch.ones(5, dtype=torch.bool)}
    head = weighted(StrandHead("image", shape))
    w1, b1, scale, shift, w2, b2 = head.parameters()
    hidden = F.gelu(F.layer_norm(features["image"] @ w1.T + b1, (8,), scale, shift))
    torch.testing.assert_close(head(features, present), hidden @ w2.T + b2)
    head.train()
    assert not torch.equal(head(features, present), head(features, present))  # dropout


def test_a_head_reads_its_own_strand_only() -> None:
    shape = Shape.of({"image": 4, "text": 2}, 3)
    here = torch.ones(5, dtype=torch.bool)
    head = weighted(StrandHead("image", shape))
    one = head({"image": drawn(5, 4), "text": drawn(5, 2)}, {"image": here, "text": here})
    two = head({"image": drawn(5, 4), "text": drawn(5, 2, seed=9)}, {"image": here, "text": ~here})
    assert torch.equal(one, two)
