from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plait.fusion.late import KINDS, LateFusion, LateHead, fit_late, mean, product
from plait.fusion.strand import Shape, StrandHead, prior

PRIOR = np.array([0.5, 0.3, 0.2])
IMAGE = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
TEXT = np.array([[0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05], [0.6, 0.2, 0.2]])
# Both strands, the image only, the text only, neither.
PRESENT = {"image": torch.tensor([True, True, False, False]), "text": torch.tensor([True, False, True, False])}
LOGS = {"image": torch.tensor(IMAGE).log(), "text": torch.tensor(TEXT).log()}
LOG_PRIOR = torch.tensor(PRIOR).log()


def test_mean() -> None:
    expected = np.stack([(IMAGE[0] + TEXT[0]) / 2, IMAGE[1], TEXT[2], PRIOR])
    np.testing.assert_allclose(mean(LOGS, PRESENT, LOG_PRIOR).exp().numpy(), expected, rtol=1e-6)


def test_mean_of_certain_strands_stays_finite() -> None:
    certain = {s: torch.tensor([[1.0, 0.0, 0.0]]).log() for s in LOGS}
    here = {s: torch.tensor([True]) for s in LOGS}
    assert mean(certain, here, LOG_PRIOR).isfinite().all()


def test_product_takes_the_prior_out_once() -> None:
    """p(y | image, text) is proportional to p(y | image) p(y | text) / p(y)."""
    joint = IMAGE[0] * TEXT[0] / PRIOR
    expected = np.stack([joint / joint.sum(), IMAGE[1], TEXT[2], PRIOR])
    np.testing.assert_allclose(product(LOGS, PRESENT, LOG_PRIOR).softmax(1).numpy(), expected, rtol=1e-6)


def test_product_is_bayes_rule_for_independent_strands() -> None:
    likely = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 3))  # p(value | class) of each strand
    expected = PRIOR * likely[0, :, 1] * likely[1, :, 2]
    logs = {}
    for s, (values, value) in zip(("image", "text"), zip(likely, (1, 2), strict=True), strict=True):
        alone = PRIOR * values[:, value]
        logs[s] = torch.tensor(alone / alone.sum()).log()[None]
    found = product(logs, {s: torch.tensor([True]) for s in logs}, LOG_PRIOR).softmax(1)
    np.testing.assert_allclose(found[0].numpy(), expected / expected.sum(), rtol=1e-6)


def test_product_with_exponents() -> None:
    found = product(LOGS, PRESENT, LOG_PRIOR, torch.tensor([2.0, 0.5], dtype=torch.float64)).softmax(1).numpy()
    image, text = (IMAGE / PRIOR) ** 2, (TEXT / PRIOR) ** 0.5
    expected = PRIOR * np.stack([image[0] * text[0], image[1], text[2], np.ones(3)])
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-6)


def fusion(kind: str, log_prior: Tensor = LOG_PRIOR) -> LateFusion:
    made = LateFusion(kind, len(log_prior))
    made.log_prior = log_prior.float()
    return made


