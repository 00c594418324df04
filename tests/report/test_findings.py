import numpy as np
import pytest

from plait.data.pairs import Pairs
from plait.report.confusion import confusion_matrix, heat_map, seriate, top_confusions
from plait.report.examples import broken, mended, pick
from plait.report.findings import class_gains, front, overconfidence, roles, verdict
from plait.report.results import Evaluation, ModelResult


def says(answers: list[int], confidence: list[float], k: int = 3) -> ModelResult:
    """A model that gives these answers with these confidences."""
    probabilities = np.repeat((1 - np.array(confidence))[:, None] / (k - 1), k, axis=1)
    probabilities[np.arange(len(answers)), answers] = confidence
    return ModelResult(probabilities.astype(np.float32))


def evaluation(models: dict[str, ModelResult], targets: list[int], k: int = 3) -> Evaluation:
    labels = [f"class {c}" for c in range(k)]
    return Evaluation(
        labels,
        np.array(targets),
        models,
        Pairs.from_columns(texts=[f"row {i}" for i in range(len(targets))], labels=[labels[t] for t in targets]),
    )


#           row: 0    1    2    3    4    5    6    7
TARGETS = [0, 0, 0, 1, 1, 1, 2, 2]
IMAGE = says([1, 0, 1, 1, 1, 0, 0, 2], [0.9] * 8)  # right: 1, 3, 4, 7
TEXT = says([0, 2, 1, 1, 0, 1, 0, 2], [0.8] * 8)  # right: 0, 3, 5, 7 -> ties with image
LATE = says([0, 0, 0, 1, 0, 1, 2, 1], [0.5, 0.6, 0.7, 0.9, 0.75, 0.8, 0.95, 0.6])  # wrong: 4, 7
EARLY = says([1] * 8, [0.6] * 8)
FOUR = evaluation({"image": IMAGE, "text": TEXT, "late": LATE, "early": EARLY}, TARGETS)


def test_roles():
    part = roles(FOUR)
    assert (part.best, part.fusion, part.modalities, part.baseline) == ("late", "late", ("image", "text"), "image")
    alone = roles(evaluation({"run 7": LATE}, TARGETS))
    assert (alone.best, alone.fusion, alone.modalities, alone.baseline) == ("run 7", "run 7", (), None)
    named = roles(evaluation({"x": EARLY, "y": LATE}, TARGETS))
    assert (named.best, named.fusion, named.baseline) == ("y", "y", "x")


def test_mended_rows_start_with_mistakes_of_the_better_modality():
    # A modality wrong and late right: 0, 1, 2, 5, 6. Image wrong: 0, 2, 5, 6; only text wrong: 1.
    # One a class, surest first: 6 (.95), 5 (.8), 2 (.7); then class 0's second, 0 (.5); then 1.
    assert mended(FOUR).tolist() == [6, 5, 2, 0, 1]


def test_broken_rows_are_those_that_a_modality_had_right():
    # Late wrong: 4, 7; image right on both.
    assert broken(FOUR).tolist() == [4, 7]


def test_one_model_shows_its_surest_right_and_wrong_answers():
    alone = evaluation({"run": LATE}, TARGETS)
    assert mended(alone).tolist() == [6, 3, 2, 5, 1, 0]
    assert broken(alone).tolist() == [4, 7]


def test_at_most_twelve_rows_and_ties_by_row():
    many = evaluation({"run": says([0] * 30, [0.9] * 30)}, [0] * 30)
    assert mended(many).tolist() == list(range(12))
    assert broken(many).tolist() == []
    assert pick(many, np.ones(30, bool), {}, shown=2).tolist() == [0, 1]


def test_class_gains_are_held_against_the_better_modality():
    gains = class_gains(FOUR)
    assert [(g.label, g.rows) for g in gains] == [("class 0", 3), ("class 1", 3), ("class 2", 2)]
    assert [g.gain for g in gains] == pytest.approx([2 / 3, 0, 0])
    alone = class_gains(evaluation({"run": LATE}, TARGETS))
    assert [(g.label, g.before) for g in alone] == [("class 0", None), ("class 1", None), ("class 2", None)]


