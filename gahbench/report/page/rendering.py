"""Templates of a page, and its policy: no request to anywhere, and no script or style but its own."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gahbench.report.page import colours

if TYPE_CHECKING:
    from jinja2 import Environment


def rendered(values: Mapping[str, Any]) -> str:
    """Return the page: all texts are escaped but markup that was made here.

    Parameters
    ----------
    values
        Of the template ``body.html``, and ``groups``, the most groups of columns of a table.
    """
    from markupsafe import Markup

    templates = _environment()
    body = templates.get_template("body.html").render(values)
    home = importlib.resources.files("gahbench.report") / "templates"
    style, script = ((home / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    light, dark = colours.declarations(colours.found_in(body))
    # Columns are hidden by the number of their group.
    groups = ",".join(f".no{place} .g{place}" for place in range(1, values["groups"])) or ".none"
    dark_screens = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    style = f"{groups}{{display:none}}\n:root{{{light}}}\n{dark_screens}\n{style}"
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hashed(style),
        "script-src": _hashed(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return templates.get_template("page.html").render(
        title=values["title"],
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        **{name: Markup(text) for name, text in (("style", style), ("script", script), ("body", body))},
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("gahbench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _hashed(content: str) -> str:
    """Return how a policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
