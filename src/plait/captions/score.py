"""How good captions are: CIDEr against the texts that people wrote, and how many of them differ from one another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import ConfigError

WORD = re.compile(r"\w+")
COMMON = 0.5  # share of the rows with one and the same caption from which on captions have collapsed
LEAST = 0.1  # of the share of distinct texts that people wrote, below which captions have collapsed


@dataclass(frozen=True)
class Score:
    """Of the captions of N images.

    Attributes:
        cider: CIDEr (Vedantam et al. 2015), 0 to 10. distinct: share of captions that differ, 0 to 1.
        wanted: share of distinct texts that people wrote. common: the most frequent caption, of `times` images.
    """

    cider: float
    distinct: float
    wanted: float
    common: str
    times: int
    rows: int

    @property
    def collapsed(self) -> bool:
        """Whether the captions say (nearly) the same of every image, though people's texts do not."""
        return self.rows > 1 and self.wanted > self.distinct and (
            self.times > COMMON * self.rows or self.distinct < LEAST * self.wanted
        )  # fmt: skip

    def alarm(self, lr: float) -> str:
        """What to say of captions that have collapsed."""
        return (
            f"captions have collapsed: {self.times:,} of {self.rows:,} validation images get '{self.common}'; lower "
            f"caption.lr (it is {lr:g}), tune by LoRA (caption.lora=8), or give more rows with texts that differ"
        )


def score(captions: Sequence[str], texts: Sequence[str]) -> Score:
    """Hold captions against the texts of the same images, in the same order.

    Raises:
        ConfigError: the package that counts CIDEr is missing. ValueError: no captions, or not as many as texts.
    """
    if not captions or len(captions) != len(texts):
        raise ValueError(f"{len(captions)} captions of {len(texts)} texts")
    said, wanted = [words(one) for one in captions], [words(one) for one in texts]
    common, times = Counter(said).most_common(1)[0]
    distinct, theirs = (len(set(some)) / len(some) for some in (said, wanted))
    return Score(cider(said, wanted), distinct, theirs, common, times, len(said))


def cider(captions: Sequence[str], texts: Sequence[str]) -> float:
    """Mean CIDEr of captions by the COCO evaluation's code, each against its one text; see `words`."""
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        raise ConfigError("captions are judged by CIDEr; pip install 'plait[captions]'") from None
    found, _ = Cider().compute_score(
        {i: [text] for i, text in enumerate(texts)}, {i: [caption] for i, caption in enumerate(captions)}
    )
    return float(found)


def words(text: str) -> str:
    """Words in lower case without punctuation, one space apart, as the COCO evaluation has them."""
    return " ".join(WORD.findall(text.lower()))
