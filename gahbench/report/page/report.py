"""The HTML report of a results folder.

Pages send no requests, and their content security policy allows only their own script and style.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gahbench._util.errors import GahbenchError
from gahbench._util.files import read_regular, write_output
from gahbench.board.claims import judge_claims
from gahbench.board.results import Results, index_or_none, load_results, saved_files
from gahbench.registry.registry import Registry
from gahbench.report.claims import by_paper, format_interval, summary
from gahbench.report.document import build_document, suite_facts
from gahbench.report.figures import Published, published
from gahbench.report.page.readme import MAX_BYTES, read_readme
from gahbench.report.pictures import gallery, gallery_note
from gahbench.store.plan_file import read_plan

#: The sections of a page in their order, and the names of their templates.
SECTIONS = ("board", "cost", "curves", "images", "training", "basis", "generalization", "claims", "provenance")
_LOADER = PackageLoader("gahbench.report")
_JINJA = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def write_report(folder: Path, out: Path, registry: Registry, results: Results | None = None) -> int:
    """Write the report of a results folder, or of its results with more rows, and return its size in bytes."""
    files = {}
    with contextlib.suppress(ValueError):
        # The page links to files that move together with it.
        base = folder.resolve().relative_to(out.parent.resolve())
        files = {name: quote((base / name).as_posix()) for name in file_checksums(folder)}
    content = html_report(folder, registry, results, files).encode()
    write_output(content, out)
    return len(content)


def html_report(
    folder: Path,
    registry: Registry,
    results: Results | None = None,
    files: Mapping[str, str] | None = None,
    navigation: Mapping[str, str] | None = None,
    is_saved: bool = False,
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
    is_saved
        Whether the given results are those of the folder, whose figures are then not drawn again.
    """
    is_saved, results = is_saved or results is None, results or load_results(folder, registry)
    document, readme, figures = build_document(results), read_readme(folder), dict[str, list[Published]]()
    for item in published(results, folder, is_saved):
        figures.setdefault(item.kind.section, []).append(item)
    pictures, eigenvectors = (gallery(results, folder, kind) for kind in ("pictures", "eigenvectors"))
    claims = [each for each in judge_claims(registry, [(results.suite, results)]) if each.outcome != "not measured"]
    plan = None
    with contextlib.suppress(GahbenchError):
        plan = read_plan(folder)
    contents = {"basis": eigenvectors, "claims": claims, **dict.fromkeys(("cost", "curves", "generalization"), ())}
    values = {
        "sections": [name for name in SECTIONS if figures.get(name) or contents.get(name, True)],
        "results": results,
        "document": document,
        "facts": suite_facts(results),
        "answer": readme.headline or document.answer,
        "question": readme.title,
        "figures": figures,
        "gallery": pictures,
        "gallery_note": gallery_note(results, pictures),
        "eigenvectors": eigenvectors,
        "claims": {"papers": by_paper(claims), "outcomes": summary(claims), "format": format_interval},
        "plan": plan,
        "machine": load_environment(folder),
        "files": [(name, (files or {}).get(name, ""), digest) for name, digest in file_checksums(folder).items()],
        "navigation": navigation or {},
    }
    return html_page(f"{results.suite} – gahbench", "body.html", values)


def html_page(title: str, template: str, values: Mapping[str, Any]) -> str:
    """Return a page with the style and the script of reports, and with a template as its body."""
    folder = importlib.resources.files("gahbench.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_source(style)}; script-src {_hash_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"style": f"<style>{style}</style>", "script": f"<script>{script}</script>"}
    parts["body"] = _JINJA.get_template(template).render(values)
    markup = {name: Markup(part) for name, part in parts.items()}
    return _JINJA.get_template("page.html").render(title=title, policy=policy, **markup)


def _hash_source(content: str) -> str:
    """Return the policy source that allows an inline script or style by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def file_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that were published with the board, by name."""
    return dict(sorted(saved_files(index_or_none(folder) or {}).items()))


def load_environment(folder: Path) -> dict[str, Any]:
    """Return the recorded environment of a folder; empty without a valid record."""
    try:
        # Symbolic links are not followed: they may lead out of the folder.
        environment = json.loads(read_regular(folder / "environment.json", MAX_BYTES, follow=False))
    except (OSError, ValueError):
        return {}
    return environment if isinstance(environment, dict) else {}
