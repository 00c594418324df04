"""The towers of a joint space, and where they begin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from plait.fusion.space import JointSpace, SpaceSpec, canonical

SPEC = SpaceSpec({"image": 6, "text": 5}, dim=4, hidden=8, dropout=0.5)


def paired(rows: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sides that share three hidden numbers, the first most clearly."""
    draw = np.random.default_rng(5)
    hidden = draw.normal(size=(rows, 3))
    noise = np.array([0.3, 0.6, 1.2])
    sides = [
        (hidden + noise * draw.normal(size=(rows, 3))) @ draw.normal(size=(3, wide))
        + 0.05 * draw.normal(size=(rows, wide))
        for wide in (6, 5)
    ]
    image, text = ((side - side.mean(0)) / side.std(0) for side in sides)
    return torch.from_numpy(image), torch.from_numpy(text)


def test_canonical_is_cca() -> None:
    """Without a ridge its variates correlate as scikit-learn's do."""
    image, text = paired()
    maps = canonical(image, text, dim=3, ridge=0.0)
    ours = [(side.float() @ map_).numpy() for side, map_ in zip((image, text), maps, strict=True)]
    peer = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(image.numpy(), text.numpy())
    theirs = peer.transform(image.numpy(), text.numpy())
    for k in range(3):
        correlation = np.corrcoef(ours[0][:, k], ours[1][:, k])[0, 1]
        assert correlation == pytest.approx(np.corrcoef(theirs[0][:, k], theirs[1][:, k])[0, 1], abs=1e-3)
        assert ours[0][:, k].std() == pytest.approx(np.sqrt(correlation), abs=1e-3)


def test_towers_begin_at_the_canonical_maps() -> None:
    image, text = (side.float() for side in paired())
    space = JointSpace(SPEC)
    space.prepare({"image": 3 * image + 1, "text": text})
    known = torch.ones(len(image), dtype=torch.bool)
    found = space.eval().embed({"image": 3 * image + 1, "text": text}, {"image": known, "text": known})
    scaled = [(side - side.mean(0)) / side.std(0) for side in (image, text)]
    for side, map_, modality in zip(scaled, canonical(*scaled, dim=4), ("image", "text"), strict=True):
        wanted = torch.nn.functional.normalize(side @ map_, dim=1)
        torch.testing.assert_close(found[modality], wanted, atol=1e-4, rtol=1e-3)


def test_a_missing_side_is_zeros_and_all_others_have_length_1() -> None:
    space = JointSpace(SPEC).eval()
    present = {"image": torch.tensor([True, False]), "text": torch.tensor([True, True])}
    found = space.embed({"image": torch.randn(2, 6), "text": torch.randn(2, 5)}, present)
    assert found["image"][1].abs().sum() == 0
    torch.testing.assert_close(found["text"].norm(dim=1), torch.ones(2))


def test_a_spec_comes_back_from_json() -> None:
    assert SpaceSpec.from_json(SPEC.as_json()) == SPEC
    with pytest.raises(KeyError):
        SpaceSpec.from_json({"dims": {"image": 3}})
