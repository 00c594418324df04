"""What one process and two must agree on: run by the test in its own process, and by torchrun in two.

    python -m torch.distributed.run --nproc-per-node 2 tests/training/together.py FOLDER

FOLDER holds the toy encoders; the first process leaves ``found.json`` there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from plait.config import configure  # noqa: E402
from plait.data.pairs import Pairs  # noqa: E402
from plait.encoders.image import load_image_encoder  # noqa: E402
from plait.encoders.text import load_sentence_encoder  # noqa: E402
from plait.features.encode import encode_images, encode_texts  # noqa: E402
from plait.features.store import FeatureStore  # noqa: E402
from plait.fusion.inputs import HeadInputs, logits  # noqa: E402
from plait.matrix import DiskMatrix  # noqa: E402
from plait.processes import count, gathered, is_first, leave  # noqa: E402
from plait.training.encoders.image import tune_image  # noqa: E402
from plait.training.encoders.images import Rows  # noqa: E402
from plait.training.encoders.text import tune_text  # noqa: E402
from plait.training.heads.fitter import Fitter  # noqa: E402
from plait.training.heads.task import Task  # noqa: E402
from telling import accuracy, config, generator, modalities, said  # noqa: E402
from toys import numbered  # noqa: E402

WORDS = ["red soup", "green bowl", "blue dish", "pale stew"]


def task() -> Task:
    g, classes = generator(1), 5
    targets, val = torch.arange(2501) % classes, torch.arange(403) % classes
    inputs = [modalities(said(t, 0.5, classes, g), said(t, 0.8, classes, g)) for t in (targets, val)]
    return Task(inputs[0], targets, torch.arange(2501) // classes % 3, inputs[1], val, classes)


def heads(folder: Path, kind: str) -> dict[str, Any]:
    """Accuracies of each model, and what linear ones answer, with training features in memory or on disk."""
    rows = task()
    if kind == "disk":
        features = {}
        for name, plain in rows.train.features.items():
            features[name] = DiskMatrix.new(folder / f"rows-{name}", *plain.shape)
            features[name].write(0, plain[:].numpy())
        rows = Task(
            HeadInputs(features, rows.train.present), rows.targets, rows.folds, rows.val, rows.val_targets, 5
        )  # fmt: skip
    fitter = Fitter(rows, config(f"head.kind={'mlp' if kind == 'mlp' else 'linear'}", "train.epochs=4"))
    fits = {name: fitter.fit(name) for name in ("image", "text", "late", "early")}
    answers = {name: logits(fit.head, rows.val) for name, fit in fits.items()}
    return {
        "accuracy": {name: accuracy(found, rows.val_targets) for name, found in answers.items()},
        "text": answers["text"].softmax(1)[:20].tolist(),
        "same": equal([digest(fit.head) for fit in fits.values()]),
    }


def encoded(folder: Path) -> dict[str, Any]:
    """Each input once, shared out, and every process reads all of them."""
    settings = configure(overrides=[f"image.model=local-dir:{folder / 'image'}", f"text.model={folder / 'text'}"])
    store = FeatureStore(folder / f"store-{count()}")
    image, text = load_image_encoder(settings.image), load_sentence_encoder(str(folder / "text"), settings.text)
    pictures = encode_images(image, numbered(41), store, batch=4, workers=1)
    texts = encode_texts([text], Pairs.from_columns(texts=[f"{WORDS[i % 4]} {i}" for i in range(41)]), store)
    tables = [len(store.table(path.stem)) for path in sorted((store.folder / "features").glob("*.lance"))]
    shares = gathered((pictures.encoded, texts.encoded))
    return {
        "tables": tables, "shares": shares, "image": pictures.vectors.tolist(), "text": texts.vectors.tolist(),
        "same": equal([hashlib.sha256(x.vectors.tobytes()).hexdigest() for x in (pictures, texts)]),
    }  # fmt: skip


def tuned_image(folder: Path, lr: float) -> dict[str, Any]:
    pictures = numbered(61), numbered(33)
    rows = [Rows(one, torch.arange(len(one)) % 3) for one in pictures]
    overrides = (
        "image.size=32",
        "image.workers=0",
        "image.train.epochs=2",
        "image.train.batch=16",
        "image.train.ema=0",
    )
    settings = configure(overrides=[f"image.model=local-dir:{folder / 'image'}", *overrides, f"image.train.lr={lr}"])
    tuned = tune_image(*rows, 3, settings.image)
    return {"curve": tuned.curve, "same": equal(digest(tuned.model))}


def tuned_text(folder: Path) -> dict[str, Any]:
    data = [([f"{WORDS[i % 4]} {i}" for i in range(n)], torch.arange(n) % 4) for n in (61, 33)]
    overrides = ("text.train.epochs=2", "text.train.batch=8", "text.train.per_class=2", "text.train.hard=0.5")
    settings = configure(overrides=[f"text.model={folder / 'text'}", *overrides])
    tuned = tune_text(*data, 4, settings.text)
    return {"curve": tuned.curve, "same": equal(digest(tuned.encoder.model))}


def digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if value.is_floating_point() and "running" not in name:  # statistics are each process's own
            found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


def equal(value: Any) -> bool:
    """Whether all processes have the same."""
    return all(one == value for one in gathered(value))


def work(folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {
        "memory": heads(folder, "memory"), "disk": heads(folder, "disk"), "mlp": heads(folder, "mlp"),
        "encoded": encoded(folder), "still": tuned_image(folder, 1e-12), "image": tuned_image(folder, 2e-3),
        "text": tuned_text(folder),
    }  # fmt: skip


if __name__ == "__main__":
    results = work(Path(sys.argv[1]))
    if is_first():
        Path(sys.argv[1], "found.json").write_text(json.dumps(results))
    leave()
