"""A site of results folders: an index, and a page for each run, entrant, dataset and page of reading."""

from gahbench.report.site.described import Measures
from gahbench.report.site.site import SiteRequest, write_site

__all__ = ["Measures", "SiteRequest", "write_site"]
