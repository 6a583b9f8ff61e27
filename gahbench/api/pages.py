"""Results folders as pages: the report of one, and a site of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gahbench._util.errors import DataError
from gahbench.registry.registry import open_registry

if TYPE_CHECKING:
    from gahbench.explore.preview import Preview
    from gahbench.registry.configured import Configured

Source = str | Path
#: Values of an image of a dataset that a site shows.
_MAX_VALUES = 1 << 20


def write_report(folder: Source, out: Source | None = None, *, plugins: Sequence[Source] = ()) -> tuple[Path, int]:
    """Write the report of a results folder, one HTML file that needs no other, and return it with its size in bytes."""
    from gahbench.report.page import write_report

    file = Path(folder) / "report.html" if out is None else Path(out)
    return file, write_report(Path(folder), file, open_registry(plugins, trust=False))


def write_site(
    folder: Source,
    out: Source,
    *,
    title: str = "gahbench",
    base_url: str = "",
    source_url: str = "",
    plugins: Sequence[Source] = (),
    trust: bool = False,
) -> list[str]:
    """Write a site of all results folders in a folder, and return the names of its files."""
    from gahbench.explore.card_facts import card_facts
    from gahbench.explore.dataset_probe import BASIS_PIXELS, DatasetProbe
    from gahbench.explore.description import facts
    from gahbench.explore.preview import make_preview
    from gahbench.report.site import Measures, SiteRequest, write_site

    registry = open_registry(plugins, trust)

    def looked_at(configured: Configured) -> tuple[Preview, list[tuple[str, str]]]:
        shape = DatasetProbe(configured).shape
        if math.prod(shape) > _MAX_VALUES:
            raise DataError(f"{configured.where}: images of {shape} are too large for a page")
        preview = make_preview(configured, count=3, max_pixels=BASIS_PIXELS)
        return preview, list(card_facts(preview))

    measures = Measures(lambda configured, shape: facts(configured, registry, shape), looked_at)
    return write_site(SiteRequest(Path(folder), Path(out), title, base_url, source_url), registry, measures)
