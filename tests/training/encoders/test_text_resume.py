"""The weights that are kept: those of the best epoch, also where training was killed and went on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ordered import FEW, VAL, changed, settings, tune, weights
from torch import Tensor

from plait.encoders.text import SentenceEncoder
from plait.training.encoders import text
from plait.training.encoders.text import tune_text


def test_the_best_epoch_is_kept(text_folder: Path) -> None:
    """A training that goes astray: later epochs are worse than the first, whose weights come back."""
    astray = ("lr=0.3", "head_lr=0.3", "epochs=6", "dropout=0")
    tuned = tune(text_folder, *astray)
    losses = [entry["val_loss"] for entry in tuned.curve]
    best = losses.index(min(losses))
    assert best < 5
    assert changed(after_epoch(best, text_folder, *astray), tuned.encoder) == set()


def after_epoch(epoch: int, folder: Path, *train: str) -> SentenceEncoder:
    """Weights as they were after an epoch, taken while training goes on."""
    taken: dict[str, Tensor] = {}

    class Task(text._Task):
        def on_train_epoch_end(self) -> None:
            if self.current_epoch == epoch:
                taken.update({name: value.clone() for name, value in self.model.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_Task", Task)
        encoder = tune(folder, *train).encoder
    encoder.model.load_state_dict(taken)
    return encoder


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from plait.training import loop
sys.path.insert(0, {tests!r})
from ordered import FEW, VAL, settings, tune_text

torch.set_num_threads(1)
write = loop._Checkpoint.on_train_epoch_end

def write_and_die(self, trainer, module):
    write(self, trainer, module)
    os.kill(os.getpid(), signal.SIGKILL)

loop._Checkpoint.on_train_epoch_end = write_and_die
tune_text(FEW, VAL, 2, settings({folder!r}, *{train!r}), checkpoint=Path({checkpoint!r}))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on(text_folder: Path, tmp_path: Path) -> None:
    train = ("tower=lstm", "epochs=3", "lr=1e-3", "head_lr=1e-2", "dropout=0.3")
    checkpoint = tmp_path / "text.ckpt"
    where = {"tests": str(Path(__file__).parent), "folder": str(text_folder), "checkpoint": str(checkpoint)}
    script = KILLED.format(train=train, **where)
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(torch.load(checkpoint, weights_only=True)["callbacks"]["KeepBest"]["curve"]) == 1
    resumed = tune_text(FEW, VAL, 2, settings(text_folder, *train), checkpoint=checkpoint)
    whole = tune_text(FEW, VAL, 2, settings(text_folder, *train))
    assert resumed.curve == whole.curve
    assert changed(resumed.encoder, whole.encoder) == set()
    assert resumed.encoder.fingerprint == whole.encoder.fingerprint


def test_the_last_checkpoint_gives_the_best_weights(text_folder: Path, tmp_path: Path) -> None:
    """Where the best epoch is not the last: the checkpoint's own weights are other ones."""
    config = settings(text_folder, "lr=0.3", "head_lr=0.3", "epochs=6", "dropout=0")
    whole = tune_text(FEW, VAL, 2, config, checkpoint=tmp_path / "text.ckpt")
    written = (tmp_path / "text.ckpt").read_bytes()
    again = tune_text(FEW, VAL, 2, config, checkpoint=tmp_path / "text.ckpt")
    assert (tmp_path / "text.ckpt").read_bytes() == written  # there was nothing left to do
    last = torch.load(tmp_path / "text.ckpt", weights_only=True)["state_dict"]
    best = weights(whole.encoder)
    assert any(not torch.equal(last[f"model.{name}"], value) for name, value in best.items())
    assert changed(again.encoder, whole.encoder) == set()
