"""``plait search``: a network for these pictures and this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.options import ConfigFile, Data, Overwrite, Preset, Set, Test, Val, settings_of
from plait.errors import ConfigError

if TYPE_CHECKING:
    from plait.search.settings import Plan


def search(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study, search.json, report.html and model.")],
    trials: Annotated[int, typer.Option(help="Networks to train for comparison.")] = 64,
    budget: Annotated[float | None, typer.Option(help="Minutes of all trials together; default: no end.")] = None,
    sampler: Annotated[
        str, typer.Option(help="What draws networks: policy (policy gradient), tpe or random.")
    ] = "policy",
    reference: Annotated[
        str, typer.Option(help="Network that time and size are relative to.")
    ] = "tf_efficientnetv2_b0",
    warm_start: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Known network to score first; may be repeated.")
    ] = None,
    inherit: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Trained network whose blocks lend their weights.")
    ] = None,
    max_params: Annotated[float | None, typer.Option(help="Most parameters; 5e6 is five million.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Most milliseconds of a picture, exported.")] = None,
    max_step_ms: Annotated[float | None, typer.Option(help="Most milliseconds of a training step.")] = None,
    proxy_epochs: Annotated[int, typer.Option(help="Epochs of the short training.")] = 4,
    proxy_rows: Annotated[int, typer.Option(help="Rows of the short training, at most.")] = 4000,
    time_exponent: Annotated[float, typer.Option(help="w of A·S^w·P^v.")] = -0.07,
    size_exponent: Annotated[float, typer.Option(help="v of A·S^w·P^v.")] = -0.05,
    test: Test = None,
    val: Val = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Search a network for these pictures and this machine, by the reward of EfficientNetV2, and train it to the end.

    A killed search goes on when repeated; the same command in two terminals shares the work.

    [bold]plait search train.csv --out found --budget 40[/bold]
    [bold]plait search train.csv --out small --max-params 1e6 --max-ms 5[/bold]
    [bold]plait compare train.csv --set image.model=local-dir:found/model --out comparison[/bold]
    """
    settings = settings_of(preset, config, set_, strict=False)
    plan = _plan(
        trials=trials, budget=budget, sampler=sampler, reference=reference, warm_start=tuple(warm_start or ()),
        inherit=inherit, limits=(max_params, max_ms, max_step_ms), epochs=proxy_epochs, rows=proxy_rows,
        w=time_exponent, v=size_exponent,
    )  # fmt: skip
    from plait.data.partition import divide
    from plait.search.run import search as run
    from plait.training.encoders.tuner import learnt_by

    known = None
    if inherit is not None:  # validation rows are drawn from those that it has not learnt from
        lender = settings.image.model_copy(update={"model": inherit, "pretrained": True})
        known = learnt_by(settings.model_copy(update={"image": lender}), ("image",))
    parts = divide(data, settings, val=val, test=test, modalities=("image",), learnt=known)
    _tell(run(parts, settings, plan, out, overwrite))


def _plan(limits: tuple[float | None, ...], **given: Any) -> Plan:
    """Raises ConfigError where Optuna is not installed, or an option is out of its range."""
    import importlib.util

    from plait.search.reward import Limits
    from plait.search.settings import Plan

    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("a search needs Optuna; pip install 'plait[search]'")
    return Plan(limits=Limits(*limits), **given)


def _tell(facts: dict[str, Any]) -> None:
    """The best network, its block strings and where it is."""
    if facts["best"] is None:
        return
    from plait.search.words import choices_beside, verdict

    for line in verdict(facts):
        print(line)
    best = facts["trials"][facts["best"]]
    for name, own, other in choices_beside(best, facts["reference"]):
        beside = f"   ({facts['reference']['name']}: {other})" if other and other != own else ""
        print(f"{name:<9} {own}{beside}")
    print("blocks   ", " ".join(best["blocks"]))
    if "final" in facts:
        final = facts["final"]
        print(f"trained to the end: validation accuracy {final['accuracy']:.4f}, reward {final['reward']:.4f}")
        print(f"use it with --set image.model={final['model']}")
