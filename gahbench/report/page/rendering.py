"""Templates of a page, and its policy: no request to anywhere, and no script or style but its own."""

from __future__ import annotations

import base64
import hashlib
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
        Of the template ``report.html``.
    """
    from markupsafe import Markup

    templates = _environment()
    body = templates.get_template("body.html").render(values)
    # Neither has anything to fill in.
    style, script = (templates.get_template(name).render() for name in ("style.css", "script.js"))
    light, dark = colours.declarations(colours.found_in(body))
    variables = f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    style = variables + style
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
