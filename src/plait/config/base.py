"""What every section of the configuration is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]

# Which layers of an encoder are trained: none, every one, or those from number N on (0 is the stem or embeddings).
Layers = Literal["frozen", "all"] | Annotated[int, Field(ge=0)]
# YAML reads 32 as a number.
Precision = Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(lambda value: str(value))]


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors, values cannot be changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
