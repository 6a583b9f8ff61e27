"""Sphinx configuration of the documentation: READMEs, guides, boards, docstrings, and executed tutorials."""

import importlib
import inspect
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import gahbench

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / ".docs"))

import generated  # noqa: E402
import tutorials  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
LINK = re.compile(PROJECT["tool"]["gahbench"]["link"])
#: The menu of the site, which is appended to the README.
PAGES = """
```{toctree}
:hidden:
:caption: Tutorials
.docs/tutorials/network
.docs/tutorials/basis
.docs/tutorials/benchmark
.docs/tutorials/direction
```

```{toctree}
:hidden:
:caption: Guides
results/README
.docs/guide/boards
.docs/guide/checks
.docs/guide/submit
.docs/guide/captures
suites/README
.docs/guide/paper
plugins/README
.docs/guide/machines
.docs/guide/hardware
```

```{toctree}
:hidden:
:caption: Reference
.docs/reference/commands
.docs/reference/suites
.docs/reference/plugins
.docs/plugins/rules
.docs/reference/gahbench
.docs/reference/gahbench.evaluation
.docs/reference/gahbench.jacobian
.docs/reference/gahbench.networks
.docs/reference/gahbench.sampling
.docs/reference/gahbench.testing
```

```{toctree}
:hidden:
:caption: Project
CHANGELOG
gahbench/README
.github/CONTRIBUTING
.github/SECURITY
```
"""
#: The menus that are appended to pages with pages below them.
MENUS = {"README": PAGES}
for page, entries in (
    ("plugins/README", "*/README"),
    ("results/README", "claims\n*/README\n*/leaderboard"),
    (
        ".docs/plugins/rules",
        "\n".join(("architecture", "dataset", "reference", "basis", "metric", "engine", "tracker")),
    ),
):
    MENUS[page] = f"\n```{{toctree}}\n:hidden:\n:glob:\n{entries}\n```\n"

project = "gahbench"
author = "The gahbench developers"
version = release = gahbench.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
html_title = "gahbench"
html_static_path = ["static"]
html_css_files = ["output.css"]
templates_path = ["templates"]
#: The template of pages puts the navigation of the whole site in the place of the announcement.
html_theme_options: dict[str, Any] = {"top_of_page_buttons": [], "announcement": "site"}

root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    ".github/*.md",
    "gahbench/README.md",
    "plugins/README.md",
    "plugins/*/README.md",
    "suites/README.md",
    "results/README.md",
    "results/claims.md",
    "results/*/README.md",
    "results/*/leaderboard.md",
    ".docs/*/*.md",
]
exclude_patterns = ["**/.venv*", "**/units", ".github/pull_request_template.md", ".github/PULL_REQUEST_TEMPLATE"]

# Headings have the anchors that GitHub gives them.
myst_heading_anchors = 4
# An annotation such as "bytes" may also be the name of several methods.
suppress_warnings = ["myst.header", "ref.python"]
source_suffix = {".md": "markdown"}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "inherited-members": False}
napoleon_google_docstring = False
# References to gahbench must resolve; types of other libraries need no link.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!gahbench\.).*")]


