from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.late import KINDS, LateFusion, Opinions, fit_late, mean, product
from plait.fusion.modality import MODALITIES, ExpertSpec, ModalityHead, Part, Shape, prior
from plait.fusion.pool import fit_exponents

PRIOR = np.array([0.5, 0.3, 0.2])
IMAGE = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
TEXT = np.array([[0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05], [0.6, 0.2, 0.2]])
LOGS = {"image": torch.tensor(IMAGE).log(), "text": torch.tensor(TEXT).log()}
LOG_PRIOR = torch.tensor(PRIOR).log()
SAME = dict.fromkeys(MODALITIES, LOG_PRIOR)


def test_mean() -> None:
    np.testing.assert_allclose(mean(LOGS).exp().numpy(), (IMAGE + TEXT) / 2, rtol=1e-6)


def test_mean_of_certain_modalities_stays_finite() -> None:
    assert mean({s: torch.tensor([[1.0, 0.0, 0.0]]).log() for s in MODALITIES}).isfinite().all()


def test_product_takes_the_prior_out_once() -> None:
    """p(y | image, text) is proportional to p(y | image) p(y | text) / p(y)."""
    joint = IMAGE * TEXT / PRIOR
    found = product(LOGS, SAME, LOG_PRIOR).softmax(1).numpy()
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-6)


def test_product_takes_out_what_each_modality_was_trained_with() -> None:
    """Modalities whose training was balanced have nothing to take out; the prior of the rows comes in once."""
    balanced, other = np.ones(3) / 3, np.array([0.6, 0.2, 0.2])
    priors = {"image": torch.tensor(balanced).log(), "text": torch.tensor(other).log()}
    joint = PRIOR * (IMAGE / balanced) * (TEXT / other)
    found = product(LOGS, priors, LOG_PRIOR).softmax(1).numpy()
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-6)


# With parameters


def drawn(rows: int = 400, classes: int = 3, seed: int = 0) -> tuple[Opinions, Tensor]:
    """Two experts of the image, one of the text, which lean to the right class; and the targets."""
    g = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (rows,), generator=g)
    right = F.one_hot(targets, classes).float()
    said = [F.log_softmax(lean * right + torch.randn(rows, classes, generator=g), 1) for lean in (1.0, 0.5, 2.0)]
    experts = {"image": torch.stack(said[:2]), "text": said[2][None]}
    return Opinions({s: F.log_softmax(x.mean(0), 1) for s, x in experts.items()}, experts), targets


def even(targets: Tensor) -> tuple[Tensor, Tensor]:
    return targets, torch.ones(len(targets))


def prepared(kind: str, log_prior: Tensor, seed: int = 7) -> LateFusion:
    """For the experts of `drawn`, each modality and expert with a prior of its own."""
    g, classes = torch.Generator().manual_seed(seed), len(log_prior)
    shape = Shape({"image": (Part("a", 1), Part("b", 1)), "text": (Part("c", 1),)}, classes)
    specs = {"image": (ExpertSpec((0,)), ExpertSpec((1,))), "text": (ExpertSpec((0,)),)}
    heads = {s: ModalityHead(s, specs[s], shape) for s in MODALITIES}
    for head in heads.values():
        head.priors = log_prior + 0.2 * torch.randn(head.priors.shape, generator=g)
        head.prior = log_prior + 0.2 * torch.randn(classes, generator=g)
    made = LateFusion(kind, classes, 3)
    made.prepare(heads, log_prior)
    return made


def test_experts_of_a_modality_share_its_say() -> None:
    assert prepared("weighted", LOG_PRIOR.float()).exponents.tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("kind", ["mean", "product", "stacking"])
def test_what_is_fused(kind: str) -> None:
    opinions, _ = drawn()
    made = prepared(kind, LOG_PRIOR.float())
    expected = mean(opinions.pooled)
    if kind != "mean":
        expected = product(opinions.pooled, dict(zip(MODALITIES, made.priors, strict=True)), LOG_PRIOR.float())
    torch.testing.assert_close(made(opinions), expected)  # stacking starts from the product


def test_weighted_by_hand() -> None:
    opinions, _ = drawn()
    made = prepared("weighted", LOG_PRIOR.float())
    made.exponents = torch.tensor([0.4, 0.1, 1.5])
    evidence = [made.exponents[e] * (opinions.stacked[e] - made.expert_priors[e]) for e in range(3)]
    torch.testing.assert_close(made(opinions), LOG_PRIOR.float() + sum(evidence))


