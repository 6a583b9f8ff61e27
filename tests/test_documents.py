"""The documents agree with the code: names, commands, Python, suites and tutorials.

Sphinx checks links (``.ci/site``).
"""

import ast
import functools
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from small_plugins import mark_extras, small
from typer.main import get_command

from gahbench.cli.app import app
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.jacobian import Sketch
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_fields import Limits, Sampling, Scoring, SuiteFile
from gahbench.planning.suite_files import suite_files
from gahbench.registry import hookspecs
from gahbench.registry.configured import KINDS
from gahbench.registry.registry import Registry
from gahbench.testing import check_file
from gahbench.training.recipe import Training

ROOT = Path(__file__).parents[1]
RULES = (ROOT / ".docs" / "plugins" / "rules.md").read_text(encoding="utf-8")
HOOKS = [name for name, item in vars(hookspecs).items() if hasattr(item, "gahbench_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_rules_document_every_hook(hook):
    assert f"`{hook}`" in RULES


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_has_a_summary_and_is_in_the_guide_to_its_folder(builtin, kind):
    plugins = builtin.plugins(kind)
    assert all(plugin.summary for plugin in plugins)
    folder = {"basis": "bases"}.get(kind, f"{kind}s")
    guide = (ROOT / "plugins" / folder / "README.md").read_text(encoding="utf-8")
    # Presets are short names of other plugins, and claims are listed by a command.
    plugins = [plugin for plugin in plugins if not plugin.preset and kind != "claim"]
    assert [plugin.name for plugin in plugins if f"`{plugin.name}`" not in guide] == []
    if kind in ("basis", "reference"):
        rows = {line.split("`")[1]: line.split("|")[2].strip() for line in guide.splitlines() if line.startswith("| `")}
        assert set(rows) == {plugin.name for plugin in plugins}
        assert kind == "basis" or {plugin.name: plugin.factory.kind for plugin in plugins} == rows


@pytest.mark.parametrize("name", mark_extras(Registry().names("dataset")))
def test_the_guide_to_datasets_states_the_optimum_of_every_dataset(builtin, name, tmp_path):
    guide = (ROOT / "plugins" / "datasets" / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{name}` ")]
    kind = builtin.create("dataset", name, **small(name, tmp_path)).optimum.kind
    optimum = row.split("|")[3]
    assert name == "shuffled" or optimum.split()[0].strip(":,") == kind


def blocks(file, language):
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


GUIDES = ["README.md", "plugins/datasets/README.md", "plugins/bases/README.md"]


@pytest.mark.parametrize(
    "code", [code for file in GUIDES for code in blocks(file, "python") if "hookimpl" in code], ids=str.__len__
)
def test_the_plugins_in_the_guides_pass_their_checks(tmp_path, code):
    path = tmp_path / "from_guide.py"
    path.write_text(code, encoding="utf-8")
    (report,) = check_file(path)
    assert report.passed, str(report)
    assert ("on one device" in str(report)) == (report.kind in ("architecture", "basis"))


FOLDERS = (".docs", ".github", "gahbench", "plugins", "results", "suites", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))])
PYTHON = [
    (str(file.relative_to(ROOT)), index)
    for file in (
        ROOT / "README.md",
        ROOT / ".docs" / "reference" / "gahbench.md",
        *sorted((ROOT / "plugins").glob("*/README.md")),
        *(ROOT / "results").rglob("*.md"),
    )
    for index, code in enumerate(blocks(file, "python"))
    if "hookimpl" not in code
]


#: What replaces the shipped suite, which takes minutes, and its images.
SMALL = {
    'gahbench.run("quick", out="runs/quick"': "gahbench.run(suite, out=out, engine='inline'",
    'dataset="discs"': 'dataset="sinusoids"',
    'datasets=["discs"]': 'datasets=["sinusoids"]',
    '"discs", size=32': '"discs", size=16',
    'images("test", 16)': 'images("test", 4)',
    "discs[size=32]": "discs[size=16]",
}


@pytest.mark.parametrize(("file", "index"), PYTHON)
def test_the_python_in_the_documents_runs(write_suite, tmp_path, monkeypatch, figures_not_rendered, file, index):
    code = blocks(file, "python")[index]
    for shown, replacement in SMALL.items():
        code = code.replace(shown, replacement)
    assert "runs/" not in code
    monkeypatch.chdir(ROOT)
    names = {"suite": write_suite(), "out": tmp_path / "out"}
    for statement in ast.parse(code).body:
        text = ast.unparse(statement)
        if not isinstance(statement, ast.Expr):
            exec(text, names)
            continue
        # A line with only an expression shows its value, which must not be None.
        value = eval(text, names)
        assert value is not None, text
        shape = re.search(r"# shape (\([\d, ]+\))", code.splitlines()[statement.end_lineno - 1])
        assert shape is None or tuple(value.shape) == ast.literal_eval(shape[1]), text


def commands():
    """Return the gahbench commands in all documents, on separate lines or in inline code."""
    lines = set()
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        text = re.sub(r"```python.*?```", "", text, flags=re.DOTALL)
        lines |= {
            re.split(r" [#>|&]", line)[0].strip()
            for line in re.findall(r"^(?: {4})?(gahbench .*)$", text, flags=re.MULTILINE)
        }
        lines |= {" ".join(code.split()) for code in re.findall(r"`(gahbench [^`]+)`", text)}
    return sorted(lines)


@functools.cache
def command_line():
    """Return the parser of the command line."""
    return get_command(app)


@pytest.mark.parametrize("line", commands())
def test_the_commands_in_the_documents_are_accepted(line):
    # Brackets in tables mark optional arguments.
    words = [word for word in shlex.split(line) if not re.fullmatch(r"\[[A-Z]+\]", word)][1:]
    parser = command_line()
    while hasattr(parser, "commands"):
        assert words, line
        name = words.pop(0)
        assert name in parser.commands, line
        parser = parser.commands[name]
    words = ["architecture" if word in ("NOUN", "KIND") else word for word in words]
    if words or not parser.params[0].required:
        parser.make_context(line, words)


def test_the_suite_in_the_guide_loads(tmp_path, builtin):
    text, *_ = blocks(".docs/reference/suites.md", "yaml")
    content = yaml.safe_load(text)
    content["datasets"][1]["faces"].pop("path")
    file = tmp_path / "guide.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True))
    assert len(load_suite(file, builtin).entrants) == 7


@pytest.mark.parametrize("page", ["commands", "plugins", "suites"])
def test_pages_that_are_generated_from_code_are_current(page):
    generated = load(ROOT / ".docs" / "generated.py")
    text = (ROOT / ".docs" / "reference" / f"{page}.md").read_text("utf-8").partition(generated.MARK)[2]
    assert text == generated.PAGES[page](False), "python .docs/generated.py writes this page"


@pytest.mark.parametrize("model", [SuiteFile, Scoring, Training, Sampling, Limits])
def test_docstrings_describe_every_field_of_a_suite(model):
    entries = re.findall(r"^([a-z_][\w, ]*)$", inspect.cleandoc(model.__doc__), flags=re.MULTILINE)
    assert {name for line in entries for name in line.split(", ")} >= set(model.model_fields)


@pytest.mark.parametrize("name", suite_files())
def test_every_suite_loads_and_is_documented(builtin, name, tmp_path, monkeypatch):
    # Create the files of the user, which are in a folder with the name of the suite.
    for path in re.findall(rf"\b{name}/(?:[\w./-]|{{N}})+", suite_files()[name].read_text(encoding="utf-8")):
        # {N} in a path stands for each number of training images.
        for number in (1, 10, 100, 1000, 10000, 99325):
            file = tmp_path / path.replace("{N}", str(number))
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.is_dir():
                file.touch()
    monkeypatch.chdir(tmp_path)
    assert load_suite(name, builtin).name == name
    assert f"`{name}`" in (ROOT / "suites" / "README.md").read_text(encoding="utf-8")


TUTORIAL = """# Title

```yaml
# suite.yaml
name: mine
```

```console
cat suite.yaml | tail -n 1
echo warning >&2
pwd
```

```sh
exit 1
```
"""


def load(file):
    """Return a module that is not part of a package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tutorials():
    return load(ROOT / ".docs" / "tutorials.py")


def test_blocks_write_files_and_pages_show_the_output_of_commands(tutorials, tmp_path):
    text = tutorials.execute(TUTORIAL, tmp_path)
    assert (tmp_path / "suite.yaml").read_text() == "# suite.yaml\nname: mine\n"
    assert "\n```{code-block} text\n:class: output\n\nname: mine\nwarning\n~/tutorial\n```\n" in text
    # Only blocks of the language `console` are executed.
    assert text.endswith("```sh\nexit 1\n```\n")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```console\necho reason; (exit 3)\necho never\n```\n", r"exit status 3 .*\n.*\n.*\n.*\nreason"),
        ("```{figure} figure.png\nA figure.\n```\n", r"has written the figure figure\.png"),
    ],
)
def test_a_failing_command_and_a_missing_figure_end_the_build(tutorials, tmp_path, page, message):
    with pytest.raises(RuntimeError, match=message):
        tutorials.execute(page, tmp_path, ROOT / ".docs" / "build" / "none")


def test_the_functions_of_the_tutorial_on_direction_agree_with_the_library(tmp_path):
    page = (ROOT / ".docs" / "tutorials" / "direction.md").read_text(encoding="utf-8")
    file = tmp_path / "one_dimension.py"
    file.write_text(re.search(r"```python\n(# one_dimension\.py\n.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    previous = torch.get_default_dtype()
    try:
        tutorial = load(file)
        draw = torch.Generator().manual_seed(1)
        links = torch.rand(32, 6, 6, generator=draw)
        links = links + links.mT
        strength = torch.linspace(2, 5, 32)
        graph = tutorial.smoother(links, strength)
        assert tutorial.trace(graph).tolist() == pytest.approx(strength.tolist(), rel=1e-9)
        # (1 + mu L) S = 1, so S^-1 - 1 is proportional to L.
        laplacian = torch.diag_embed(links.sum(2)) - links
        excess = torch.linalg.inv(graph) - torch.eye(6)
        assert tutorial.cosine(excess, laplacian) == pytest.approx(1)
        other = graph + 0.1 * torch.diag_embed(torch.rand(32, 6, generator=draw))
        remove = remove_strength(tutorial.trace(other))
        assert len(remove) == 32
        remainders = [tutorial.without_strength(filters, tutorial.trace(other)) for filters in (other, graph)]
        expected = align(*(adaptation(Sketch(filters, exact=True), remove) for filters in (other, graph))).own.mean()
        assert tutorial.cosine(*remainders) == pytest.approx(float(expected), abs=1e-9)
    finally:
        torch.set_default_dtype(previous)
