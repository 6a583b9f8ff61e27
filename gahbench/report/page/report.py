"""The HTML report of a results folder.

Pages send no requests, and their content security policy allows only their own script and style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gahbench._util.files import write_output
from gahbench.board.claims import judge_claims
from gahbench.board.results import Results, load_results
from gahbench.report.claims import by_paper, format_interval, summary
from gahbench.report.document import build_document
from gahbench.report.figures import page_figures
from gahbench.report.finding import suite_facts
from gahbench.report.page import images, provenance
from gahbench.report.page.readme import read_readme

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry

#: The sections of a page in their order, and the names of their templates; :func:`report_values` says which are
#: optional.
SECTIONS = ("board", "cost", "curves", "images", "training", "basis", "generalization", "claims", "provenance")


def write_report(folder: Path, out: Path, registry: Registry, results: Results | None = None) -> int:
    """Write the report of a results folder, or of its results with more rows, and return its size in bytes."""
    files = {}
    # The page links to files that move together with it.
    if folder.resolve().is_relative_to(out.parent.resolve()):
        base = folder.resolve().relative_to(out.parent.resolve())
        files = {name: quote((base / name).as_posix()) for name in provenance.file_checksums(folder)}
    content = html_report(folder, registry, results, files).encode()
    write_output(content, out)
    return len(content)


def html_report(
    folder: Path,
    registry: Registry,
    results: Results | None = None,
    files: Mapping[str, str] | None = None,
    navigation: Mapping[str, str] | None = None,
) -> str:
    """Return the report of a results folder as one HTML page; equal folders give equal pages.

    Parameters
    ----------
    folder
        The results folder.
    registry
        The plugins.
    results
        The results of the folder, possibly with more rows; read from the folder by default.
    files
        The addresses of files of the folder, by name, to which the page links; none by default.
    navigation
        The addresses of other pages of a site, by title, to which the head of the page links; none by default.
    """
    values = report_values(folder, results or load_results(folder, registry), registry, results is None, files or {})
    return html_page(values["title"], render_template("body.html", {**values, "navigation": navigation or {}}))


def html_page(title: str, body: str, more_style: str = "") -> str:
    """Return a page with the style and the script of reports, and rules that follow this style."""
    style, script = f"{template_text('style.css')}\n{more_style}", template_text("script.js")
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash_source(style),
        "script-src": _hash_source(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    values = {
        "title": title,
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "style": Markup(f"<style>{style}</style>"),
        "script": Markup(f"<script>{script}</script>"),
        "body": Markup(body),
    }
    return render_template("page.html", values)


def report_values(
    folder: Path, results: Results, registry: Registry, is_saved: bool, files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values of ``body.html`` except ``navigation``; ``files`` are addresses of files by name."""
    document, readme = build_document(results), read_readme(folder)
    verdicts = judge_claims(registry, [(results.suite, results)])
    measured = [verdict for verdict in verdicts if verdict.outcome != "not measured"]
    figures = page_figures(results, folder, is_saved)
    values: dict[str, Any] = {
        "title": f"{results.suite} – gahbench",
        "heading": results.suite,
        "results": results,
        "names": results.names,
        "document": document,
        "facts": suite_facts(results),
        "answer": readme.headline or document.answer,
        "question": readme.title,
        "figures": figures,
        "gallery": images.gallery(results, folder),
        "eigenvectors": images.eigenvector_gallery(results, folder),
        "fits": provenance.fits_table(results),
        "failures": provenance.failures(results),
        "sheets": images.sample_sheets(results, folder),
        "claims": {"papers": by_paper(measured), "outcomes": summary(measured), "format": format_interval},
        "provenance": provenance.provenance_section(results, folder, files),
    }
    optional_sections = {
        "cost": "cost" in figures,
        "curves": "curves" in figures,
        "basis": "basis" in figures or values["eigenvectors"],
        "generalization": "generalization" in figures or values["sheets"],
        "claims": measured,
    }
    return {**values, "sections": {name: name.capitalize() for name in SECTIONS if optional_sections.get(name, True)}}


def render_template(template: str, values: Mapping[str, Any], package: str = "gahbench.report") -> str:
    """Render a template of a package, or of the report, with values."""
    return _environment(package).get_template(template).render(values)


def template_text(name: str, package: str = "gahbench.report") -> str:
    """Return the text of a template file of a package, such as ``script.js``."""
    return (importlib.resources.files(package) / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "gahbench.report"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(label: str) -> str:
    """Return a label as HTML with possible line breaks at brackets and after commas."""
    return Markup("<wbr>").join(escape(segment) for segment in re.split(r"(?<=,)|(?=\[)", label) if segment)


def _hash_source(content: str) -> str:
    """Return the policy source that allows an inline script or style by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