def test_verdict_of_a_lead_that_may_be_chance():
    # Only late is right on 0, 2, 5, 6, only image on 4, 7: p = 2 (1 + 6 + 15) / 64.
    lead, detail = verdict(FOUR)
    assert lead == "late is ahead: 75.0 % right, 25.0 points over image alone. That may be chance."
    assert detail == (
        "95 % interval of the difference: −37.5 to +75.0 points. Only late is right on 4 rows, only image on 2; were "
        "both equally good, chance would set them this far apart, one way or the other, in 69 % of such test sets "
        "(exact McNemar test, p = 0.688)."
    )


def test_verdict_of_a_sure_lead():
    n = 60
    text, late = says([0] * 20 + [1] * 40, [0.9] * n), says([0] * 50 + [1] * 10, [0.9] * n)
    lead, detail = verdict(evaluation({"text": text, "late": late}, [0] * n))
    assert lead == "late is best: 83.3 % right, 50.0 points over text alone."
    assert "Only late is right on 30 rows, only text on 0; " in detail
    assert detail.endswith(" in less than 0.1 % of such test sets (exact McNemar test, p < 0.001).")
    few = says([0] * 26 + [1] * 34, [0.9] * n)  # 6 rows more: p = 2 / 64
    lead, detail = verdict(evaluation({"text": text, "early": few}, [0] * n))
    assert lead == "early is best: 43.3 % right, 10.0 points over text alone."
    assert " in 3.1 % of such test sets (exact McNemar test, p = 0.031)." in detail


def test_verdict_where_fusion_does_not_lead():
    worse = verdict(evaluation({"text": LATE, "early": EARLY}, TARGETS))[0]
    assert worse == "text is ahead: 75.0 % right, 37.5 points over early, the better fusion. That may be chance."
    lead, detail = verdict(evaluation({"text": LATE, "late": LATE}, TARGETS))
    assert lead == "text and late are level: both are right on 75.0 % of the rows."
    assert detail == "They are right on the very same rows."


def test_verdict_of_one_model_has_its_interval():
    lead, detail = verdict(evaluation({"run": LATE}, TARGETS))
    assert lead == "run is right on 75.0 % of the rows."
    assert detail == "95 % interval: 37.5 to 100.0 %."


def test_overconfidence():
    assert overconfidence(FOUR, "image") == pytest.approx(0.4)


def test_confusions():
    counts = confusion_matrix(np.array([1, 0, 2, 2]), np.array([0, 0, 1, 1]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 2], [0, 0, 0]])
    assert top_confusions(counts, ["a", "b", "c"]) == [("b", "c", 2, 1.0), ("a", "b", 1, 0.5)]


def test_confused_classes_stand_side_by_side():
    counts = np.diag([10] * 6)
    for r, c in ((0, 3), (3, 0), (1, 5), (2, 4)):
        counts[r, c] = 6
    order = seriate(counts).tolist()
    assert sorted(order) == list(range(6))
    for r, c in ((0, 3), (1, 5), (2, 4)):
        assert abs(order.index(r) - order.index(c)) == 1


@pytest.mark.parametrize(("k", "drawn"), [(1, 1), (2, 2), (101, 101), (300, 120)])
def test_heat_map_draws_every_class_up_to_its_limit(k, drawn):
    heat = heat_map(np.diag([3] * k), [f"<{c}>" for c in range(k)])
    assert heat.classes == drawn
    assert heat.svg.count('class="r"') == heat.svg.count('class="c"') == drawn
    assert "&lt;0&gt;" in heat.svg
    assert heat.data["totals"] == [3] * drawn


@pytest.mark.parametrize(
    ("costs", "accuracies", "expected"),
    [
        ([10, 12, 22, 20], [0.3, 0.8, 0.9, 0.85], [0, 1, 3, 2]),
        ([10, 12, 22, 20], [0.3, 0.8, 0.85, 0.85], [0, 1, 3]),  # as accurate and dearer
        ([10, 10, 22], [0.3, 0.8, 0.8], [1]),  # as cheap and less accurate, or as accurate and dearer
        ([10, 10], [0.5, 0.5], [0, 1]),
        ([5], [0.1], [0]),
        ([], [], []),
    ],
)
def test_the_pareto_front(costs, accuracies, expected):
    assert front(costs, accuracies) == expected
