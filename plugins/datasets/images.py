"""Images of one's own, of one size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ._reading.preprocess import Colour
from .faces import Faces


class Images(Faces):
    """Images of one's own, of any kind and of one size, from a folder, an archive, a table or an array file.

    They are read, made grey, cropped, split and cached as those of ``faces`` are. Patches of photographs are
    ``photos``, photographs as a whole ``whole``.

    Parameters
    ----------
    path, size, test, colour, near_repeats, seed
        As of ``faces``.
    """

    def __init__(
        self,
        path: str,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        near_repeats: Literal["drop", "keep"] = "drop",
        seed: int = 0,
    ) -> None:
        super().__init__(path, size, test, colour, None, near_repeats, seed)
