import json

import numpy as np
import pytest
from scipy import stats

from plait.data.pairs import Pairs
from plait.errors import DataError
from plait.features.costs import Cost
from plait.report.results import Evaluation, ModelResult
from plait.report.summary import summary
from plait.report.uncertainty import accuracy_interval

KEYS = ["accuracy", "top5", "macro_f1", "ece", "fit_seconds", "interval"]
N = 40
TARGETS = np.arange(N) % 2


def answers(wrong: list[int]) -> np.ndarray:
    given = TARGETS.copy()
    given[wrong] = 1 - given[wrong]
    return given


def model(wrong: list[int], **more: object) -> ModelResult:
    """A model of two classes that errs on these rows."""
    return ModelResult(np.where(answers(wrong)[:, None] == np.arange(2), 0.9, 0.1), **more)  # type: ignore[arg-type]


def evaluation(models: dict[str, ModelResult], **more: object) -> Evaluation:
    pairs = Pairs.from_columns(texts=[f"row {i}" for i in range(N)], labels=[f"c{c}" for c in TARGETS])
    return Evaluation(["c0", "c1"], TARGETS, models, pairs, 90, {"read": 0.12345, "total": 2}, **more)  # type: ignore[arg-type]


def rows(*numbers: int) -> np.ndarray:
    return np.isin(np.arange(N), numbers)


IMAGE, TEXT = model([*range(12)], fit_seconds=1.23456), model([*range(8, 16)])
LATE, EARLY = model([0, 1, 20]), model([0, 1, 2, 3, 20])
FOUR = {"image": IMAGE, "text": TEXT, "late": LATE, "early": EARLY}


def of(source: Evaluation) -> dict:
    return json.loads(json.dumps(summary(source)))


def test_the_keys_of_schema_2():
    got = of(evaluation(FOUR))
    assert list(got) == ["schema", "rows", "classes", "seconds", "models", "fusion"]
    assert got["schema"] == 2
    assert got["rows"] == {"train": 90, "test": N}
    assert got["classes"] == 2
    assert got["seconds"] == {"read": 0.123, "encode_image": 0.0, "encode_text": 0.0, "total": 2.0}
    assert list(got["models"]) == ["image", "text", "late", "early"]
    assert list(got["models"]["image"]) == KEYS
    assert got["models"]["image"]["fit_seconds"] == 1.235
    assert got["models"]["image"]["accuracy"] == 0.7
    assert got["models"]["image"]["interval"] == pytest.approx(accuracy_interval(~rows(*range(12))), abs=1e-6)


def test_the_better_fusion_is_held_against_the_better_modality():
    got = of(evaluation(FOUR))["fusion"]
    assert list(got) == [
        "model", "baseline", "difference", "interval", "p", "only_fusion_right", "only_baseline_right",
    ]  # fmt: skip
    # late errs on 0, 1, 20; text on 8 to 15
    assert (got["model"], got["baseline"], got["difference"]) == ("late", "text", 0.125)
    assert (got["only_fusion_right"], got["only_baseline_right"]) == (8, 3)
    assert got["p"] == pytest.approx(stats.binomtest(8, 11).pvalue, rel=1e-5)
    low, high = got["interval"]
    assert low < 0.125 < high


@pytest.mark.parametrize("names", [["image", "text"], ["late", "early"], ["late"], ["run", "early"]])
def test_no_fusion_figure_without_a_fusion_and_a_single_modality(names):
    assert list(of(evaluation(dict.fromkeys(names, LATE)))) == ["schema", "rows", "classes", "seconds", "models"]


def test_repeated_rows_are_counted_and_accuracy_is_given_on_the_others():
    got = of(evaluation(FOUR, repeated={"text": rows(0, 1, 2, 30), "image": rows(2, 3)}))
    assert got["repeated"] == {"text": 4, "image": 2, "any": 5}
    assert list(got["models"]["late"]) == [*KEYS, "fresh"]
    fresh = got["models"]["late"]["fresh"]
    assert list(fresh) == ["rows", "accuracy", "interval"]
    assert (fresh["rows"], fresh["accuracy"]) == (35, round(34 / 35, 6))  # 20 is wrong
    assert fresh["interval"] == pytest.approx(accuracy_interval(np.arange(35) > 0), abs=1e-6)
    assert got["models"]["late"]["accuracy"] == 0.925  # the main figure is of all rows


