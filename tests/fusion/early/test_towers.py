from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.fusion.early.towers import Head as TowersHead
from plait.fusion.modality import Shape

LOG_PRIOR = torch.tensor([0.5, 0.3, 0.2]).log()
SMALL = Shape.of({"image": 4, "text": 6}, 3, towers={"image": (5,), "text": (9, 8)})
Rows = dict[str, Tensor]


def made() -> TowersHead:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = TowersHead(SMALL)
    head.prepare(*drawn(20, 1), LOG_PRIOR)
    return head.eval()


def drawn(rows: int, seed: int = 0) -> tuple[Rows, Rows]:
    g = torch.Generator().manual_seed(seed)
    features = {s: 3 + 2 * torch.randn(rows, d, generator=g) for s, d in (("image", 4), ("text", 6))}
    return features, {s: torch.ones(rows, dtype=torch.bool) for s in features}


def test_parameters_of_the_study() -> None:
    shape = Shape.of({"image": 1280, "text": 1024}, 101, towers={"image": (128,), "text": (512, 256, 128)})
    counts = [sum(p.numel() for p in layer.parameters(recurse=False)) for layer in TowersHead(shape).modules()]
    assert [count for count in counts if count] == [163_968, 524_800, 131_328, 32_896, 25_957]
    assert sum(counts) == 878_949


def test_hand_made_weights() -> None:
    """One image number, two text numbers, two classes; features are not standardised."""
    head = TowersHead(Shape.of({"image": 1, "text": 2}, 2, towers={"image": (2,), "text": (2, 1)}))
    weights = {
        "towers.image.0.weight": [[1.0], [-1.0]],
        "towers.image.0.bias": [0.5, 0.5],
        "towers.text.0.weight": [[1.0, 1.0], [1.0, -1.0]],
        "towers.text.0.bias": [0.0, 1.0],
        "towers.text.2.weight": [[2.0, 3.0]],
        "towers.text.2.bias": [-4.0],
        "output.weight": [[1.0, 10.0, 100.0], [-1.0, 0.0, 0.5]],
        "output.bias": [0.25, -0.25],
        "log_prior": [-1.0, -2.0],
    }
    assert set(weights) == set(head.state_dict())
    head.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    features = {"image": torch.tensor([[2.0], [-3.0]]), "text": torch.tensor([[1.0, 2.0], [3.0, -1.0]])}
    present = {s: torch.ones(2, dtype=torch.bool) for s in features}
    # Row 0: image relu(2.5, -1.5) = (2.5, 0); text relu(3, 0) = (3, 0), then relu(6 - 4) = 2.
    # Row 1: image relu(-2.5, 3.5) = (0, 3.5); text relu(2, 5) = (2, 5), then relu(4 + 15 - 4) = 15.
    expected = [[2.5 + 200 + 0.25, -2.5 + 1 - 0.25], [35 + 1500 + 0.25, 7.5 - 0.25]]
    assert head(features, present).tolist() == expected


def test_formula() -> None:
    head, (features, _) = made(), drawn(5)
    present = {"image": torch.tensor([1, 1, 0, 1, 0]).bool(), "text": torch.tensor([1, 0, 1, 1, 1]).bool()}
    w = {name: value.double().numpy() for name, value in head.state_dict().items()}
    found = head(features, present)
    for i in range(5):
        parts = {"image": np.zeros(5), "text": np.zeros(8)}
        for s, layers in (("image", (0,)), ("text", (0, 2))):
            if present[s][i]:
                x = features[s][i].double().numpy()
                for n in layers:
                    x = np.maximum(0, w[f"towers.{s}.{n}.weight"] @ x + w[f"towers.{s}.{n}.bias"])
                parts[s] = x
        expected = w["output.weight"] @ np.concatenate([parts["image"], parts["text"]]) + w["output.bias"]
        np.testing.assert_allclose(found[i].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_features_of_a_missing_modality_are_ignored(modality: str) -> None:
    head, (features, present) = made(), drawn(6)
    present[modality] = torch.tensor([1, 0, 1, 0, 1, 0]).bool()
    before = head(features, present)
    after = head(features | {modality: features[modality] + 5}, present)
    assert torch.equal(after[1::2], before[1::2])
    assert (after[0::2] != before[0::2]).any(1).all()


def test_export() -> None:
    head, batch = made(), torch.export.Dim("batch", min=2, max=64)
    sizes = {s: {0: batch} for s in ("image", "text")}
    program = torch.export.export(head, drawn(4), dynamic_shapes=(sizes, sizes))
    features, present = drawn(9)
    present["text"][::2] = False
    present["image"][0] = False
    torch.testing.assert_close(program.module()(features, present), head(features, present))
