"""The site of documentation: READMEs, guides, boards, docstrings, and tutorials whose commands are run."""

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
#: The pages, in the order of the menu, which is not part of the README.
PAGES = """
```{toctree}
:hidden:
:caption: Tutorials
.docs/tutorials/network
.docs/tutorials/basis
.docs/tutorials/benchmark
```

```{toctree}
:hidden:
:caption: Guides
results/README
.docs/guide/boards
.docs/guide/checks
suites/README
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
#: Menus of pages that have others below them.
BELOW = {"README": PAGES}
for page, below in (
    ("plugins/README", "*/README"),
    ("results/README", "claims\n*/README\n*/leaderboard"),
    (
        ".docs/plugins/rules",
        "\n".join(("architecture", "dataset", "reference", "basis", "metric", "engine", "tracker")),
    ),
):
    BELOW[page] = f"\n```{{toctree}}\n:hidden:\n:glob:\n{below}\n```\n"
#: Pages that are made from code, after what they say by hand.
GENERATED = {
    ".docs/reference/commands": generated.commands,
    ".docs/reference/suites": generated.suite_fields,
    ".docs/reference/plugins": generated.plugins,
}

project = "gahbench"
author = "The gahbench developers"
version = release = gahbench.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
html_title = "gahbench"
html_static_path = ["static"]
html_css_files = ["output.css"]
templates_path: list[str] = []

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
exclude_patterns = ["**/.venv*", "**/units"]

# Anchors of headings are those of GitHub; tables and code need nothing more.
myst_heading_anchors = 4
# An annotation such as "bytes" may be the name of several methods too.
suppress_warnings = ["myst.header", "ref.python"]
source_suffix = {".md": "markdown"}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "inherited-members": False}
napoleon_google_docstring = False
# References to what is in gahbench must be found; types of libraries need no link.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!gahbench\.).*")]


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Add to a page what the file in the repository has no need of: menus, links to code, output, and docstrings."""
    if name.startswith(".docs/tutorials/"):
        with tempfile.TemporaryDirectory() as folder:
            source[0] = tutorials.execute(source[0], Path(folder), ROOT / "build" / name.removeprefix(".docs/"))
    module = name.rpartition("/")[2]
    if module.split(".")[0] == "gahbench":
        listed = [public for public in importlib.import_module(module).__all__ if f"{module}.{public}" not in ELSEWHERE]
        source[0] += f"\n{generated.names(module, listed)}\n" + "\n".join(
            directive(module, public) for public in listed
        )
    if name in GENERATED:
        source[0] += f"\n{GENERATED[name]()}"
    folder_of_page = (ROOT / name).parent
    source[0] = LINK.sub(lambda link: to_code(link, folder_of_page), source[0]) + BELOW.get(name, "")


def to_code(link: re.Match[str], folder: Path) -> str:
    """Return a link to a file that is no page as a link to the repository."""
    image, text, path, _ = link.groups()
    file = (folder / path).resolve()
    if image or file.suffix == ".md" or not file.exists():
        return link[0]
    kind = "tree" if file.is_dir() else "blob"
    return f"[{text}]({REPOSITORY}/{kind}/main/{file.relative_to(ROOT)})"


def directive(module: str, name: str) -> str:
    """Return the directive that shows the docstring of a name, or the comment above a constant."""
    item = getattr(importlib.import_module(module), name)
    if generated.is_data(item):
        return f"```{{eval-rst}}\n.. autodata:: {module}.{name}\n   :no-value:\n\n   {generated.comment(name)}\n```\n"
    kind = "class" if inspect.isclass(item) else "function"
    return f"```{{eval-rst}}\n.. auto{kind}:: {module}.{name}\n```\n"


def find(app: Sphinx, env: BuildEnvironment, node: Any, text: Any) -> Any:
    """Find a reference to where something is defined by the public name under which it is documented."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("gahbench."):
        return None
    last = target.rpartition(".")[2]
    known = env.domains["py"].objects  # type: ignore[attr-defined]
    for name in (f"{module}.{last}" for module in MODULES if f"{module}.{last}" in known):
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)
    return text if exists(target) else None


MODULES = sorted(file.stem for file in (ROOT / ".docs" / "reference").glob("gahbench*.md"))
#: Names whose docstrings are on the page of a kind of plugin.
ELSEWHERE = {
    name
    for file in (ROOT / ".docs" / "plugins").glob("*.md")
    for name in re.findall(r"^\.\. auto\w+:: (\S+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
}


def exists(target: str) -> bool:
    """Return whether a dotted name is that of something in gahbench, public or not."""
    parts = target.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


def tidy(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Keep the bars of norms, which mean something else to reStructuredText, and attributes described with a colon."""
    if what == "data" and inspect.getdoc(found) == inspect.getdoc(type(found)):
        lines.clear()  # That of int, say.
    if what in ("attribute", "property", "data"):
        # Taken for the type, before the colon.
        before = [line.removeprefix(":type:").strip() for line in lines if line.startswith(":type:")]
        lines[:] = [line for line in lines if not line.startswith(":type:")]
        if before and lines:
            lines[0] = f"{before[0]}: {lines[0]}"
    for place, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[place] = re.sub(r"(``.*?``)|\|", lambda bar: bar[1] or r"\|", line)


def add_index(app: Sphinx, error: Exception | None) -> None:
    """Make the README the page that a server shows for the folder."""
    if error is None:
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", read)
    app.connect("missing-reference", find)
    app.connect("build-finished", add_index)
    app.connect("autodoc-process-docstring", tidy)
