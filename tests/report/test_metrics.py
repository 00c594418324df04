import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from plait.errors import DataError
from plait.report.metrics import calibration_error, metrics, per_class_accuracy, reliability

# Answers 0, 0, 1, 1 for the true classes 0, 1, 1, 0: two of four right, one of two in each class.
PROBABILITIES = np.array([[0.9, 0.1, 0], [0.7, 0.3, 0], [0.4, 0.6, 0], [0.2, 0.8, 0]], dtype=np.float32)
TARGETS = np.array([0, 1, 1, 0])


def some(n: int = 400, k: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, k)) * 2
    targets = random.integers(0, k - 2, n)  # the last two classes have no rows
    logits[np.arange(n), targets] += 2
    exp = np.exp(logits)
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32), targets


def test_exact_values_on_four_rows():
    got = metrics(PROBABILITIES, TARGETS)
    # bins (high end): .9 -> right, .7 -> wrong, .6 -> right, .8 -> wrong; gaps .1, .7, .4, .8 of a quarter each
    assert got == {"accuracy": 0.5, "top5": 1.0, "macro_f1": 0.5, "ece": pytest.approx(0.5, abs=1e-6)}


def test_ece_by_hand_where_rows_share_a_bin():
    top = np.array([0.95, 0.97, 0.99, 0.55])
    probabilities = np.column_stack([top, 1 - top])
    targets = np.array([0, 1, 0, 0])
    by_hand = 3 / 4 * abs((0.95 + 0.97 + 0.99) / 3 - 2 / 3) + 1 / 4 * abs(0.55 - 1)
    assert calibration_error(probabilities, targets) == pytest.approx(by_hand)


def test_certain_rows_fall_into_the_last_bin():
    rows, confidence, accuracy = reliability(np.array([[1.0, 0.0], [0.98, 0.02]]), np.array([0, 1])).T
    assert rows.tolist() == [0] * 14 + [2]
    assert confidence[-1] == pytest.approx(0.99)
    assert accuracy[-1] == 0.5
    assert np.isnan(confidence[0])


def test_agrees_with_scikit_learn():
    probabilities, targets = some()
    answers = probabilities.argmax(1)
    got = metrics(probabilities, targets)
    assert got["accuracy"] == pytest.approx(accuracy_score(targets, answers), abs=1e-6)
    assert got["macro_f1"] == pytest.approx(f1_score(targets, answers, average="macro"), abs=1e-6)
    top5 = top_k_accuracy_score(targets, probabilities, k=5, labels=range(probabilities.shape[1]))
    assert got["top5"] == pytest.approx(top5, abs=1e-6)


def test_ece_agrees_with_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, targets = some()
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(targets), 12, n_bins=15)
    assert metrics(probabilities, targets)["ece"] == pytest.approx(float(expected), abs=1e-5)


def test_probabilities_a_hair_above_one_are_taken_as_they_are():
    probabilities = np.array([[1.0000001, 0.0], [0.0, 1.0000001]], dtype=np.float32)
    assert metrics(probabilities, np.array([0, 1]))["ece"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("k", [1, 2])
def test_few_classes(k):
    got = metrics(np.full((3, k), 1 / k), np.zeros(3, dtype=int))
    assert got["accuracy"] == got["top5"] == got["macro_f1"] == 1.0


def test_no_rows_and_nonsense_are_refused():
    with pytest.raises(DataError, match="no labelled rows to score"):
        metrics(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="NaN"):
        metrics(np.full((2, 2), np.nan), np.array([0, 1]))
    with pytest.raises(ValueError, match="outside"):
        metrics(np.full((2, 2), 0.5), np.array([0, 2]))
    with pytest.raises(ValueError, match=r"not \(N, K\)"):
        metrics(np.full((2, 2), 0.5), np.array([0]))


def test_per_class_accuracy_is_nan_for_an_absent_class():
    np.testing.assert_array_equal(per_class_accuracy(PROBABILITIES, TARGETS, 3), [0.5, 0.5, np.nan])
