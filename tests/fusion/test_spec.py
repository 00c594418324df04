from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from whole import NAMES, POOLED, SPECS, TALL, filled, rows

from plait.errors import RunError
from plait.fusion.early import EARLY
from plait.fusion.late import LateFusion
from plait.fusion.spec import MODELS, HeadSpec, build_model, early_head, modalities_of


def test_modalities_of() -> None:
    assert {model: modalities_of(model) for model in MODELS} == {
        "image": ("image",),
        "text": ("text",),
        "late": ("image", "text"),
        "early": ("image", "text"),
    }


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_spec_survives_json(spec: HeadSpec) -> None:
    values = json.loads(json.dumps(spec.as_json()))
    assert HeadSpec.from_json(values) == spec


def test_json_of_older_runs_is_refused_with_the_remedy() -> None:
    old = {
        "model": "early", "late": "product", "early": "mlp",
        "shape": {"dims": {"image": 5, "text": 7}, "classes": 4, "kind": "linear", "hidden": 8, "dropout": 0.25},
    }  # fmt: skip
    with pytest.raises(RunError) as caught:
        HeadSpec.from_json(old)
    assert str(caught.value) == "its head is of an older plait, which answered without experts; fit it anew"


@pytest.mark.parametrize("kind", EARLY)
def test_the_kind_decides_the_head(kind: str) -> None:
    model = build_model(HeadSpec("early", TALL, POOLED, early=kind))
    assert type(model.fusion) is type(early_head(kind, TALL)) is EARLY[kind]
    assert set(model.heads) == {"image", "text"}


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_a_model_has_the_experts_of_its_spec(spec: HeadSpec) -> None:
    model = build_model(spec)
    counts = {modality: len(experts) for modality, experts in spec.experts.items()}
    assert {modality: len(head.experts) for modality, head in model.heads.items()} == counts
    if spec.model == "late":
        assert isinstance(model.fusion, LateFusion)
        assert model.fusion.kind == spec.late
        assert len(model.fusion.exponents) == sum(counts.values())
    assert (model.fusion is None) == (spec.model in ("image", "text"))


@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_a_head_built_again_takes_the_weights_and_answers_the_same(spec: HeadSpec) -> None:
    head = filled(spec)
    again = build_model(HeadSpec.from_json(spec.as_json()))
    again.load_state_dict(head.state_dict())
    features, present = rows(9)
    assert torch.equal(again.eval()(features, present), head(features, present))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "lat"}, ValueError, "no model 'lat'"),
        ({"late": "meen"}, ValueError, "no late fusion 'meen'"),
        ({"early": "tower"}, ValueError, "no early fusion 'tower'"),
        ({"shape": SPECS[0].as_json()["shape"] | {"klasses": 3}}, TypeError, "klasses"),
        ({"shape": 3}, TypeError, "mapping"),
        ({"experts": {"image": [{"scores": [0]}]}}, KeyError, "dense"),
    ],
)
def test_other_json_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HeadSpec.from_json(SPECS[0].as_json() | change)


@pytest.mark.parametrize("key", ["model", "late", "early", "shape"])
def test_json_without_a_key_is_refused(key: str) -> None:
    values = SPECS[0].as_json()
    del values[key]
    with pytest.raises(KeyError, match=key):
        HeadSpec.from_json(values)


@pytest.mark.parametrize("mean", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["weighted", "mean"])
@pytest.mark.parametrize("spec", SPECS, ids=NAMES)
def test_every_head_survives_export(spec: HeadSpec, mean: bool) -> None:
    """Exported once, a head answers the same for batches of other sizes, rows with missing modalities included."""
    head, batch = filled(spec, mean), torch.export.Dim("batch", min=2, max=1024)
    modalities = modalities_of(spec.model)  # a head of one modality is exported with that modality only
    features, present = ({s: part[s] for s in modalities} for part in rows(6))
    sizes = {s: {0: batch} for s in modalities}
    exported = torch.export.export(head, (features, present), dynamic_shapes=(sizes, sizes)).module()
    for n in (6, 2, 33):
        features, present = ({s: part[s] for s in modalities} for part in rows(n))
        torch.testing.assert_close(exported(features, present), head(features, present))
