"""Images that cannot be read: the lines a user gets, and where it stops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plait.config import configure
from plait.data.images import GONE
from plait.data.pairs import Pairs
from plait.data.unreadable import Problem, Tally
from plait.encoders.image import TimmEncoder
from plait.encoders.pair import EncoderPair
from plait.errors import DataError
from plait.features.encode import encode
from toys import picture

LISTINGS = Pairs.from_columns(texts=["soup"], source="listings.csv")
FROM_A_TABLE = replace(LISTINGS, root="/data/listings", taken={"image": "photo"})


def broken(count: int, reason: str = "not an image", folder: str = "/data") -> list[Problem]:
    return [Problem(f"r{i}", f"{folder}/{i}.jpg", reason) for i in range(count)]


def stopped(tally: Tally, pairs: Pairs, problems: list[Problem], images: int) -> str:
    with pytest.raises(DataError) as caught:
        tally.report(pairs, problems, images)
    return str(caught.value)


def test_below_half_is_a_warning_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    tally.report(LISTINGS, [], 9)
    line = (
        "5 of 10 images cannot be read and count as missing: "
        "row 'r0': image '/data/0.jpg' cannot be read (not an image), "
        "row 'r1': image '/data/1.jpg' cannot be read (not an image), "
        "row 'r2': image '/data/2.jpg' cannot be read (not an image) and 2 more"
    )
    for _ in range(2):
        tally.report(LISTINGS, broken(5), 10)
    assert tally.warnings == [line]
    assert capsys.readouterr().err == f"warning: {line}\n"


def test_strict_stops_at_the_first() -> None:
    remedy = "; mend or remove it, or leave data.strict away to treat it as missing"
    first = "row 'r0': image '/data/0.jpg' cannot be read (not an image)"
    assert stopped(Tally(strict=True), LISTINGS, broken(5), 900) == f"{first} and 4 more{remedy}"
    assert stopped(Tally(strict=True), LISTINGS, broken(1), 900) == f"{first}{remedy}"


def test_more_than_half_names_the_folder_looked_in_and_the_key() -> None:
    gone = broken(980, GONE, "/data/listings/pics")
    assert stopped(Tally(), FROM_A_TABLE, gone, 1000) == (
        "listings.csv: 980 of 1,000 images cannot be read "
        "(first: row 'r0': 'pics/0.jpg': no such file; looked in '/data/listings'); "
        "set the folder they start from with data.root=FOLDER"
    )


def test_another_root_is_no_remedy_for_absolute_paths_and_broken_files() -> None:
    assert stopped(Tally(), FROM_A_TABLE, broken(2, GONE), 3) == (
        "listings.csv: 2 of 3 images cannot be read (first: row 'r0': '/data/0.jpg': no such file); "
        "mend or remove them, or name another column with data.image=COLUMN"
    )
    assert stopped(Tally(), FROM_A_TABLE, broken(2, "not an image", "/data/listings"), 3) == (
        "listings.csv: 2 of 3 images cannot be read (first: row 'r0': '/data/listings/0.jpg': not an image); "
        "mend or remove them, or name another column with data.image=COLUMN"
    )
    assert stopped(Tally(), LISTINGS, broken(2), 2) == (
        "listings.csv: 2 of 2 images cannot be read (first: row 'r0': '/data/0.jpg': not an image); mend or remove them"
    )


def test_a_single_broken_image_is_never_most(capsys: pytest.CaptureFixture[str]) -> None:
    Tally().report(LISTINGS, broken(1), 1)
    assert capsys.readouterr().err.startswith("warning: 1 of 1 images cannot be read and count as missing: row 'r0'")


def test_parts_of_one_source_count_together() -> None:
    """A few held-out rows may have more broken images than not by chance."""
    tally = Tally()
    tally.report(LISTINGS, broken(40), 100)
    tally.report(LISTINGS, broken(6), 10)
    other = replace(LISTINGS, source="test.csv")
    assert stopped(tally, other, broken(6), 10).startswith("test.csv: 6 of 10 images cannot be read (first: ")


def test_missing_files_stop_before_others_are_encoded(
    image_encoder: TimmEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [picture(1), tmp_path / "a.jpg", tmp_path / "b.jpg"]
    pairs = Pairs.from_columns(images, source="three")

    def never(*_: object) -> None:
        raise AssertionError("an image was encoded")

    monkeypatch.setattr(TimmEncoder, "encode", never)
    with pytest.raises(DataError, match=r"^three: 2 of 3 images cannot be read \(first: row '1': "):
        encode(EncoderPair(image_encoder), pairs, configure(overrides=["image.workers=0"]).image)
