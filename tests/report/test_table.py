import io

import pytest
from rich.console import Console

from plait.report.table import cost_table, count, figures, notes, table

SUMMARY = {
    "rows": {"train": 18119, "test": 2525},
    "models": {
        "text": {
            "accuracy": 0.844, "top5": 0.89, "macro_f1": 0.8439, "ece": 0.0375, "fit_seconds": 3.61,
            "interval": [0.83, 0.8581],
        },
        "late": {
            "accuracy": 0.8685, "top5": 0.89, "macro_f1": 0.8689, "ece": 0.0335, "fit_seconds": 0.8,
            "interval": [0.8551, 0.882],
        },
    },
}  # fmt: skip
FUSION = {"model": "late", "baseline": "text", "difference": 0.0245, "interval": [0.0171, 0.0318], "p": 3e-10}


def show(source: dict, terminal: bool) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=terminal, width=110, color_system="standard" if terminal else None).print(
        table(source)
    )
    return out.getvalue()


def with_part(part: str, **values: dict) -> dict:
    models = {name: {**scores, part: values[name]} for name, scores in SUMMARY["models"].items()}
    return {**SUMMARY, "models": models}


def test_plain_off_a_terminal():
    lines = show(SUMMARY, terminal=False).splitlines()
    assert lines[0].split("  ") == ["model", "accuracy % [95 % CI]", "top-5 %", "macro F1 %", "ECE %", "fit s"]
    assert lines[1].split() == ["text", "84.40", "[83.0,", "85.8]", "89.00", "84.39", "3.75", "3.6"]
    assert lines[2].split() == ["late", "86.85", "[85.5,", "88.2]", "89.00", "86.89", "3.35", "0.8"]


