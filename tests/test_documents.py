"""What the documents say holds."""

import ast
import os
import re
import shlex
import warnings
from pathlib import Path

import pytest
import yaml
from extra_packages import packages_of
from small_plugins import NEEDS, marked, small
from typer.main import get_command

import gahbench
from gahbench.board.generalization import course
from gahbench.board.leaderboard import optimum_check
from gahbench.board.results import load_results
from gahbench.cli.app import app
from gahbench.planning.row_labels import base_label
from gahbench.planning.rows import rows
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_entries import configure_entrant
from gahbench.planning.suite_files import suite_files
from gahbench.registry import hookspecs
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry
from gahbench.registry.spec import parse_spec
from gahbench.report.cells import between, with_half_width
from gahbench.report.tables import markdown
from gahbench.testing import check_file
from gahbench.training.recipe import RECIPES, Training

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
PUBLISHED = sorted(folder.name for folder in (ROOT / "results").iterdir() if folder.is_dir())
HOOKS = [name for name, item in vars(hookspecs).items() if hasattr(item, "gahbench_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    assert f"`{hook}`" in GUIDE


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in Registry().names(kind)])
def test_every_plugin_is_documented(kind, name):
    plugin = Registry().get(kind, name)
    assert plugin.summary
    # A preset is a short name of another plugin.
    assert plugin.preset or f"`{name}`" in GUIDE