def random_logits(
    rows: int = 400, classes: int = 3, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Logits of two strands that lean to the right class, some strands missing, and the targets."""
    g = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (rows,), generator=g)
    right = F.one_hot(targets, classes).float()
    logits = {s: lean * right + torch.randn(rows, classes, generator=g) for s, lean in (("image", 1.0), ("text", 2.0))}
    present = {s: torch.rand(rows, generator=g) < 0.8 for s in logits}
    return logits, present, targets


@pytest.mark.parametrize("kind", KINDS)
def test_missing_strands_have_no_say(kind: str) -> None:
    logits, present, targets = random_logits()
    made = fusion(kind, prior(targets, 3))
    fit_late(made, logits, present, targets)
    junk = {s: torch.where(present[s][:, None], logits[s], 99.0) for s in logits}
    assert torch.equal(made(logits, present), made(junk, present))
    nothing = ~(present["image"] | present["text"])
    assert nothing.sum() > 5
    answer = made(logits, present)[nothing].softmax(1)
    torch.testing.assert_close(answer, made.log_prior.exp().expand_as(answer))


@pytest.mark.parametrize("kind", KINDS)
def test_unfitted_fusion_with_one_strand_answers_like_that_strand(kind: str) -> None:
    logits, _, targets = random_logits()
    made = fusion(kind, prior(targets, 3))
    made.temperature = torch.tensor([0.5, 2.0])
    here = torch.ones(len(targets), dtype=torch.bool)
    image = made(logits, {"image": here, "text": ~here}).softmax(1)
    text = made(logits, {"image": ~here, "text": here}).softmax(1)
    torch.testing.assert_close(image, (logits["image"] / 0.5).softmax(1))
    torch.testing.assert_close(text, (logits["text"] / 2.0).softmax(1))


@pytest.mark.parametrize("kind", ["weighted", "stacking"])
def test_fitted_kinds_start_equal_to_the_product(kind: str) -> None:
    logits, present, targets = random_logits()
    log_prior = prior(targets, 3)
    torch.testing.assert_close(fusion(kind, log_prior)(logits, present), fusion("product", log_prior)(logits, present))


@pytest.mark.parametrize("kind", ["weighted", "stacking"])
def test_fitting_improves_the_loss_on_new_rows_too(kind: str) -> None:
    """Both strands repeat the same noise, so the product counts it twice."""
    logits, present, targets = random_logits(2000)
    logits["text"] = logits["image"] + 0.1 * logits["text"]
    old, new = slice(0, 1000), slice(1000, 2000)
    made = fusion(kind, prior(targets, 3))
    rows = lambda part, x: {s: v[part] for s, v in x.items()}  # noqa: E731
    before = F.cross_entropy(made(rows(new, logits), rows(new, present)), targets[new]).item()
    fit_late(made, rows(old, logits), rows(old, present), targets[old])
    after = F.cross_entropy(made(rows(new, logits), rows(new, present)), targets[new]).item()
    assert after < before - 0.02


def test_weighted_finds_the_minimum() -> None:
    from scipy.optimize import minimize

    logits, present, targets = random_logits()
    made = fusion("weighted", prior(targets, 3))
    logs = {s: F.log_softmax(v, 1).double() for s, v in logits.items()}

    def loss(weights: np.ndarray) -> float:
        out = product(logs, present, made.log_prior.double(), torch.tensor(weights))
        return F.cross_entropy(out, targets).item() + 0.01 / 2 * float(((weights - 1) ** 2).sum())

    fit_late(made, logits, present, targets)
    assert made.weights is not None
    np.testing.assert_allclose(made.weights.detach().numpy(), minimize(loss, [1.0, 1.0]).x, atol=2e-3)


def test_the_penalty_pulls_to_the_product() -> None:
    logits, present, targets = random_logits()
    norms = []
    for penalty in (1e-3, 1e-1, 10.0, 1e6):
        made = fusion("stacking", prior(targets, 3))
        fit_late(made, logits, present, targets, penalty)
        norms.append(sum(float(p.detach().norm()) for p in made.parameters()))
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 0.3
    assert norms[-1] < 1e-5


@pytest.mark.parametrize("kind", ["mean", "product"])
def test_kinds_without_parameters_are_left_alone(kind: str) -> None:
    logits, present, targets = random_logits()
    made = fusion(kind)
    before = made(logits, present)
    fit_late(made, logits, present, targets)
    assert torch.equal(made(logits, present), before)


def test_late_head_fuses_what_its_heads_say() -> None:
    shape = Shape.of({"image": 4, "text": 2}, 3)
    heads = {s: StrandHead(s, shape) for s in ("image", "text")}
    for head in heads.values():
        torch.nn.init.normal_(head.layers[0].weight, generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]
        head.log_prior = LOG_PRIOR.float()
    features = {"image": torch.linspace(-1, 1, 16).view(4, 4), "text": torch.linspace(1, -1, 8).view(4, 2)}
    found = LateHead(heads, fusion("product"))(features, PRESENT).softmax(1).detach()
    said = {s: head(features, PRESENT).softmax(1).detach() for s, head in heads.items()}
    joint = said["image"][0] * said["text"][0] / LOG_PRIOR.exp().float()
    torch.testing.assert_close(found[0], joint / joint.sum())
    torch.testing.assert_close(found[1], said["image"][1])
    torch.testing.assert_close(found[2], said["text"][2])
    torch.testing.assert_close(found[3], LOG_PRIOR.exp().float())