def test_several_seeds_are_a_column_and_fit_80_characters():
    seeds = {"n": 3, "mean": 0.8432, "std": 0.00213, "accuracies": []}
    lines = show(with_part("seeds", text=seeds, late={**seeds, "mean": 1.0, "std": 0.0}), terminal=False).splitlines()
    assert "3 seeds, std" in lines[0]
    assert lines[1].split()[4:7] == ["84.32", "±", "0.21"]
    assert lines[2].split()[4:7] == ["100.00", "±", "0.00"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80


def test_best_is_bold_on_a_terminal():
    text = show(SUMMARY, terminal=True)
    assert "\x1b[1mlate\x1b[0m" in text
    assert "\x1b[1m86.85\x1b[0m" in text
    assert "\x1b[1m89.00\x1b[0m" not in text  # a tie has no best


def test_one_model_and_names_with_brackets():
    alone = {"models": {"[red]x[/red]": SUMMARY["models"]["text"]}}
    assert "[red]x[/red]" in show(alone, terminal=False)
    assert "\x1b[1m84.40" not in show(alone, terminal=True)


def test_what_fusion_gains_is_one_line():
    assert notes(SUMMARY) == []
    assert notes({**SUMMARY, "fusion": FUSION}) == ["late over text: +2.45 points [1.7, 3.2], McNemar p < 0.001"]
    behind = {**FUSION, "difference": -0.004, "interval": [-0.012, 0.004], "p": 0.3456}
    assert notes({**SUMMARY, "fusion": behind}) == ["late over text: -0.40 points [-1.2, 0.4], McNemar p = 0.346"]


@pytest.mark.parametrize(
    ("counts", "fresh", "expected"),
    [
        (
            {"text": 622, "image": 0, "any": 622},
            1903,
            "622 of 2,525 test rows repeat a text of the training rows; on the other 1,903: text 81.0, late 85.0",
        ),
        (
            {"text": 1, "image": 12, "any": 12},
            2513,
            "1 of 2,525 test rows repeats a text of the training rows, 12 an image: 12 in all; "
            "on the other 2,513: text 81.0, late 85.0",
        ),
        (
            {"text": 0, "image": 2, "any": 2},
            2523,
            "2 of 2,525 test rows repeat an image of the training rows; on the other 2,523: text 81.0, late 85.0",
        ),
        (
            {"text": 0, "image": 0, "any": 0},
            2525,
            "none of the 2,525 test rows repeats a text or an image of the training rows",
        ),
        (
            {"text": 2525, "image": 0, "any": 2525},
            0,
            "2,525 of 2,525 test rows repeat a text of the training rows; none is new",
        ),
    ],
)
def test_repeated_rows_are_one_line(counts, fresh, expected):
    figures = {"text": {"rows": fresh, "accuracy": 0.8102}, "late": {"rows": fresh, "accuracy": 0.85}}
    assert notes({**with_part("fresh", **figures), "repeated": counts}) == [expected]


def test_seen_rows_are_named_apart():
    source = with_part("seen", text={"rows": 300, "accuracy": 0.99}, late={"rows": 300, "accuracy": 1.0})
    assert notes({**source, "seen": {"rows": 300, "scored": 2225}}) == [
        "the table is of the 2,225 unseen test rows; on 300 rows that an encoder or the run has seen: "
        "text 99.0, late 100.0"
    ]
    (line,) = notes({**source, "seen": {"rows": 2525, "scored": 2525}})
    assert line == (
        "WARNING: an encoder or the run has SEEN all 2,525 test rows in training: "
        "these figures do not tell how good the models are on new rows"
    )


def test_repeated_rows_are_counted_among_the_unseen():
    models = {name: {"rows": 2220, "accuracy": 0.8} for name in ("text", "late")}
    source = with_part("fresh", **models)
    for name, scores in source["models"].items():
        source["models"][name] = {**scores, "seen": {"rows": 300, "accuracy": 0.9}}
    source |= {"seen": {"rows": 300, "scored": 2225}, "repeated": {"text": 5, "image": 0, "any": 5}}
    first, second = notes(source)
    assert first == (
        "5 of 2,225 unseen test rows repeat a text of the training rows; on the other 2,220: text 80.0, late 80.0"
    )
    assert second.startswith("the table is of the 2,225 unseen test rows")


COST = {
    "parameters": 23_310_546, "megabytes": 92.84, "milliseconds": 11.249, "rows_per_second": 476.4,
    "training_seconds": 61.3, "encoding": "now",
}  # fmt: skip


def test_cost_is_a_table_of_its_own_with_the_front_in_bold():
    costs = {"text": COST, "late": {**COST, "milliseconds": 9.5}}
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=80, color_system="standard").print(
        cost_table(with_part("cost", **costs))
    )
    head, text, late = out.getvalue().splitlines()
    for heading in ("parameters", "MB on disk", "ms a row", "rows/s", "training s"):
        assert heading in head
    assert text.split() == ["text", "23.3", "M", "92.8", "11.2", "476", "61.3"]  # late is better and cheaper
    assert late.split() == ["\x1b[1mlate\x1b[0m", "23.3", "M", "92.8", "9.50", "476", "61.3"]
    assert cost_table(SUMMARY) is None


def test_models_of_unknown_cost_are_left_out_and_said():
    source = {**SUMMARY, "models": {**SUMMARY["models"]}, "unmeasured": ["lite0", "minilm"]}
    source["models"]["text"] = {**source["models"]["text"], "cost": COST}
    grid = cost_table(source)
    assert grid is not None
    assert list(grid.columns[0].cells) == ["[bold]text[/bold]"]
    assert notes(source) == [
        "the cost of models with lite0 and minilm is not known: features were stored without it, or on another "
        "machine; store=FOLDER with a new folder encodes anew and measures it"
    ]


def test_figures_have_three_digits_and_no_exponent():
    values = (12345.6, 476.4, 92.84, 4.567, 0.12345, 0.00004, 0.0)
    assert [figures(value) for value in values] == ["12,346", "476", "92.8", "4.57", "0.123", "0.0000", "0"]
    assert [count(n) for n in (7, 1024, 3_391_504, 7_000_000_000)] == ["7", "1.02 k", "3.39 M", "7.00 G"]
