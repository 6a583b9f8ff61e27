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
    """Write the report of a results folder, one HTML file that needs no other, and return it with its size in bytes.

    Parameters
    ----------
    folder
        A results folder. What it does not hold, such as its units, the report says.
    out
        The file; by default ``report.html`` in the folder.
    plugins
        Plugin files, or folders of them: the report has the citations of those on the board.

    Raises
    ------
    ResultsError
        If the folder holds no results, or they cannot be read.
    ParameterError
        If the file cannot be written.
    """
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
    """Write a site of all results folders in a folder, and return the names of its files.

    It has an index, and a page for each run, entrant, dataset and page of reading; it works from files and from any
    server, and makes no request to elsewhere. Networks and datasets are looked at as ``describe`` and ``preview`` do.

    Parameters
    ----------
    folder
        A folder of results folders.
    out
        The folder of the site: a new or an empty one, or one of an earlier site, which is replaced.
    title
        Of the site.
    base_url
        Its address, for a sitemap; empty for none.
    source_url
        The address of ``folder`` elsewhere, to which links of its pages of reading lead that lead out of the site;
        empty for none, where these are text.
    plugins
        Plugin files, or folders of them, for descriptions.
    trust
        Whether plugins are built whose parameters, in the plans of the folder, name code, files or downloads. Without
        it their pages say why they are not.

    Raises
    ------
    ResultsError
        If the folder holds no results.
    ParameterError
        If an address is none, ``out`` holds other things, or a file cannot be written.
    """
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
