"""Which size and which regularisation at which epoch."""

from __future__ import annotations

import pytest

from plait.config import ImageTrainConfig, Stage
from plait.training.encoders.stages import plan, stage_at


def test_the_papers_row_of_efficientnetv2_s() -> None:
    stages = plan(ImageTrainConfig(epochs=10, strength=1.0), 300)
    # Tan & Le 2021, table 6: 128 to 300 px, RandAugment 5 to 15, dropout 0.1 to 0.3; sizes on a grid of 16.
    assert [stage.size for stage in stages] == [128, 192, 240, 300]
    assert [stage.randaugment for stage in stages] == [5, 8, 12, 15]
    assert [stage.dropout for stage in stages] == pytest.approx([0.1, 0.1667, 0.2333, 0.3])
    assert [stage.drop_path for stage in stages] == pytest.approx([0.0, 0.0667, 0.1333, 0.2])
    assert [stage.epochs for stage in stages] == [3, 3, 2, 2]  # the small, fast stages get what is left over


def test_strength_scales_regularisation_and_not_size() -> None:
    full, half = (plan(ImageTrainConfig(epochs=4, strength=s), 64) for s in (1.0, 0.5))
    assert [stage.size for stage in half] == [stage.size for stage in full] == [48, 48, 48, 64]
    assert [stage.dropout for stage in half] == pytest.approx([stage.dropout / 2 for stage in full], abs=1e-4)
    assert plan(ImageTrainConfig(strength=0.0), 64)[-1] == Stage(size=64, epochs=4, crop=1.0)


def test_a_pretrained_network_starts_nearer_to_its_size() -> None:
    asked = ImageTrainConfig(epochs=4, progressive=True)
    new, tuned = (plan(asked, 224, pretrained) for pretrained in (False, True))
    assert [stage.size for stage in new] == [96, 144, 176, 224]
    assert [stage.size for stage in tuned] == [112, 144, 192, 224]


def test_unless_asked_only_random_weights_are_trained_progressively() -> None:
    new, tuned = (plan(ImageTrainConfig(epochs=4), 224, pretrained) for pretrained in (False, True))
    assert new == plan(ImageTrainConfig(epochs=4, progressive=True), 224)
    assert tuned == plan(ImageTrainConfig(epochs=4, progressive=False), 224, pretrained=True)
    assert [stage.size for stage in tuned] == [224]


def test_fixed_size_is_the_last_stage_for_all_epochs() -> None:
    (only,) = plan(ImageTrainConfig(epochs=10, progressive=False), 96)
    last = plan(ImageTrainConfig(epochs=10), 96)[-1]
    assert only == last.model_copy(update={"epochs": 10})


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_few_epochs_end_at_the_full_size(epochs: int) -> None:
    stages = plan(ImageTrainConfig(epochs=epochs), 128)
    assert len(stages) == epochs
    assert stages[-1].size == 128


def test_given_stages_are_taken_as_they_are() -> None:
    given = (Stage(size=40, epochs=1), Stage(size=50, epochs=2, mixup=0.2))
    assert plan(ImageTrainConfig(stages=given, epochs=99), 64) == given


def test_stage_of_an_epoch() -> None:
    stages = (Stage(size=32, epochs=2), Stage(size=64, epochs=1))
    assert [stage_at(stages, epoch).size for epoch in range(5)] == [32, 32, 64, 64, 64]