@pytest.mark.parametrize("name", marked(Registry().names("dataset")))
def test_every_dataset_and_its_optimum_are_in_the_guide_to_datasets(name, tmp_path):
    guide = (ROOT / "plugins" / "datasets" / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{name}` ")]
    kind = Registry().create("dataset", name, **small(name, tmp_path)).optimum.kind
    stated = row.split("|")[3]
    assert name == "shuffled" or stated.split()[0].strip(":,") == kind


def test_every_test_that_needs_an_extra_has_an_environment_in_ci():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    first, others = (
        re.search(pattern, script)[1] for pattern in (r"test_extras \.venv/\S+ (.*)", r"for extra in (.*);")
    )
    files = (ROOT / "tests").rglob("test_*.py")
    marks = [re.findall(r'mark\.extras\("([^"]+)"', file.read_text(encoding="utf-8")) for file in files]
    named = {package for found in marks for package in found} | {packages[0] for packages in NEEDS.values()}
    assert named - packages_of([*first.split(), *others.split()]) == set()


def blocks(file, language):
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("kind", ["basis", "reference"])
def test_every_basis_and_reference_is_in_its_rooms_guide(kind):
    folder = {"basis": "bases", "reference": "references"}[kind]
    guide = (ROOT / "plugins" / folder / "README.md").read_text(encoding="utf-8")
    plugins = [plugin for plugin in Registry().plugins(kind) if not plugin.preset]
    rows = {line.split("`")[1]: line.split("|")[2].strip() for line in guide.splitlines() if line.startswith("| `")}
    assert set(rows) == {plugin.name for plugin in plugins}
    if kind == "reference":
        assert {plugin.name: plugin.factory.kind for plugin in plugins} == rows


GUIDES = ["README.md", "plugins/datasets/README.md", "plugins/bases/README.md"]


@pytest.mark.parametrize("file", GUIDES)
def test_the_plugin_in_the_guide_keeps_the_contract(tmp_path, file):
    (code,) = [block for block in blocks(file, "python") if "hookimpl" in block]
    path = tmp_path / "from_guide.py"
    path.write_text(code)
    (report,) = check_file(path)
    assert report.passed, str(report)


ROOMS = (".github", "gahbench", "plugins", "results", "suites", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.md"))])


def anchors(file):
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(file):
    for link in re.findall(r"\]\(<?([^)>]+)", file.read_text(encoding="utf-8")):
        if not re.match(r"https?:|mailto:", link):
            path, _, anchor = link.partition("#")
            target = (file.parent / path) if path else file
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


PYTHON = [
    (str(file.relative_to(ROOT)), place)
    for file in (
        ROOT / "README.md",
        ROOT / "gahbench" / "README.md",
        *sorted((ROOT / "plugins").glob("*/README.md")),
        *(ROOT / "results").rglob("*.md"),
    )
    for place, code in enumerate(blocks(file, "python"))
    if "hookimpl" not in code
]


@pytest.mark.parametrize(("file", "place"), PYTHON)
def test_the_python_in_the_documents_runs(write_suite, tmp_path, monkeypatch, file, place):
    code = blocks(file, "python")[place]
    # The suite is one of seconds rather than minutes.
    code = code.replace('gahbench.run("quick", out="runs/quick")', "gahbench.run(suite, out=out, engine='inline')")
    monkeypatch.chdir(ROOT)
    names = {"suite": write_suite(), "out": tmp_path / "out"}
    for statement in ast.parse(code).body:
        text = ast.unparse(statement)
        if not isinstance(statement, ast.Expr):
            exec(text, names)
            continue
        # An expression on a line of its own stands there for its value.
        value = eval(text, names)
        assert value is not None, text
        shape = re.search(r"# shape (\([\d, ]+\))", code.splitlines()[statement.end_lineno - 1])
        assert shape is None or tuple(value.shape) == ast.literal_eval(shape[1]), text


def commands():
    """Return the gahbench commands of all documents: on lines of their own, or in code in a sentence or a table."""
    found = set()
    for file in DOCUMENTS:
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        text = re.sub(r"```python.*?```", "", text, flags=re.DOTALL)
        found |= {
            line.split("#")[0].strip() for line in re.findall(r"^(?: {4})?(gahbench .*)$", text, flags=re.MULTILINE)
        }
        found |= {" ".join(code.split()) for code in re.findall(r"`(gahbench [^`]+)`", text)}
    return sorted(found)


@pytest.mark.parametrize("line", commands())
def test_the_commands_in_the_documents_are_accepted(line):
    # In tables brackets are for what may be left out.
    words = [word for word in shlex.split(line) if not re.fullmatch(r"\[[A-Z]+\]", word)][1:]
    parser = get_command(app)
    while hasattr(parser, "commands"):
        assert words, line
        name = words.pop(0)
        assert name in parser.commands, line
        parser = parser.commands[name]
    words = ["architecture" if word in ("NOUN", "KIND") else word for word in words]
    if words or not parser.params[0].required:
        parser.make_context(line, words)


def test_the_suite_in_the_guide_loads(tmp_path, builtin):
    (text,) = blocks("suites/README.md", "yaml")
    content = yaml.safe_load(text)
    content["datasets"][1]["faces"].pop("path")
    file = tmp_path / "guide.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True))
    suite = load_suite(file, builtin)
    assert len(suite.datasets) == 4
    assert len(suite.entrants) == 8
    assert suite.entrants[-1].label == "cycle-spin[threshold[wavelet[db4,levels=3]]]"


def test_every_field_of_the_training_is_documented():
    text = (ROOT / "suites" / "README.md").read_text(encoding="utf-8")
    assert [name for name in Training.model_fields if f"`{name}`" not in text] == []
    table = {line.split("|")[1].strip().strip("`"): line.split("|")[2:4] for line in text.splitlines() if "|" in line}
    for place, recipe in enumerate(("kl", "paper")):
        for name in ("schedule", "noise", "weighting", "initialisation", "batch_size", "warmup"):
            assert table[name][place].strip() == str(RECIPES[recipe][name])


@pytest.mark.parametrize("name", suite_files())
def test_every_suite_loads_and_is_documented(builtin, name, tmp_path, monkeypatch):
    # Files of the user's, in a folder of the suite's name.
    for path in re.findall(rf"\b{name}/[\w./-]+", suite_files()[name].read_text(encoding="utf-8")):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    assert load_suite(name, builtin).name == name
    assert f"`{name}`" in (ROOT / "suites" / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    commands = [line for line in text.splitlines() if line.startswith("python3 ")]
    assert [line.split()[-1].rpartition("/")[2] for line in commands] == ["quick", "pytest"]


def test_the_published_board_loads_and_is_the_readmes():
    results = load_results(ROOT / "results" / "quick")
    board = results.leaderboard(full=True)
    assert len(board) == 24
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    written = (ROOT / "results" / "quick" / "leaderboard.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and "| trained" in line]
    assert len(rows) == 2
    assert all(row in written.splitlines() for row in rows)


def of_today(label, registry):
    """Return the label that an entrant of a board has now: plugins may have been renamed since it was published."""
    base = base_label(label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gahbench.GahbenchDeprecationWarning)
        return configure_entrant(registry, parse_spec(base)).label + label.removeprefix(base)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_board_is_of_the_suite_that_ships(builtin, name, tmp_path, monkeypatch):
    if name == "published":
        data = Path(os.environ.get("GAHBENCH_DATA", ROOT / ".." / "shared" / "data")).resolve()
        if not data.is_dir():
            pytest.skip("needs the files of published weights")
        (tmp_path / "published").symlink_to(data)
        # Labels have names without folders.
        for file in (data / "weights").iterdir():
            (tmp_path / file.name).symlink_to(file)
        monkeypatch.chdir(tmp_path)
    suite = load_suite(name, builtin)
    results = load_results(ROOT / "results" / name)
    board = results.leaderboard(full=True)
    labels = {row.label for row in rows(suite)}
    assert {label if label in labels else of_today(label, builtin) for label in board["entrant"]} == labels
    assert set(board["dataset"]) == {dataset.label for dataset in suite.datasets}
    assert results.failures.empty
    written = (ROOT / "results" / name / "leaderboard.md").read_text(encoding="utf-8")
    assert written == markdown(results)
    assert f"`{name}`" in (ROOT / "results" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_entrant_of_a_published_board_is_beyond_the_optimum(name):
    results = load_results(ROOT / "results" / name)
    checks = [optimum_check(results, dataset) for dataset in results.datasets["dataset"]]
    stand_for_it = results.scores["kind"].isin(("optimal", "bound")).any()
    known = results.datasets["optimum"].isin(("exact", "bracket")) & stand_for_it
    assert [check is not None for check in checks] == known.tolist()
    assert [check.beyond for check in checks if check] == [()] * len([check for check in checks if check])


def test_the_deficits_in_the_documents_are_those_of_the_board():
    board = load_results(ROOT / "results" / "optimal").board
    text = (ROOT / "results" / "optimal" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for family in board.datasets:
        cells = [
            between(family.estimate(entrant, "deficit", "min"), family.estimate(entrant, "deficit"))
            for entrant in ("unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]")
        ]
        (row,) = [line for line in text.splitlines() if f"| {' | '.join(cells)} |" in line]
        if row.split("|")[1].strip() in ("discs", "gaussian-field", "c-alpha, α = 2"):
            assert row in readme.splitlines()


def test_the_rates_in_the_documents_are_those_of_the_board():
    board = load_results(ROOT / "results" / "resolution").board
    text = (ROOT / "results" / "resolution" / "README.md").read_text(encoding="utf-8")
    table = text.split("Slope in the window, dB per dB:\n\n")[1].split("\n\n")[0].splitlines()
    sizes = [int(cell) for cell in table[0].strip("| ").split(" | ")[1:]]
    boards = {size: next(one for one in board.datasets if f"size={size}," in one.dataset) for size in sizes}
    assert sizes == [512, 1024, 2048]
    assert len(table) - 2 == 9
    for row in table[2:]:
        entrant, *found = [cell.strip().strip("`") for cell in row.strip("| ").split(" | ")]
        assert found == [with_half_width(boards[size].estimate(entrant, "rate")) for size in sizes]


def test_the_gains_of_oracles_in_the_documents_are_those_of_the_board():
    board = load_results(ROOT / "results" / "oracles").board
    text = (ROOT / "results" / "oracles" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 12
    for row in rows:
        entrant, *cells = [cell.strip().strip("`") for cell in row.strip("| ").split(" | ")]
        assert cells == [with_half_width(family.estimate(entrant, "psnr")) for family in board.datasets]
    assert sum(row in readme.splitlines() for row in rows) == 5


def test_the_figures_of_the_zoo_in_the_documents_are_those_of_the_board():
    board = load_results(ROOT / "results" / "zoo").board
    text = (ROOT / "results" / "zoo" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 19
    for row in rows:
        entrant, _, *cells = [cell.strip().strip("`") for cell in row.strip("| ").split(" | ")]
        assert cells == [with_half_width(family.estimate(entrant, "psnr")) for family in board.datasets]


def test_directions_and_alignments_in_the_documents_are_those_of_the_board():
    board = load_results(ROOT / "results" / "basis").board
    text = (ROOT / "results" / "basis" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    faces = "faces[size=24,test=28]"
    families = {
        "c-alpha": "c-alpha[alpha=2,size=24]",
        "discs": "discs[size=24]",
        "faces": faces,
        "photographs": "photos[size=24]",
        "shuffled faces": f"shuffled[{faces}]",
    }
    graph, haar = "graph-laplacian,given=wavelet-ti[haar]", "wavelet-ti[haar],given=graph-laplacian"

    def cells(entrant, metric, where):
        return [with_half_width(board.of(family).estimate(entrant, metric)) for family in where]

    def rows_after(heading):
        table = text.split(f"{heading}:\n\n")[1].split("\n\n")[0]
        return [line for line in table.splitlines()[2:] if line.startswith("| ")]

    for metric in ("direction", "alignment"):
        rows = rows_after(f"{metric.capitalize()} with `graph-laplacian`, mean over σ")
        assert len(rows) == 12
        for row in rows:
            entrant, *found = [cell.strip().strip("`") for cell in row.strip("| ").split(" | ")]
            assert found == cells(entrant, f"{metric}[{graph}]", families.values())
        if metric == "direction":
            assert sum(row in readme.splitlines() for row in rows) == 5
        rows = rows_after(f"{metric.capitalize()} with each basis, mean over σ")
        assert len(rows) == 20
        for row in rows:
            where, *found = [cell.strip() for cell in row.strip("| ").split(" | ")]
            family, name = where.rsplit(", ", 1)
            (entrant,) = {one.entrant for one in board.entries if one.entrant.startswith(f"{name.strip('`')}[")}
            estimates = [
                with_half_width(board.of(families[family.strip("`")]).estimate(entrant, f"{metric}[{basis}]"))
                for basis in (graph, haar, "haar", "sym4")
            ]
            assert found[:4] == estimates
    rows = rows_after("Eigenvalues above ½ on `discs`")
    assert len(rows) == 5
    for row in rows:
        entrant, *found = [cell.strip().strip("`") for cell in row.strip("| ").split(" | ")]
        levels = [board.of("discs[size=24]").estimate(entrant, "spectrum", "above-half", s) for s in (0.05, 0.2)]
        counts = [with_half_width(level) for level in levels]
        assert found == counts


def test_the_course_of_generalization_in_the_documents_is_that_of_the_board():
    results = load_results(ROOT / "results" / "generalization")
    text = (ROOT / "results" / "generalization" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    table = text.split("two seeds:\n\n")[1].split("\n\n")[0]
    measured = {
        "PSNR on training images, dB": ("psnr", "train", 0.1, 1),
        "PSNR on test images, dB": ("psnr", "test", 0.1, 1),
        "model variance over error, dB": ("model-variance.relative", "test", 0.1, 1),
        "cosine of paired samples": ("pair-cosine", "test", None, 2),
        "cosine with the closest training image": ("closest-training", "test", None, 2),
        "memorized up to brightness and contrast, share": ("memorization.affine", "test", None, 2),
    }
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()}
    for name, (metric, split, sigma, digits) in measured.items():
        found = course(results, "c-alpha[alpha=2,size=24]", "unet[width=24,norm=false]", metric, split)
        assert list(found) == [1, 10, 100, 1000, 10000]
        points = [next(iter(of.values())) if sigma is None else of[sigma] for of in found.values()]
        stated = [cell.split()[0].replace("−", "-") for cell in rows[name].split("|")[2:-1]]
        assert [f"{float(cell):.{digits}f}" for cell in stated] == [
            f"{point.value + 0.0:.{digits}f}" for point in points
        ]
        assert rows[name] in readme.splitlines()
    predicted = "sample-prediction[local-score[equivariant=true,images=100],max_samples=12]"
    line = next(line for line in text.splitlines() if line.startswith("| the network | `local-score` |"))
    found = course(results, "c-alpha[alpha=2,size=24]", "unet[width=24,norm=false]", predicted)
    assert [cell.split()[0] for cell in line.split("|")[3:-1]] == [
        f"{next(iter(points.values())).value:.2f}" for points in found.values()
    ]
