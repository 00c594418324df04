"""What the side of the image network's input costs and gives, on a fifth of the training rows held out.

    python -m benchmarks.sizes food_pairs_train.parquet 96 128 160 192
    python -m benchmarks.sizes fashion_train.parquet 160 --modes squash border center

Prints, for each side in pixels and each way with pictures that are not square (``image.crop_mode``), CPU seconds a
thousand pictures, and the accuracy and the mean negative log-likelihood of a logistic regression.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import product

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import plait
from plait.config import configure
from plait.data.pairs import Pairs
from plait.encoders.image import load_image_encoder
from plait.features.encode import encode_images

LEAST = 5  # rows of a class that counts
STRENGTH = 3e-3  # C of the regression on standardised features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--modes", nargs="+", default=["squash"], help="values of image.crop_mode")
    parser.add_argument("--rows", type=int, default=9000)
    options = parser.parse_args()
    pairs = some(plait.read(options.data), options.rows)
    for size, mode in product(options.sizes, options.modes):
        asked = [f"image.model={options.model}", f"image.size={size}", f"image.crop_mode={mode}"]
        encoder, start = load_image_encoder(configure(overrides=asked).image), time.process_time()
        features = encode_images(encoder, pairs, workers=1).vectors
        seconds = 1000 * (time.process_time() - start) / len(pairs)
        right, loss = judged(features, pairs)
        print(f"{size:4} px {mode:6} {seconds:6.2f} CPU s a thousand {100 * right:6.2f} % {loss:7.4f}", flush=True)


def some(pairs: Pairs, rows: int) -> Pairs:
    """Rows with an image, of classes that are not too rare, drawn with a fixed seed."""
    counts = Counter(pairs.labels)
    known = [row for row in np.flatnonzero(pairs.has_image) if counts[pairs.labels[row]] >= LEAST]
    return pairs.select(np.random.default_rng(0).permutation(known)[:rows])


def judged(features: np.ndarray, pairs: Pairs) -> tuple[float, float]:
    """Accuracy and mean negative log-likelihood of a regression on four fifths of the rows, on the others."""
    labels = np.array(pairs.labels)
    train, held = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0)
    held = held[np.isin(labels[held], labels[train])]  # of another class no answer could be right
    scaled = (features - features[train].mean(0)) / (features[train].std(0) + 1e-6)
    fitted = LogisticRegression(C=STRENGTH, max_iter=150).fit(scaled[train], labels[train])
    said = fitted.predict_proba(scaled[held])
    right = fitted.classes_[said.argmax(1)] == labels[held]
    return float(right.mean()), float(log_loss(labels[held], said, labels=fitted.classes_))


if __name__ == "__main__":
    main()
