from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from plait.data.pairs import Pairs
from plait.encoders.image import TimmEncoder
from plait.encoders.text import SentenceEncoder
from plait.encoders.tfidf import fit_tfidf
from plait.features import costs
from plait.features.costs import Cost, Costs, alone_seconds, evenly, size_of
from plait.features.encode import encode_images, encode_texts
from plait.features.store import FeatureStore
from toys import numbered


def bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_costs_of_parts_add_up() -> None:
    whole = Cost(1000, 4_000_000, 0.0125, 0.002) + Cost(24, 500_000, 0.0075, 0.003, earlier=True)
    assert whole == Cost(1024, 4_500_000, 0.02, 0.005, earlier=True)
    assert (whole.milliseconds, whole.megabytes, whole.rows_per_second) == (20.0, 4.5, 200.0)


def test_what_is_encoded_is_measured_and_kept(
    image_encoder: TimmEncoder, text_encoder: SentenceEncoder, store: FeatureStore, tmp_path: Path
) -> None:
    encode_images(image_encoder, numbered(40), store, workers=0)
    encode_texts([text_encoder], numbered(40), store)
    for encoder in (image_encoder, text_encoder):
        cost = store.costs.of(encoder)
        assert cost is not None
        encoder.save(tmp_path / encoder.modality)
        assert cost.parameters == sum(one.numel() for one in encoder.model.parameters())
        assert cost.size == bytes_below(tmp_path / encoder.modality)
        assert cost.alone > 0
        assert cost.batched > 0
        assert not cost.earlier
        known = FeatureStore(store.folder).costs.of(encoder)
        assert known == Cost(cost.parameters, cost.size, cost.alone, cost.batched, earlier=True)


def test_features_are_the_same_with_and_without_a_measurement(image_encoder: TimmEncoder, store: FeatureStore) -> None:
    measured, plain = encode_images(image_encoder, numbered(5), store), encode_images(image_encoder, numbered(5))
    np.testing.assert_array_equal(measured.vectors, plain.vectors)
    assert measured.encoded == 5


def test_few_new_rows_do_not_replace_what_is_known(text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    rows = numbered(80)
    encode_texts([text_encoder], rows.select(range(3)), store)  # few, but nothing is known
    first = store.costs.of(text_encoder)
    again = FeatureStore(store.folder)
    encode_texts([text_encoder], rows.select(range(10)), again)
    assert again.costs.of(text_encoder) == Cost(**{**vars(first), "earlier": True})
    encode_texts([text_encoder], rows.select(range(42)), again)  # 32 more
    new = again.costs.of(text_encoder)
    assert new is not None
    assert not new.earlier
    encode_texts([text_encoder], rows, again)  # once a run
    assert again.costs.of(text_encoder) is new


def test_tfidf_is_measured_in_every_run_and_not_kept(store: FeatureStore, tmp_path: Path) -> None:
    texts = ["red soup", "green bowl", "fresh green soup", "blue dish"]
    encoder = fit_tfidf(texts, dim=2).with_scores(np.ones((len(fit_tfidf(texts, dim=2).vocabulary), 3), np.float32))
    encode_texts([encoder], Pairs.from_columns(texts=texts), store)
    cost = store.costs.of(encoder)
    assert cost is not None
    encoder.save(tmp_path / "tfidf")
    terms = len(encoder.vocabulary)
    assert cost.parameters == terms + terms * (2 + 3)
    assert cost.size == bytes_below(tmp_path / "tfidf")
    assert FeatureStore(store.folder).costs.of(encoder) is None


def test_without_a_store_nothing_is_measured(image_encoder: TimmEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Costs, "measured", None)
    assert encode_images(image_encoder, numbered(2)).encoded == 2


def test_pictures_that_cannot_be_read_measure_nothing(image_encoder: TimmEncoder, store: FeatureStore) -> None:
    encode_images(image_encoder, Pairs.from_columns([b"no picture", b"nor this"]), store)
    assert store.costs.of(image_encoder) is None


@pytest.mark.parametrize("content", ["", "[]", '{"machine": "here"}', '{"parameters": 1}'])
def test_a_damaged_note_is_none(content: str, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "machine", lambda: "here")
    store.costs.folder.mkdir(parents=True)
    (store.costs.folder / "abc.json").write_text(content)
    assert store.costs.of(SimpleNamespace(fingerprint="abc")) is None  # type: ignore[arg-type]


def test_times_of_another_machine_are_not_taken(text_encoder: SentenceEncoder, store: FeatureStore) -> None:
    encode_texts([text_encoder], numbered(3), store)
    (note,) = store.costs.folder.iterdir()
    assert note.name == f"{text_encoder.fingerprint}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"machine": "another"}))
    assert FeatureStore(store.folder).costs.of(text_encoder) is None


def test_the_quickest_of_a_few_calls_after_one_that_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now, called = [0.0], []
    durations = {"a": 9.0, "b": 4.0, "c": 2.0}
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])

    def call(name: str) -> None:
        called.append(name)
        now[0] += durations[name] / 1000

    assert alone_seconds([lambda: call("a"), lambda: call("b"), lambda: call("c")]) == pytest.approx(0.002)
    assert called == ["a", *("abc" * 3)]
    called.clear()
    durations["a"] = 400.0
    assert alone_seconds([lambda: call("a")]) == pytest.approx(0.4)
    assert called == ["a"] * 4  # three at least, however long they take


def test_a_very_large_encoder_is_not_written_to_be_weighed() -> None:
    class Large:
        def save(self, folder: Path) -> None:
            raise AssertionError(folder)

    assert size_of(Large(), 7_000_000_000) == 28_000_000_000  # type: ignore[arg-type]


def test_evenly() -> None:
    assert evenly(range(100), 4) == [0, 25, 50, 75]
    assert evenly("abc") == ["a", "b", "c"]
    assert evenly([]) == []
