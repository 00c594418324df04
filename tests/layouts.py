"""The same rows in every layout that a source may have."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

from plait.data.pairs import Pairs
from plait.report.write import write_pairs


def contents(pairs: Pairs) -> list[tuple[bytes, str, str]]:
    """Image, text and label of each row."""
    images = [ref.load() if ref is not None else b"" for ref in pairs.images()]
    return [(i, t or "", str(label)) for i, t, label in zip(images, pairs.texts, pairs.labels, strict=True)]


def as_table(pairs: Pairs, file: Path) -> Path:
    write_pairs(pairs, file)
    return file


def as_csv(pairs: Pairs, file: Path) -> Path:
    """A table beside a folder of its images."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["photo", "title", "category"])
        for row, (image, text, label) in enumerate(contents(pairs)):
            put(file.parent / "photos" / f"{row}.png", image)
            writer.writerow([f"photos/{row}.png" if image else "", text, label])
    return file


def as_class_folder(splits: dict[str, Pairs], folder: Path) -> Path:
    """``<split>/<class>/<n>.png``, without titles; split ``""``: no split folders."""
    for split, pairs in splits.items():
        for row, (image, _, label) in enumerate(contents(pairs)):
            put(folder / split / label / f"{row}.png", image)
    return folder


def put(file: Path, image: bytes) -> None:
    """Write an image where there is one."""
    if image:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)


def as_kaggle(splits: dict[str, Pairs], folder: Path) -> Path:
    """UPMC Food-101 as on Kaggle."""
    numbers: Counter[str] = Counter()
    (folder / "texts").mkdir(parents=True)
    for split, pairs in splits.items():
        lines = []
        for image, text, label in contents(pairs):
            name = f"{label}_{numbers[label]}.jpg"
            numbers[label] += 1
            put(folder / "images" / split / label / name, image)
            lines.append(f"{name},{text},{label}")
        (folder / "texts" / f"{split}_titles.csv").write_text("\n".join(lines), "utf-8")
    return folder


def as_mmbt(splits: dict[str, Pairs], folder: Path) -> Path:
    """UPMC Food-101 as MMBT has it."""
    for split, pairs in splits.items():
        lines = []
        for row, (image, text, label) in enumerate(contents(pairs)):
            file = folder / "images" / split / f"{row}.png"
            put(file, image)
            name = file.relative_to(folder).as_posix()
            lines.append(json.dumps({"id": f"{split}-{row}", "label": label, "text": text, "img": name}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines), "utf-8")
    return folder
