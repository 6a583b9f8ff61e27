"""Templates of pages, and their policy: no request to anywhere, and no script or style but their own."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gahbench.report.page import colours

#: What pages may load whose style and script are files beside them.
SHARED = "'self'"


def rendered(values: Mapping[str, Any]) -> str:
    """Return a page that needs no other file: all texts are escaped but markup that was made here."""
    body = part("body.html", values)
    style, script = stylesheet(colours.found_in(body), values["groups"]), script_text()
    return page(
        values["title"],
        body,
        Markup(f"<style>{style}</style>"),
        Markup(f"<script>{script}</script>"),
        (_hashed(style), _hashed(script)),
    )


def page(title: str, body: str, style: str, script: str, sources: tuple[str, str], images: str = "data:") -> str:
    """Return a page."""
    policy = {
        "default-src": "'none'",
        "img-src": images,
        "style-src": sources[0],
        "script-src": sources[1],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return part(
        "page.html",
        {
            "title": title,
            "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "style": style,
            "script": script,
            "body": Markup(body),
        },
    )


def part(template: str, values: Mapping[str, Any], package: str = "gahbench.report") -> str:
    """Return a template, of a package or of the report, that is rendered with values."""
    return _environment(package).get_template(template).render(values)


def stylesheet(used: set[str], groups: int, more: str = "") -> str:
    """Return the style of pages, and more of it."""
    light, dark = colours.declarations(used)
    # Columns are hidden by the number of their group.
    hidden = ",".join(f".no{place} .g{place}" for place in range(1, groups)) or ".none"
    dark_screens = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    style = "\n".join(filter(None, (_text("style.css"), more)))
    return f"{hidden}{{display:none}}\n:root{{{light}}}\n{dark_screens}\n{style}"


def script_text() -> str:
    """Return the script of pages."""
    return _text("script.js")


def _text(name: str) -> str:
    home = importlib.resources.files("gahbench.report") / "templates"
    return (home / name).read_text(encoding="utf-8")


@functools.cache
def _environment(package: str) -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "gahbench.report"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["breakable"] = _breakable
    return made


def _breakable(label: str) -> str:
    """Return a label that breaks at brackets and commas where it is too long for a line."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=,)|(?=\[)", label) if part)


def _hashed(content: str) -> str:
    """Return how a policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