def test_weighted_has_the_exponents_of_the_pool() -> None:
    opinions, targets = drawn()
    weights = torch.rand(len(targets), generator=torch.Generator().manual_seed(1))
    made = prepared("weighted", prior(targets, 3))
    start = made.exponents
    fit_late(made, opinions, (targets, weights))
    found = fit_exponents(opinions.stacked, made.expert_priors, made.log_prior, (targets, weights), start)
    assert torch.equal(made.exponents, found)
    assert not torch.equal(made.exponents, start)


def test_stacking_finds_the_minimum() -> None:
    from scipy.optimize import minimize

    opinions, targets = drawn(120, seed=3)
    weights = torch.rand(120, generator=torch.Generator().manual_seed(1)) + 0.1
    made = prepared("stacking", prior(targets, 3))
    start = made(opinions).detach().double().numpy()
    pooled = zip(MODALITIES, made.priors, strict=True)
    evidence = torch.cat([opinions.pooled[s] - p for s, p in pooled], 1).double().numpy()
    share = (weights / weights.sum()).double().numpy()

    def loss(flat: np.ndarray) -> float:
        logits = start + evidence @ flat[:18].reshape(6, 3) + flat[18:]
        logits = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return float(-(share * logits[np.arange(120), targets.numpy()]).sum() + 0.05 / 2 * (flat**2).sum())

    fit_late(made, opinions, (targets, weights), penalty=0.05)
    assert made.stack is not None
    assert made.bias is not None
    found = torch.cat([made.stack.flatten(), made.bias]).detach().double().numpy()
    reference = minimize(loss, np.zeros(21), options={"gtol": 1e-8})
    assert loss(found) == pytest.approx(reference.fun, rel=1e-5)
    np.testing.assert_allclose(found, reference.x, atol=5e-3)


@pytest.mark.parametrize("kind", ["weighted", "stacking"])
def test_fitting_improves_the_loss_on_new_rows_too(kind: str) -> None:
    """Both modalities repeat the same noise, so the product counts it twice."""
    opinions, targets = drawn(2000)
    image = opinions.pooled["image"]
    pooled = {"image": image, "text": F.log_softmax(image + 0.1 * opinions.pooled["text"], 1)}
    twice = Opinions(pooled, {"image": torch.stack([image, image]), "text": pooled["text"][None]})
    old, new = torch.arange(1000), torch.arange(1000, 2000)
    made = prepared(kind, prior(targets, 3))
    made.priors = prior(targets, 3).expand(2, 3)
    made.expert_priors = prior(targets, 3).expand(3, 3)
    before = F.cross_entropy(made(twice.rows(new)), targets[new]).item()
    fit_late(made, twice.rows(old), even(targets[old]))
    after = F.cross_entropy(made(twice.rows(new)), targets[new]).item()
    assert after < before - 0.02


def test_the_penalty_pulls_to_the_product() -> None:
    opinions, targets = drawn()
    norms = []
    for penalty in (1e-3, 1e-1, 10.0, 1e6):
        made = prepared("stacking", prior(targets, 3))
        fit_late(made, opinions, even(targets), penalty)
        norms.append(sum(float(p.detach().norm()) for p in made.parameters()))
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 0.3
    assert norms[-1] < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_change_nothing(kind: str) -> None:
    opinions, targets = drawn()
    made = prepared(kind, LOG_PRIOR.float())
    before = made(opinions)
    fit_late(made, opinions.rows(torch.arange(0)), even(targets[:0]))
    assert torch.equal(made(opinions), before)
    if kind in ("mean", "product"):  # nothing in them can be fitted
        fit_late(made, opinions, even(targets))
        assert torch.equal(made(opinions), before)


def test_rows_of_opinions() -> None:
    opinions, _ = drawn(5)
    part = opinions.rows(torch.tensor([3, 1]))
    assert torch.equal(part.pooled["text"], opinions.pooled["text"][[3, 1]])
    assert torch.equal(part.stacked, opinions.stacked[:, [3, 1]])
    assert torch.equal(opinions.stacked, torch.cat([opinions.experts["image"], opinions.experts["text"]]))
