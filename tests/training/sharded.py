"""Text encoders tuned by processes that share out the network: run by torchrun, and by the test in its own process.

    python -m torch.distributed.run --nproc-per-node 2 tests/training/sharded.py FOLDER

FOLDER holds the toy encoder; the first process leaves ``sharded.json`` there, and each checkpoint.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from plait.config import configure  # noqa: E402
from plait.data.text_pairs import TextPairs  # noqa: E402
from plait.processes import gathered, is_first, leave  # noqa: E402
from plait.training import loop  # noqa: E402
from plait.training.encoders.text import TunedText, tune_text  # noqa: E402
from plait.training.encoders.text_pairs import tune_text_pairs  # noqa: E402

WORDS = ["red soup", "green bowl", "blue dish", "pale stew"]
KINDS = {"whole": (), "adapters": ("lora=2",), "lstm": ("tower=lstm", "lstm_hidden=4"), "upper": ("layers=1",)}


def settings(folder: Path, *more: str) -> Any:
    quick = ("epochs=4", "batch=8", "per_class=1", "dropout=0", "precision=32", "patience=9")
    sets = [f"text.train.{one}" for one in (*quick, *more)]
    return configure(overrides=[f"text.model={folder / 'text'}", *sets]).text


def labelled(rows: int) -> Any:
    return [f"{WORDS[i % 4]} {'long ' * (i % 5)}{i}" for i in range(rows)], torch.arange(rows) % 4


def trained(folder: Path, *more: str, checkpoint: Path | None = None) -> TunedText:
    return tune_text(labelled(61), labelled(33), 4, settings(folder, *more), checkpoint=checkpoint)


def pairs(folder: Path, *more: str) -> TunedText:
    texts = labelled(61)[0]
    scores = np.linspace(0, 1, 61).astype(np.float32)
    rows = TextPairs(texts, texts[1:] + texts[:1], scores)
    return tune_text_pairs(rows, rows, settings(folder, *more))


def told(tuned: TunedText) -> dict[str, Any]:
    vectors = tuned.encoder.encode(["green bowl 5", "stew"]).tolist()
    assert all(one == vectors for one in gathered(vectors))
    return {"curve": tuned.curve, "vectors": vectors}


class CopiesCheckpoints(loop._Checkpoint):
    """Keeps the one of each epoch."""

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        super().on_train_epoch_end(trainer, module)
        if is_first():
            shutil.copy(self.path, self.path.with_name(f"{self.path.stem}-{trainer.current_epoch + 1}.ckpt"))


def work(folder: Path, shard: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    loop._Checkpoint = CopiesCheckpoints  # type: ignore[misc]
    found = {name: told(trained(folder, shard, *more)) for name, more in KINDS.items()}
    found["pairs"] = told(pairs(folder, shard))
    found["kept"] = told(trained(folder, shard, checkpoint=folder / f"{shard}.ckpt"))
    return found


if __name__ == "__main__":
    here = Path(sys.argv[1])
    results = {shard: work(here, shard) for shard in ("shard=false", "shard=true")}
    for kind, part in results.items():
        part["gone on"] = told(trained(here, kind, checkpoint=here / f"{kind}-from-one.ckpt"))
    if is_first():
        (here / "sharded.json").write_text(json.dumps(results))
    leave()
