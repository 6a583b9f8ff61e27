"""Images of a dataset on its page: clean, noisy and, where they are known, denoised by the best denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.errors import GahbenchError
from gahbench._util.readable import level_name
from gahbench.report.contact_sheet import decibels, picture
from gahbench.report.page.images import Strip, strip
from gahbench.report.site.described import Described, Measures, missing

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.explore.preview import Preview

#: Of large images the centre is shown, so many pixels high and wide.
SIDE = 128


@dataclass(frozen=True)
class Samples:
    """What a page shows of a dataset.

    Parameters
    ----------
    rows
        Images side by side, each with what they are: clean, noisy, and denoised.
    facts
        The dataset's card, by name.
    trouble
        Why there are no images; empty where there are.
    """

    rows: tuple[tuple[tuple[str, Strip], ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    trouble: str = ""


def samples(plugin: Described, measures: Measures) -> Samples:
    """Return the images and the card of a dataset; nothing is downloaded for it."""
    if plugin.withheld:
        return Samples(trouble=f"No images: {plugin.withheld}.")
    configured = plugin.configured
    if configured is None:
        return Samples(trouble="No images: this dataset could not be made where this page was.")
    try:
        if missing(configured):
            return Samples(trouble="No images: their files are not on the machine that made this page.")
        preview, facts = measures.dataset(configured)
    except GahbenchError:
        # The reason may name files of one machine.
        return Samples(trouble="No images: they could not be made where this page was.")
    # The page has the parameters; commands that compute what takes long are of no use on it.
    shown = [fact for fact in facts if fact[0] != "parameters" and not fact[1].startswith("not computed")]
    return Samples(_rows(preview), tuple(shown))


def _rows(preview: Preview) -> tuple[tuple[tuple[str, Strip], ...], ...]:
    noisy = [(f"noisy, σ = {level_name(level.sigma)}", _strip(level.noisy)) for level in preview.levels]
    name = "optimal" if preview.optimum.kind == "exact" else "genie of the bound"
    denoised = [
        (f"{name}, σ = {level_name(level.sigma)}: {decibels(level.best.expected)}", _strip(level.best.denoised))
        for level in preview.levels
        if level.best is not None
    ]
    return tuple(tuple(row) for row in ([("clean", _strip(preview.clean))], noisy, denoised) if row)


def _strip(images: Tensor) -> Strip:
    shown = []
    for image in images:
        seen = picture(image)
        top, left = (max(0, (side - SIDE) // 2) for side in seen.shape[:2])
        shown.append(seen[top : top + SIDE, left : left + SIDE])
    return strip(np.stack(shown))
