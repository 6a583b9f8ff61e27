"""The tutorial on direction: its text agrees with what its commands print, with the library and with the board."""

import importlib.util
import re
import sys

import pytest
import torch
from published_pages import ROOT, load_directions

import gahbench
from gahbench.evaluation import adaptation, align, remove_strength
from gahbench.evaluation.evaluation import Evaluation
from gahbench.jacobian import Sketch

PAGE = (ROOT / ".docs" / "tutorials" / "direction.md").read_text(encoding="utf-8")


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return the folder in which the commands of the page ran, and the page with their output."""
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, load(ROOT / ".docs" / "tutorials.py").execute(PAGE, folder)


def test_the_text_quotes_what_the_commands_print(executed):
    folder, page = executed
    text = " ".join(re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL).split())
    printed = {name.strip(): values for name, values in re.findall(r"^([a-z0-9° ]+): (.* .*\d)$", page, re.MULTILINE)}
    numbers = {name: [float(value) for value in re.findall(r"-?\d+\.\d+", line)] for name, line in printed.items()}
    in_one = {name: numbers[name] for name in ("best", "other signal", "opposite", "blind")}
    by_graph = {name: values[1] for name, values in in_one.items()}
    in_two = {name: numbers[name] for name in ("graph", "along", "across", "at 45°", "round")}
    assert numbers["best"][0] == 1
    assert in_two["graph"][0] == in_two["graph"][2] == 1
    assert in_one["blind"] == [0, 0, 0]

    def minus(value):
        return f"{value:.2f}".replace("-", "−")

    assert f"the graph of another signal: {minus(by_graph['other signal'])}" in text
    assert f"has {minus(by_graph['opposite'])} with the graph" in text
    assert f"`best` has only {minus(by_graph['best'])} with the graph" in text
    assert f"near the edge, scores {minus(in_two['round'][0])}" in text
    along, across, diagonal, by_round = (minus(in_two[name][2]) for name in ("along", "across", "at 45°", "round"))
    assert f"along the edge score {along}, across {across}, at 45° {diagonal}" in text
    assert f"the round blur now scores {by_round}" in text
    assert (folder / "directions.png").stat().st_size > 10_000


def test_the_functions_on_the_page_agree_with_the_library(executed, monkeypatch):
    monkeypatch.syspath_prepend(str(executed[0]))
    previous = torch.get_default_dtype()
    try:
        tutorial = load(executed[0] / "one_dimension.py")
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
        sys.modules.pop("one_dimension", None)


def test_the_table_agrees_with_the_board():
    results = load_directions()
    discs, metrics = results.board.for_dataset("discs[size=24]"), set(results.scores["metric"])
    (graph,) = {metric for metric in metrics if metric.startswith("direction[graph-laplacian") and metric.endswith("]")}
    columns = [("psnr", ""), ("truth-direction", ""), (graph, ""), (graph, "ceiling")]
    table = PAGE.split("results/basis/README.md):\n\n")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 6
    labels = {label.split("[")[0]: label for label in results.entrants}
    for line in table:
        name, *cells = [cell.strip().strip("`") for cell in line.strip("| ").split(" | ")]
        values = [discs.estimate(labels[name], *column, 0.05).value for column in columns]
        assert cells == [f"{round(float(value), 2) + 0.0:.2f}" for value in values]
        if name == "unet":
            assert f"The U-Net's is {cells[-1]}" in " ".join(PAGE.split())
    for sigma, loss in ((0.05, "13 dB worse"), (0.2, "(6.5 dB at σ = 0.2)")):
        best, graph_filter = (discs.estimate(labels[name], "psnr", "", sigma) for name in ("optimal", "heat-kernel"))
        assert f"{float(best.value - graph_filter.value):.2g} dB" in loss
        assert loss in " ".join(PAGE.split())


@pytest.mark.parametrize(
    ("column", "metric"),
    [(0, "truth-direction"), pytest.param(1, "direction[graph-laplacian]", marks=pytest.mark.slow)],
)
def test_the_directions_of_the_bilateral_filter_are_those_on_the_page(column, metric):
    name, dataset = "bilateral[hr=0.3]", gahbench.create("dataset", "c-alpha[size=16]")
    evaluation = Evaluation(gahbench.create("reference", name), dataset.images("test", 28), [0.1], dataset=dataset)
    scores = gahbench.create("metric", metric).score(evaluation)
    values = [value for value, part in zip(scores.value, scores.part, strict=True) if part == ""]
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}`")]
    shown = re.findall(r"(\S+) ±", row)
    assert len(shown) == 2
    assert shown[column] == f"{sum(values) / len(values):.2f}"
