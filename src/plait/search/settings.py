"""What a search is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from plait.errors import ConfigError, did_you_mean
from plait.search.reward import SIZE, TIME, Limits, called

Sampler = Literal["tpe", "policy", "random"]
REFERENCE = "tf_efficientnetv2_b0"


@dataclass(frozen=True)
class Plan:
    """How networks are drawn, trained for comparison, and rewarded.

    Args:
        trials: networks to train, those stopped early and the reference, too; those refused do not count.
        budget: minutes of all trials together; None: as long as the trials take. The final training comes on top.
        sampler: what draws the networks.
        reference: the network that time and size are relative to: any timm name.
        warm_start: points of the space that are scored first, beside the reference.
        inherit: timm name or ``local-dir:`` folder, from which blocks of the same shape take their weights; None: none.
        limits: what networks may cost.
        epochs: of the short training. rows: of it, at most, drawn by classes.
        w, v: exponents of time and size in the reward.

    Raises:
        ConfigError: a value out of its range.
    """

    trials: int = 64
    budget: float | None = None
    sampler: Sampler = "policy"
    reference: str = REFERENCE
    warm_start: tuple[str, ...] = ()
    inherit: str | None = None
    limits: Limits = field(default_factory=Limits)
    epochs: int = 4
    rows: int = 4000
    w: float = TIME
    v: float = SIZE

    def __post_init__(self) -> None:
        known = get_args(Sampler)
        if self.sampler not in known:
            raise ConfigError(f"{called('sampler')} '{self.sampler}' is unknown.{did_you_mean(self.sampler, known)}")
        for name, value in (("trials", self.trials), ("epochs", self.epochs), ("rows", self.rows)):
            if value < 1:
                raise ConfigError(f"{called(name)} is {value}; give 1 or more")
        given = {"budget": self.budget} | {f"limits.{name}": limit for name, limit in asdict(self.limits).items()}
        for name, limit in given.items():
            if limit is not None and not limit > 0:
                raise ConfigError(f"{called(name)} is {limit:g}; give more than 0")
        for name, exponent in (("w", self.w), ("v", self.v)):
            if exponent > 0:
                raise ConfigError(f"{called(name)} is {exponent:g}; give 0 or less, so that costly networks weigh less")

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the rewards and may not change while a study goes on: all but how long, and who draws."""
        found = asdict(self)
        return {name: found[name] for name in ("reference", "inherit", "limits", "epochs", "rows", "w", "v")}
