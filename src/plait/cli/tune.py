"""``plait tune image | text | static | joint``: encoders, and a joint space of them, trained on the rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from plait.cli.options import ConfigFile, Data, Overwrite, Preset, Set, Test, Val, settings_of
from plait.processes import alone
from plait.progress import show

if TYPE_CHECKING:
    from plait.config import Config
    from plait.data.partition import Partition

tune = typer.Typer(
    help="Train an encoder on the rows; the folder it leaves is an image.model or text.model for every other command.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
SIDES = ("image", "text")
TunedFolder = Annotated[Path, typer.Option(metavar="MODEL_DIR", help="Folder for the tuned encoder.")]


@tune.command("image")
def tune_image(
    data: Data,
    out: TunedFolder,
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a timm model on images and labels, from random weights by progressive learning, else at one size.

    Of a pretrained network the upper two thirds are tuned, at 0.8 of the side that its features would be taken at;
    validation rows then say which of the two sides they are taken at. Where test rows are kept apart, the last line
    says what tuning gained over the frozen network under the same head. A killed training goes on when repeated.

    [bold]plait tune image train.csv --out tuned --set image.train.epochs=8[/bold]
    [bold]plait compare train.csv --set image.model=local-dir:tuned --out comparison[/bold]
    """
    _tune("image", _Rows(data, val, test), out, settings_of(preset, config, set_, strict=False), overwrite)


@tune.command("text")
def tune_text(
    data: Data,
    out: TunedFolder,
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a text encoder by AnglE's objectives, on texts with labels or on pairs of texts.

    Pairs are a table with columns text1, text2, score, or anchor, positive, negative.

    [bold]plait tune text train.csv --out tuned[/bold]
    [bold]plait tune text pairs.tsv --val dev.tsv --out tuned --set text.train.batch=64[/bold]
    [bold]plait tune text train.csv --out tuned --set text.train.tower=lstm --set text.train.layers=frozen[/bold]
    [bold]plait compare train.csv --set text.model=tuned+tfidf+tfidf-char --out comparison[/bold]
    """
    settings, rows = settings_of(preset, config, set_, strict=False), _Rows(data, val, test)
    if not _tune_on_pairs(rows, out, settings, overwrite):
        _tune("text", rows, out, settings, overwrite)


@tune.command("static")
def tune_static(
    data: Data,
    out: TunedFolder,
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Distil a text encoder into static vectors of words, which take no network to look up; labels are not needed.

    [bold]plait tune static train.csv --set text.model=tuned --out fast[/bold]
    [bold]plait compare train.csv --set text.model=fast --out comparison[/bold]
    """
    from plait.training.encoders.tuner import distil_text

    alone("tune static")
    settings = settings_of(preset, config, set_, strict=False)
    parts = _Rows(data, val, test).divide(settings, "text", labelled=False)
    _tell("static text encoder", distil_text(parts.train, parts.val, settings, out, overwrite))
    show(out)


@tune.command("joint")
def tune_joint(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="SPACE", help="Folder for the joint space.")],
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a joint space, in which pictures find texts and texts pictures; the folder it leaves is for plait index.

    Two towers on the features of the encoders, by a contrastive loss; labels are not needed. (A classifier whose
    encoders are trained with its head is another thing: [bold]plait fit --set joint.image=all[/bold].)

    [bold]plait tune joint train.csv --out space[/bold]
    [bold]plait index space catalogue.csv --out index[/bold]
    """
    from plait.pipeline.space import tune_space

    alone("tune joint")
    settings = settings_of(preset, config, set_, strict=False)
    _tell_space(
        tune_space(_Rows(data, val, test).divide(settings, *SIDES, labelled=False), settings, out, overwrite), out
    )


@tune.command("caption")
def tune_caption(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="MODEL_DIR", help="Folder for the captioner.")],
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a captioner on the rows that have an image and a text: a small decoder from scratch, or a GIT or BLIP.

    What it leaves is for [bold]plait caption[/bold], and for [bold]text.fill[/bold], which lets rows without a text be
    answered by a caption, too. Labels are not needed. A killed training goes on when repeated.

    [bold]plait tune caption train.csv --out captioner[/bold]
    [bold]plait tune caption train.csv --out captioner --set caption.model=microsoft/git-base[/bold]
    """
    from plait.pipeline import captions
    from plait.progress import say

    alone("tune caption")
    settings = settings_of(preset, config, set_, strict=False)
    facts = captions.tune_caption(
        _Rows(data, val, test).divide(settings, *SIDES, labelled=False), settings, out, overwrite
    )
    tested = facts.get("test")
    held, rows = ("test", tested) if tested else ("validation", facts)
    say(
        f"captioner: {facts['rows']['train']:,} rows, {len(facts['curve'])} epochs, {facts['seconds']:.0f} s; CIDEr "
        f"{rows['cider']:.3f} and {100 * rows['distinct']:.0f} % distinct captions on {held} rows"
    )
    show(out)


