import io

from rich.console import Console

from plait.report.table import table

SUMMARY = {
    "models": {
        "text": {"accuracy": 0.844, "top5": 0.89, "macro_f1": 0.8439, "ece": 0.0375, "fit_seconds": 3.61},
        "late": {"accuracy": 0.8685, "top5": 0.89, "macro_f1": 0.8689, "ece": 0.0335, "fit_seconds": 0.8},
    }
}


def show(source: dict, terminal: bool) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=terminal, width=100, color_system="standard" if terminal else None).print(
        table(source)
    )
    return out.getvalue()


def test_plain_off_a_terminal():
    lines = [line.split() for line in show(SUMMARY, terminal=False).splitlines()]
    assert lines[1] == ["text", "84.40", "89.00", "84.39", "3.75", "3.6"]
    assert lines[2] == ["late", "86.85", "89.00", "86.89", "3.35", "0.8"]


def test_best_is_bold_on_a_terminal():
    text = show(SUMMARY, terminal=True)
    assert "\x1b[1mlate\x1b[0m" in text
    assert "\x1b[1m86.85\x1b[0m" in text
    assert "\x1b[1m89.00\x1b[0m" not in text  # a tie has no best


def test_one_model_and_names_with_brackets():
    alone = {"models": {"[red]x[/red]": SUMMARY["models"]["text"]}}
    assert "[red]x[/red]" in show(alone, terminal=False)
    assert "\x1b[1m84.40" not in show(alone, terminal=True)
