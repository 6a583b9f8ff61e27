"""Limits of the time that units may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Seconds after which what a unit does is ended, and the unit has failed; no part of any key.

    Parameters
    ----------
    unit
        For a unit, a fit or a score; ``None`` for no limit.
    construction
        For importing the files of plugins from outside gahbench, and for each call of a constructor of theirs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unit: Annotated[float, Field(gt=0)] | None = None
    construction: Annotated[float, Field(gt=0)] = 60.0