def test_where_every_row_is_repeated_there_is_no_figure_of_new_ones():
    got = of(evaluation(FOUR, repeated={"text": np.ones(N, bool), "image": rows()}))
    assert got["repeated"] == {"text": N, "image": 0, "any": N}
    assert got["models"]["text"]["fresh"] == {"rows": 0, "accuracy": None, "interval": None}


def test_seen_rows_are_a_figure_of_their_own():
    seen = rows(0, 1, 20, 21)
    got = of(evaluation(FOUR, seen=seen, repeated={"text": rows(0, 2, 3), "image": rows(1)}))
    assert got["rows"]["test"] == N
    assert got["seen"] == {"rows": 4, "scored": 36}
    assert got["models"]["late"]["accuracy"] == 1.0
    assert got["models"]["late"]["seen"] == {"rows": 4, "accuracy": 0.25}
    assert got["models"]["image"]["accuracy"] == round(26 / 36, 6)
    assert got["fusion"]["only_fusion_right"] == 8
    assert got["fusion"]["only_baseline_right"] == 0
    assert got["repeated"] == {"text": 2, "image": 0, "any": 2}  # of the rows that figures are of
    assert got["models"]["early"]["fresh"]["rows"] == 34


def test_where_every_row_was_seen_figures_are_of_all():
    plain = of(evaluation(FOUR))
    got = of(evaluation(FOUR, seen=np.ones(N, bool)))
    assert got["seen"] == {"rows": N, "scored": N}
    assert {key: got["models"]["late"][key] for key in KEYS} == plain["models"]["late"]
    assert got["models"]["late"]["seen"] == {"rows": N, "accuracy": 0.925}
    assert of(evaluation(FOUR, seen=rows())) == plain  # none seen: nothing to say


def test_the_spread_over_seeds_is_a_sample_standard_deviation():
    trained = model([0, 1], further=[answers([0]), answers([*range(6)])])
    got = of(evaluation({"late": trained}))["models"]["late"]
    assert list(got) == [*KEYS, "seeds"]
    shares = [0.95, 0.975, 0.85]
    assert got["accuracy"] == 0.95
    assert got["seeds"] == {
        "n": 3,
        "mean": round(float(np.mean(shares)), 6),
        "std": round(float(np.std(shares, ddof=1)), 6),
        "accuracies": shares,
    }
    unseen = of(evaluation({"late": trained}, seen=rows(0, 39)))["models"]["late"]["seeds"]
    assert unseen["accuracies"] == [round(37 / 38, 6), 1.0, round(33 / 38, 6)]


def test_cost_stands_beside_the_figures_of_the_models_whose_cost_is_known():
    cost = Cost(23_310_546, 92_840_123, 0.01124871, 0.0021, earlier=True)
    dear = model([0, 1], cost=cost, fit_seconds=1.5, tuning_seconds=600.25)
    got = of(evaluation({"image": IMAGE, "late": dear}, unmeasured=["lite0"]))
    assert list(got["models"]["image"]) == KEYS
    assert list(got["models"]["late"]) == [*KEYS, "cost"]
    assert got["models"]["late"]["cost"] == {
        "parameters": 23_310_546,
        "megabytes": 92.84,
        "milliseconds": 11.2487,
        "rows_per_second": 476.19,
        "training_seconds": 601.75,
        "encoding": "earlier",
    }
    assert got["models"]["late"]["fit_seconds"] == 1.5
    assert got["unmeasured"] == ["lite0"]


def test_no_rows_are_refused():
    empty = Evaluation(["a"], np.zeros(0, int), {"run": ModelResult(np.zeros((0, 1)))}, Pairs.from_columns())
    with pytest.raises(DataError, match="no labelled rows"):
        summary(empty)
