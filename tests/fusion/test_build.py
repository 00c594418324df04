from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from plait.fusion.build import EARLY, MODELS, HeadSpec, build, early_head, strands_of
from plait.fusion.calibration import Calibrated
from plait.fusion.late import KINDS
from plait.fusion.strand import Shape

SHAPE = Shape.of({"image": 5, "text": 7}, 4, hidden=8)
MLP = Shape.of({"image": 5, "text": 7}, 4, kind="mlp", hidden=8, dropout=0.25)
TOWERS = Shape.of({"image": 5, "text": 7}, 4, towers={"image": (6,), "text": (8, 6)}, tower_dropout=0.15)
SPECS = [
    HeadSpec("image", SHAPE),
    HeadSpec("text", MLP),
    *(HeadSpec("late", SHAPE, kind) for kind in KINDS),
    HeadSpec("late", MLP),
    HeadSpec("early", SHAPE),
    HeadSpec("early", TOWERS, early="towers"),
    HeadSpec("early", TOWERS, early="huse"),
]
NAMES = [f"{spec.model}-{spec.late}-{spec.early}-{spec.shape.kind}" for spec in SPECS]


def filled(spec: HeadSpec) -> Calibrated:
    """A head whose every weight and buffer is as if fitted."""
    head, g = build(spec), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in head.state_dict().values():
            value.copy_(torch.rand(value.shape, generator=g) + 0.1)
    return head.eval()


def rows(n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(n)
    features = {"image": torch.randn(n, 5, generator=g), "text": torch.randn(n, 7, generator=g)}
    return features, {s: torch.rand(n, generator=g) < 0.6 for s in features}


def test_strands_of() -> None:
    assert {model: strands_of(model) for model in MODELS} == {
        "image": ("image",),
        "text": ("text",),
        "late": ("image", "text"),
        "early": ("image", "text"),
    }


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_spec_survives_json(spec: HeadSpec) -> None:
    values = json.loads(json.dumps(spec.as_json()))
    assert HeadSpec.from_json(values) == spec


def test_json_of_older_runs_is_read() -> None:
    """Before towers and HUSE the only early fusion was the MLP, and its shape told how often a strand was hidden."""
    old = {
        "model": "early",
        "late": "product",
        "shape": {
            "dims": {"image": 5, "text": 7},
            "classes": 4,
            "kind": "linear",
            "hidden": 8,
            "dropout": 0.25,
            "strand_dropout": 0.2,
        },
    }
    spec = HeadSpec.from_json(old)
    assert spec == HeadSpec("early", Shape.of({"image": 5, "text": 7}, 4, hidden=8, dropout=0.25), "product", "mlp")
    assert old["shape"]["strand_dropout"] == 0.2  # type: ignore[index]
    assert isinstance(build(spec).head, EARLY["mlp"])


@pytest.mark.parametrize("kind", EARLY)
def test_the_kind_decides_the_head(kind: str) -> None:
    spec = HeadSpec("early", TOWERS, early=kind)
    assert type(build(spec).head) is type(early_head(kind, TOWERS)) is EARLY[kind]


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_a_head_built_again_takes_the_weights_and_answers_the_same(spec: HeadSpec) -> None:
    head = filled(spec)
    again = build(HeadSpec.from_json(spec.as_json()))
    again.load_state_dict(head.state_dict())
    features, present = rows(9)
    assert torch.equal(again.eval()(features, present), head(features, present))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "lat"}, ValueError, "no model 'lat'"),
        ({"late": "meen"}, ValueError, "no late fusion 'meen'"),
        ({"early": "tower"}, ValueError, "no early fusion 'tower'"),
        ({"shape": {"dims": {}, "klasses": 3}}, TypeError, "klasses"),
        ({"shape": 3}, TypeError, "mapping"),
    ],
)
def test_other_json_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HeadSpec.from_json(SPECS[0].as_json() | change)


@pytest.mark.parametrize("key", ["model", "late", "shape"])
def test_json_without_a_key_is_refused(key: str) -> None:
    values = SPECS[0].as_json()
    del values[key]
    with pytest.raises(KeyError, match=key):
        HeadSpec.from_json(values)


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_every_head_survives_export(spec: HeadSpec) -> None:
    """Exported once, a head answers the same for batches of other sizes, rows with missing strands included."""
    head, batch = filled(spec), torch.export.Dim("batch", min=2, max=1024)
    features, present = rows(6)
    sizes = {s: {0: batch} for s in features} if len(strands_of(spec.model)) == 2 else None
    if sizes is None:  # a head of one strand is exported with that strand only
        features, present = {spec.model: features[spec.model]}, {spec.model: present[spec.model]}
        sizes = {spec.model: {0: batch}}
    program = torch.export.export(head, (features, present), dynamic_shapes=(sizes, sizes))
    for n in (6, 2, 33):
        features, present = ({s: x for s, x in part.items() if s in sizes} for part in rows(n))
        torch.testing.assert_close(program.module()(features, present), head(features, present))