class _Rows(NamedTuple):
    """Sources as they are named on the command line."""

    data: str
    val: str | None
    test: str | None

    def divide(self, config: Config, *modalities: str, labelled: bool = True) -> Partition:
        from plait.data.partition import divide
        from plait.training.encoders.tuner import learnt_by

        return divide(
            self.data, config, val=self.val, test=self.test,
            modalities=modalities, learnt=learnt_by(config, modalities), labelled=labelled,
        )  # fmt: skip


def _tune(modality: str, rows: _Rows, out: Path, config: Config, overwrite: bool) -> None:
    from plait.pipeline.gain import measure_gain
    from plait.pipeline.prepare import Preparation
    from plait.progress import say

    parts = rows.divide(config, modality)
    facts = Preparation(parts.train, config, (modality,), parts.val).tuner.tune(modality, out, overwrite)
    _tell(f"{modality} encoder", facts)
    found = measure_gain(parts, config, modality, out)
    if found is not None:
        say(found.line())
    show(out)


def _tune_on_pairs(rows: _Rows, out: Path, config: Config, overwrite: bool) -> bool:
    """Whether the data are pairs of texts; if so, tune on them."""
    from plait.data.text_pairs import hold_out, read_text_pairs
    from plait.errors import DataError
    from plait.training.encoders.tuner import tune_on_text_pairs

    pairs = read_text_pairs(rows.data)
    if pairs is None:
        return False
    if rows.test is not None:
        raise DataError(f"--test '{rows.test}' has no use where '{rows.data}' holds pairs of texts; leave it away")
    held = read_text_pairs(rows.val) if rows.val is not None else None
    if rows.val is not None and held is None:
        raise DataError(
            f"--val '{rows.val}' is no table of text pairs as '{rows.data}' is; give one with the same columns"
        )
    if held is None:
        pairs, held = hold_out(pairs, config.data.val_fraction, config.seed)
    _tell("text encoder", tune_on_text_pairs(pairs, held, config, out, overwrite))
    show(out)
    return True


def _tell(what: str, facts: dict[str, Any]) -> None:
    """What came of a training."""
    from plait.progress import say

    best = min(facts["curve"], key=lambda epoch: epoch["val_loss"])
    measure = next(name for name in ("val_accuracy", "val_spearman", "val_cosine") if name in best)
    say(
        f"{what}: {facts['rows']['train']:,} rows, {len(facts['curve'])} epochs, {facts['seconds']:.0f} s; "
        f"validation {measure.removeprefix('val_')} {best[measure]:.4f} after epoch {best['epoch']:.0f}"
    )


def _tell_space(facts: dict[str, Any], out: Path) -> None:
    """What came of a joint space: on test rows, each way, own sides and those of a class."""
    from plait.progress import say

    best = max(facts["curve"], key=lambda epoch: epoch["val_recall"])
    say(
        f"joint space: {facts['rows']['training']:,} rows, {len(facts['curve']) - 1} epochs, {facts['seconds']:.0f} s; "
        f"mean recall {best['val_recall']:.4f} on {facts['rows']['validation']:,} validation rows after epoch "
        f"{best['epoch']:.0f}"
    )
    for kind in ("own", "class"):
        for way, found in facts.get(kind, {}).items():
            words = way.replace("_1k", ", bags of 1,000").replace("_", " ")
            shares = ", ".join(f"R@{cut} {100 * found[f'recall@{cut}']:.1f}" for cut in (1, 5, 10))
            say(f"{kind:<5} {words:<30} {shares}, median rank {found['median_rank']:g}")
    show(out)