def extend_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Extend the source of a page: output of tutorials, docstrings, generated tables, links to code, and menus."""
    if page.startswith(".docs/tutorials/"):
        with tempfile.TemporaryDirectory() as folder:
            source[0] = tutorials.execute(source[0], Path(folder), ROOT / "build" / page.removeprefix(".docs/"))
    module = page.rpartition("/")[2]
    if module.split(".")[0] == "gahbench":
        public_names = [
            name
            for name in importlib.import_module(module).__all__
            if f"{module}.{name}" not in DOCUMENTED_ON_PLUGIN_PAGES
        ]
        source[0] += f"\n{generated.names(module, public_names)}\n" + "\n".join(
            autodoc_directive(module, name) for name in public_names
        )
    if (before := source[0].partition(generated.MARK))[1]:
        source[0] = before[0] + generated.PAGES[module]()
    folder_of_page = (ROOT / page).parent
    source[0] = LINK.sub(lambda link: link_to_repository(link, folder_of_page), source[0]) + MENUS.get(page, "")


def link_to_repository(link: re.Match[str], folder: Path) -> str:
    """Return a link to the repository in place of a link to a file that is not a page."""
    image, text, path, _ = link.groups()
    file = (folder / path).resolve()
    if image or file.suffix == ".md" or not file.exists():
        return link[0]
    kind = "tree" if file.is_dir() else "blob"
    return f"[{text}]({REPOSITORY}/{kind}/main/{file.relative_to(ROOT)})"


def autodoc_directive(module: str, name: str) -> str:
    """Return the directive that shows the docstring of a public name, or the comment of a constant."""
    item = getattr(importlib.import_module(module), name)
    if generated.is_data(item):
        return f"```{{eval-rst}}\n.. autodata:: {module}.{name}\n   :no-value:\n\n   {generated.comment(name)}\n```\n"
    kind = "class" if inspect.isclass(item) else "function"
    return f"```{{eval-rst}}\n.. auto{kind}:: {module}.{name}\n```\n"


def resolve_reference(app: Sphinx, env: BuildEnvironment, node: Any, text: Any) -> Any:
    """Resolve a reference to the module of a definition by the public name that is documented."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("gahbench."):
        return None
    last_part = target.rpartition(".")[2]
    known = env.domains["py"].objects  # type: ignore[attr-defined]
    for name in (f"{module}.{last_part}" for module in MODULES if f"{module}.{last_part}" in known):
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)
    return text if is_defined(target) else None


MODULES = sorted(file.stem for file in (ROOT / ".docs" / "reference").glob("gahbench*.md"))
#: Names whose docstrings are on the page of a kind of plugin instead of the page of their module.
DOCUMENTED_ON_PLUGIN_PAGES = {
    name
    for file in (ROOT / ".docs" / "plugins").glob("*.md")
    for name in re.findall(r"^\.\. auto\w+:: (\S+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
}


def is_defined(target: str) -> bool:
    """Return whether a dotted name is defined in gahbench, public or private."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        try:
            item = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            fields = getattr(item, "__dataclass_fields__", {})
            if not hasattr(item, part) and part not in fields:
                return False
            item = getattr(item, part, None)
        return True
    return False


def clean_docstring(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Escape the bars of norms for reStructuredText, and restore attribute descriptions that contain a colon."""
    if what == "data" and inspect.getdoc(item) == inspect.getdoc(type(item)):
        lines.clear()  # The docstring is that of the type of the constant, such as int.
    if what in ("attribute", "property", "data"):
        # Napoleon takes the text before the colon for a type.
        types = [line.removeprefix(":type:").strip() for line in lines if line.startswith(":type:")]
        lines[:] = [line for line in lines if not line.startswith(":type:")]
        if types and lines:
            lines[0] = f"{types[0]}: {lines[0]}"
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[index] = re.sub(r"(``.*?``)|\|", lambda bar: bar[1] or r"\|", line)


#: Replacements in the pages of the theme, which lack names of landmarks, levels of headings, and access by keyboard.
ACCESSIBLE = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="menu">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="on this page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="on this page">',
    "<pre>": '<pre tabindex="0">',
    'docutils container">': 'docutils container" tabindex="0">',
}


def finish_pages(app: Sphinx, error: Exception | None) -> None:
    """Make the pages accessible, and copy the README to index.html, which servers show for the folder."""
    if error is not None:
        return
    for file in Path(app.outdir).rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        for before, after in ACCESSIBLE.items():
            text = text if after in text else text.replace(before, after)
        # The navigation has a landmark of its own.
        text = re.sub(r'<aside class="announcement-content">(.*?)</aside>', r"<div>\1</div>", text, flags=re.DOTALL)
        file.write_text(text, encoding="utf-8")
    shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Connect the functions of this module to the events of Sphinx."""
    app.connect("source-read", extend_source)
    app.connect("missing-reference", resolve_reference)
    app.connect("build-finished", finish_pages)
    app.connect("autodoc-process-docstring", clean_docstring)
