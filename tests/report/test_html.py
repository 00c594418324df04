import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plait.data.pairs import Pairs
from plait.errors import DataError, PlaitError
from plait.features.costs import Cost
from plait.report.html import duration, percent, points, render, sure, write_report
from plait.report.results import Evaluation, ModelResult
from plait.report.summary import summary

HOSTILE = "<script>alert(1)</script>"
CURVES = [
    {"epoch": 0, "train_loss": 2.0, "val_loss": 2.1, "val_accuracy": 0.4},
    {"epoch": 1, "train_loss": 1.0, "val_loss": 1.5, "val_accuracy": 0.6},
]
FETCHING = {"src", "href", "action", "data", "poster", "srcset", "formaction", "background", "xlink:href"}


class Links(HTMLParser):
    """Collects what a browser would fetch, run or warn about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0
        self.handlers: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in FETCHING]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.scripts += tag == "script"


def png(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), color).save(buffer, "PNG")
    return buffer.getvalue()


def made(
    names: tuple[str, ...] = ("image", "text", "late", "early"),
    n: int = 24,
    k: int = 3,
    images: list | None = None,
    texts: list | None = None,
    labels: list[str] | None = None,
) -> Evaluation:
    random = np.random.default_rng(1)
    targets = np.arange(n) % k
    labels = labels or [f"class_{c}" for c in range(k)]
    models = {}
    for i, name in enumerate(names):
        logits = random.normal(size=(n, k))
        logits[np.arange(n), targets] += 0.4 + 0.4 * i
        exp = np.exp(logits)
        models[name] = ModelResult(exp / exp.sum(1, keepdims=True), 1.5, CURVES if i % 2 else [], f"note on {name}")
    pairs = Pairs.from_columns(images, texts or [f"text of {i}" for i in range(n)], [labels[t] for t in targets])
    return Evaluation(labels, targets, models, pairs, 100, {"read": 0.5, "total": 65.0}, ["3 images are missing"])


def test_the_whole_report(tmp_path: Path):
    path = tmp_path / "new" / "report.html"
    write_report(made(images=[png((i * 9, 80, 120)) for i in range(24)]), path)
    html = path.read_text("utf-8")
    for part in ("models", "mended", "broken", "classes", "confusion", "calibration", "curves"):
        assert f'<section id="{part}">' in html
    for words in (
        "is ahead:",
        "exact McNemar test",
        "note on late",
        "3 images are missing",
        "1\u00a0min 05\u00a0s",
        "text of 0",
    ):
        assert words in html
    assert html.count("data:image/jpeg;base64,") > 3
    assert html.count("<figcaption>") == 2
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def scores_of(html: str) -> tuple[list[str], list[list[str]], str]:
    """Headings, cells of each row, and the words under the table of models."""
    section = html.split('<section id="models">')[1].split("</section>")[0]
    head, body = section.split("<tbody>")
    cells = [re.findall(r"<td.*?</td>", row, re.S) for row in body.split("</tbody>")[0].split("</tr>")[:-1]]
    plain = [[words(cell) for cell in row] for row in cells]
    return [words(cell) for cell in re.findall(r"<th .*?</th>", head)], plain, words(body.split("</table>")[1])


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("\u00a0", " ").replace("&nbsp;", " ").split())


def test_every_accuracy_has_its_interval():
    evaluation = made()
    headings, rows, under = scores_of(render(evaluation))
    assert headings == ["model", "accuracy", "top-5", "macro F1", "ECE", "fit", "note"]
    for row, scores in zip(rows, summary(evaluation)["models"].values(), strict=True):
        low, high = scores["interval"]
        assert row[0] == f"{100 * scores['accuracy']:.2f} % {100 * low:.1f}–{100 * high:.1f}"
        assert len(row) == 6
    assert under.startswith("Small figures: 95 % interval, by resampling the test rows. Top-5")


def test_repeated_rows_and_seeds_are_columns():
    evaluation = made()
    n = len(evaluation.targets)
    for model in evaluation.models.values():
        model.further.extend([evaluation.targets, np.roll(evaluation.targets, 1)])
    evaluation = replace(evaluation, repeated={"text": np.arange(n) < 6, "image": np.zeros(n, bool)})
    headings, rows, under = scores_of(render(evaluation))
    assert headings[:5] == ["model", "accuracy", "3 seeds", "new rows", "top-5"]
    scores = summary(evaluation)["models"]["late"]
    low, high = scores["fresh"]["interval"]
    assert rows[2][1] == f"{100 * scores['seeds']['mean']:.2f} % ± {100 * scores['seeds']['std']:.2f}"
    assert rows[2][2] == f"{100 * scores['fresh']['accuracy']:.1f} % {100 * low:.1f}–{100 * high:.1f}"
    assert under.startswith(
        "Repeated rows. 6 of 24 test rows repeat a text of the training rows. “New rows” gives the accuracy on the "
        "other 18."
    )
    assert "of 3 seeds, the standard deviation" in under


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [
        (0, "Repeated rows. None of the 24 test rows repeats a text or an image of the training rows. Small"),
        (24, "Repeated rows. 24 of 24 test rows repeat an image of the training rows. None is new. Small"),
    ],
)
def test_no_column_of_new_rows_without_repeats_or_without_new_rows(repeats, expected):
    sides = {"text": np.zeros(24, bool), "image": np.arange(24) < repeats}
    headings, _, under = scores_of(render(replace(made(), repeated=sides)))
    assert "new rows" not in headings
    assert under.startswith(expected)


def test_seen_rows_are_a_column_and_in_no_other_figure():
    seen = np.arange(24) % 4 == 0
    evaluation = replace(made(), seen=seen)
    html = render(evaluation)
    headings, rows, under = scores_of(html)
    assert headings[:3] == ["model", "accuracy", "seen rows"]
    known = summary(evaluation)["models"]["late"]["seen"]["accuracy"]
    assert rows[2][1] == f"{100 * known:.1f} %"
    assert under.startswith(
        "Seen rows. An encoder or the run has seen 6 of the 24 test rows in training. Every figure of this report is "
        "of the other 18;"
    )
    without = render(made().of(~seen))
    for part in ("mended", "classes", "confusion", "calibration"):  # the pictures and charts, too, are of unseen rows
        cut = [page.split(f'<section id="{part}">')[1].split("</section>")[0] for page in (html, without)]
        assert cut[0] == cut[1]


def test_where_every_row_was_seen_the_report_says_so():
    headings, _, under = scores_of(render(replace(made(), seen=np.ones(24, bool))))
    assert "seen rows" not in headings
    assert under.startswith("An encoder or the run has seen every test row in training: these figures do not tell")


def test_nothing_is_fetched_from_outside():
    html = render(made(images=[png((9, 80, 120))] * 24))
    links = Links(html)
    assert all(address.startswith(("data:", "#")) for address in links.addresses)
    assert not re.search(r"https?://", html)
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_hostile_words_stay_words():
    n = 24
    labels = [HOSTILE, '"><img src=x onerror=alert(1)>', "$x^2_{ & </svg></title>"]
    evaluation = made((HOSTILE, "b'\"<b>"), texts=[HOSTILE] * n, labels=labels)
    evaluation.warnings.append(HOSTILE)
    html = render(evaluation)
    links = Links(html)
    assert HOSTILE not in html
    assert links.scripts == 2  # the heat map's data, and its script
    assert "b" not in links.tags
    assert links.handlers == []
    assert "x" not in links.addresses


def test_the_one_script_is_the_one_allowed():
    import base64
    import hashlib

    html = render(made())
    script = html.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


@pytest.mark.parametrize("names", [("run",), ("image",), ("late",), ("a", "b"), ("image", "text"), ("text", "early")])
def test_any_number_of_models_with_any_names(names):
    html = render(made(names))
    assert ("Wrong answers, surest first" in html) == (len(names) == 1)
    assert all(f"note on {name}" in html for name in names)


@pytest.mark.parametrize(("n", "k"), [(24, 2), (1, 2), (3, 1), (40, 30)])
def test_few_rows_and_few_classes(n, k):
    assert "</html>" in render(made(n=n, k=k))


def test_missing_and_unreadable_sides_say_so():
    n = 24
    html = render(made(images=[None] * n, texts=[None] * n))
    assert "no image" in html
    assert "no text" in html
    assert "unreadable" not in html
    html = render(made(images=[b"not an image"] * (n - 1) + ["/no/such/file.jpg"]))
    assert ">unreadable<" in html
    assert "data:image" not in html


def test_same_evaluation_same_bytes():
    assert render(made()) == render(made())


def test_many_classes_stay_small_and_listed():
    html = render(made(n=404, k=101))
    assert len(html) < 600_000
    assert "All 101 classes" in html


def test_bad_place_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaitError, match=r"cannot write the report to .*file/report\.html"):
        write_report(made(), tmp_path / "file" / "report.html")


def test_no_rows_are_refused_and_an_old_report_stays(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("old")
    evaluation = Evaluation(["a"], np.zeros(0, int), {"run": ModelResult(np.zeros((0, 1)))}, Pairs.from_columns())
    with pytest.raises(DataError, match="no labelled rows"):
        write_report(evaluation, path)
    assert path.read_text() == "old"


def test_numbers_in_words():
    shown = [percent(0.86854), percent(0.5, 0), *map(sure, (1.0, 0.999, 0.42, 0.001, 0.0))]
    shown += map(duration, (0.42, 31.4, 125))
    plain = [words.replace("\u00a0", " ") for words in shown]
    assert plain == ["86.9 %", "50 %", "100 %", ">99 %", "42 %", "<1 %", "0 %", "0.4 s", "31 s", "2 min 05 s"]
    assert [points(0.051), points(-0.02)] == ["+5.1", "\u22122.0"]


def with_costs(evaluation: Evaluation, milliseconds: dict[str, float]) -> Evaluation:
    models = {
        name: replace(model, cost=Cost(3_391_504, 13_772_000, milliseconds[name] / 1000, 0.002))
        if name in milliseconds
        else model
        for name, model in evaluation.models.items()
    }
    return replace(evaluation, models=models)


def test_accuracy_over_cost():
    html = render(with_costs(made(n=400, k=8), {"image": 8.3, "text": 30.0, "late": 20.0, "early": 25.0}))
    section = html.split('<section id="cost">')[1].split("</section>")[0]
    rows = [re.sub(r"<[^>]*>|\s+", " ", row).split() for row in section.split("</tr>")[1:-1]]
    assert [row[0] for row in rows] == ["image", "text", "late", "early"]
    # late is more accurate and cheaper than text
    assert [row[0] for row in rows if row[1:4] == ["on", "the", "front"]] == ["image", "late", "early"]
    assert rows[1][1:] == ["33.2", "%", "30.0", "500", "13.8", "3.39", "M", "1.5", "s"]
    assert section.count("<svg") == 2
    for words in ("milliseconds a row", "megabytes on disk"):
        assert f'aria-label="Accuracy over {words} of each model, with the Pareto front"' in section
    assert "those of encoding from when" not in section


def test_models_of_unknown_cost_have_no_row_and_no_mark():
    some = with_costs(made(), {"text": 9.0})
    section = render(replace(some, unmeasured=["lite0"])).split('<section id="cost">')[1].split("</section>")[0]
    assert section.count("</tr>") == 2
    assert "The cost of models with lite0 is not known" in section
    assert "on the front" not in section  # alone
    assert '<section id="cost">' not in render(made())
