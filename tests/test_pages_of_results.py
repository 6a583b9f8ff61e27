"""The pages of the published results agree with their boards."""

import functools
from pathlib import Path

import pytest
from surroundings import real_data

from gahbench.board import results as published_results
from gahbench.board.generalization import course
from gahbench.contracts.row_labels import base_label
from gahbench.planning.rows import rows
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.spec import parse_spec
from gahbench.report.cells import between, rank, with_half_width
from gahbench.report.tables import markdown

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(folder.name for folder in (ROOT / "results").iterdir() if folder.is_dir())


@functools.cache
def load_results(name):
    return published_results.load_results(ROOT / "results" / name)


def page(name):
    return (ROOT / "results" / name / "README.md").read_text(encoding="utf-8")


def table_after(name, start, count, with_head=False):
    """Return the cells of the rows of the first table of a page after a text, without its head and marks of code."""
    lines = page(name).split(start)[1].split("\n\n", 1)[1].split("\n\n")[0].splitlines()
    assert len(lines) - 2 == count
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]
    return cells if with_head else cells[2:]


def all_rows(name):
    """Return the cells of the rows of all tables of a page that begin with code."""
    lines = [line for line in page(name).splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_published_board_loads_and_is_the_readmes():
    assert len(load_results("quick").leaderboard(full=True)) == 24
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    written = (ROOT / "results" / "quick" / "leaderboard.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and "| trained" in line]
    assert len(rows) == 2
    assert all(row in written.splitlines() for row in rows)


def of_today(label, registry):
    """Return the label that an entrant of a board has now: defaults may have changed since it was published."""
    base = base_label(label)
    return configure_entrant(registry, parse_spec(base)).label + label.removeprefix(base)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_board_is_of_the_suite_that_ships_and_no_entrant_is_beyond_the_optimum(
    builtin, name, tmp_path, monkeypatch
):
    results = load_results(name)
    checks = [results.optimum_checks.get(dataset) for dataset in results.datasets["dataset"]]
    has_optimum = results.scores["kind"].isin(("optimal", "bound")).any()
    known = results.datasets["optimum"].isin(("exact", "bracket")) & has_optimum
    assert [check is not None for check in checks] == known.tolist()
    assert all(check.beyond == () for check in checks if check)
    assert results.failures.empty
    written = (ROOT / "results" / name / "leaderboard.md").read_text(encoding="utf-8")
    assert written == markdown(results)
    assert f"`{name}`" in (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    if name == "published":
        data = real_data()
        if not (data / "weights").is_dir():
            pytest.skip("needs the files of published weights")
        (tmp_path / "published").symlink_to(data)
        # Labels have names without folders.
        for file in (data / "weights").iterdir():
            (tmp_path / file.name).symlink_to(file)
        monkeypatch.chdir(tmp_path)
    suite = load_suite(name, builtin)
    labels = {row.label for row in rows(suite)}
    assert {label if label in labels else of_today(label, builtin) for label in results.entrants} == labels
    assert {board.dataset for board in results.board.datasets} == {dataset.label for dataset in suite.datasets}


def test_the_deficits_in_the_documents_are_those_of_the_board():
    for family in load_results("optimal").board.datasets:
        cells = [
            between(family.estimate(entrant, "deficit", "min"), family.estimate(entrant, "deficit"))
            for entrant in ("unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]")
        ]
        assert len([line for line in page("optimal").splitlines() if f"| {' | '.join(cells)} |" in line]) == 1


def test_the_rates_in_the_documents_are_those_of_the_board():
    board = load_results("resolution").board
    head, _, *rows = table_after("resolution", "Slope in the window, dB per dB:", 9, with_head=True)
    sizes = [int(cell) for cell in head[1:]]
    assert sizes == [512, 1024, 2048]
    boards = [next(one for one in board.datasets if f"size={size}," in one.dataset) for size in sizes]
    for entrant, *found in rows:
        assert found == [with_half_width(one.estimate(entrant, "rate")) for one in boards]


@pytest.mark.parametrize(("name", "count", "others"), [("oracles", 12, 0), ("zoo", 19, 1)])
def test_psnr_in_the_documents_is_that_of_the_board(name, count, others):
    rows = all_rows(name)
    assert len(rows) == count
    for entrant, *cells in rows:
        found = [with_half_width(family.estimate(entrant, "psnr")) for family in load_results(name).board.datasets]
        assert cells[others:] == found


def test_the_figures_of_the_standard_board_in_the_documents_are_those_of_the_board():
    results = load_results("standard")
    board = results.board
    ranks = {(one.dataset, entry.entrant): entry for one in board.datasets for entry in one.entries}
    overall = {one.entrant: (one.rank, one.rank_high) for one in results.means_over_datasets.rows}

    def psnr(dataset, entrant):
        entry, value = ranks.get((dataset, entrant)), with_half_width(board.of(dataset).estimate(entrant, "psnr"))
        return value if entry is None or entry.rank is None else f"{value} ({rank(entry.rank, entry.rank_high)})"

    for entrant, *cells, last in table_after("standard", "with the interval of the rank:", 14):
        assert cells == [psnr(one.dataset, entrant) for one in board.datasets]
        assert last == rank(*overall.get(entrant, (None, None)))
    direction = "direction[graph-laplacian,given=wavelet-ti[haar],ceilings=1]"
    for start, metric, part, sigma, count in (
        ("Direction with graph harmonics at σ = 0.05:", direction, "", 0.05, 10),
        ("the ceiling of direction, at σ = 0.05:", direction, "ceiling", 0.05, 7),
        ("Squared error over σ² trace, mean over σ:", "self-consistency", "ratio", None, 10),
    ):
        for entrant, *cells in table_after("standard", start, count):
            found = [one.estimate(entrant, metric, part, sigma) for one in board.datasets]
            assert cells == [with_half_width(value) for value in found]


def test_directions_in_the_documents_are_those_of_the_board():
    board = load_results("basis").board
    faces = "faces[size=24,test=28]"
    families = {
        "c-alpha": "c-alpha[alpha=2,size=24]",
        "discs": "discs[size=24]",
        "faces": faces,
        "photographs": "photos[size=24]",
        "shuffled faces": f"shuffled[{faces}]",
    }
    graph, haar = "graph-laplacian,given=wavelet-ti[haar]", "wavelet-ti[haar],given=graph-laplacian"
    for entrant, *found in table_after("basis", "Direction with `graph-laplacian`, mean over σ:", 12):
        estimates = [board.of(family).estimate(entrant, f"direction[{graph}]") for family in families.values()]
        assert found == [with_half_width(one) for one in estimates]
    for where, *found in table_after("basis", "Direction with each basis, mean over σ:", 20):
        family, name = where.rsplit(", ", 1)
        (entrant,) = {one.entrant for one in board.entries if one.entrant.startswith(f"{name.strip('`')}[")}
        own = board.of(families[family.strip("`")])
        estimates = [own.estimate(entrant, f"direction[{basis}]") for basis in (graph, haar, "haar", "sym4")]
        assert found[:4] == [with_half_width(one) for one in estimates]
    for entrant, *found in table_after("basis", "Eigenvalues above ½ on `discs`:", 5):
        levels = [board.of("discs[size=24]").estimate(entrant, "spectrum", "above-half", s) for s in (0.05, 0.2)]
        assert found == [with_half_width(level) for level in levels]


def test_the_course_of_generalization_in_the_documents_is_that_of_the_board():
    results, where = load_results("generalization"), ("c-alpha[alpha=2,size=24]", "unet[width=24,norm=false]")
    measured = {
        "PSNR on training images, dB": ("psnr", "train", 0.1, 1),
        "PSNR on test images, dB": ("psnr", "test", 0.1, 1),
        "model variance over error, dB": ("model-variance.relative", "test", 0.1, 1),
        "cosine of paired samples": ("pair-cosine", "test", None, 2),
        "cosine with the closest training image": ("closest-training", "test", None, 2),
        "memorized up to brightness and contrast, share": ("memorization.affine", "test", None, 2),
    }
    table = page("generalization").split("two seeds:\n\n")[1].split("\n\n")[0]
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines()}
    for name, (metric, split, sigma, digits) in measured.items():
        found = course(results, *where, metric, split)
        assert list(found) == [1, 10, 100, 1000, 10000]
        points = [next(iter(of.values())) if sigma is None else of[sigma] for of in found.values()]
        stated = [float(cell.split()[0].replace("−", "-")) for cell in rows[name]]
        assert [f"{cell:.{digits}f}" for cell in stated] == [f"{point.value + 0.0:.{digits}f}" for point in points]
    line = next(
        line for line in page("generalization").splitlines() if line.startswith("| the network | `local-score`")
    )
    found = course(results, *where, "sample-prediction[local-score[equivariant=true,images=100],max_samples=12]")
    values = [f"{next(iter(points.values())).value:.2f}" for points in found.values()]
    assert [cell.split()[0] for cell in line.split("|")[3:-1]] == values


def test_the_distances_and_verdicts_on_the_rate_in_the_documents_are_those_of_the_board():
    results = load_results("rates")
    families = {
        (regions, side): results.board.of(f"c-alpha[alpha=4,{size}background_alpha={regions[2]},master=128]")
        for regions in ("C^2", "C^4")
        for side, size in (("32", "size=32,"), ("64", ""))
    }
    head, _, *rows = table_after("rates", "at six of eleven noise levels:", 12, with_head=True)
    sigmas = [float(cell) for cell in head[3:]]
    for regions, side, entrant, *cells in rows:
        family = families[regions, side]
        assert cells == [with_half_width(family.estimate(entrant, "deficit", "", s), digits=1) for s in sigmas]
    answers = {"near-optimal": "near-optimal", "not near-optimal": "not", "undecided": "undecided"}
    rows = [row for row in all_rows("rates") if row[-1] in answers.values()]
    assert len(rows) == 6
    for entrant, *cells in rows:
        found = [results.rate_verdicts[family.dataset][entrant].answer for family in families.values()]
        assert cells == [answers[answer] for answer in found]


def test_times_of_training_in_the_documents_are_those_of_the_board():
    board = load_results("dynamics").board.of("c-alpha[alpha=2,size=16]")
    measured = {
        "τ_gen, steps": ("training-times", "generalization", 0),
        "τ_mem, steps": ("training-times", "memorization", 0),
        "octaves from τ_gen to τ_mem": ("training-times", "", 2),
        "slope of learning times": ("learning-times", "", 2),
        "π at the end": ("own-half", "", 2),
        "test PSNR at the end, dB": ("psnr", "", 2),
    }
    for entrant in ("unet[width=24,levels=2,norm=false]", "linear"):
        found = {name: cells for name, *cells in table_after("dynamics", f"`{entrant}`:", len(measured))}
        assert list(found) == list(measured)
        for name, (metric, part, digits) in measured.items():
            rows = [board.estimate(f"{entrant} N={number}", metric, part) for number in (8, 16, 32, 64, 128)]
            assert found[name] == [with_half_width(row, digits=digits) for row in rows]


def test_learning_times_in_the_documents_are_those_of_the_board():
    (board,) = load_results("components").board.datasets
    ((entrant, *cells),) = table_after("components", "has slope −1.", 1)
    parts = {"": 3, "first": 0, "last": 0, "modes": 0}
    found = {part: board.estimate(entrant, "learning-times", part) for part in parts}
    assert cells == [with_half_width(found[part], digits=digits) for part, digits in parts.items()]


def test_shares_that_posteriors_explain_in_the_documents_are_those_of_the_board():
    board = load_results("posteriors").board
    families = {"c-alpha": "c-alpha[alpha=2,size=24]", "discs": "discs[size=24]"}
    local = "local-score[equivariant=true,images=100]"
    predictors = ("empirical-bayes", local, "pspc", "pca-locality", "pca-locality[batch=32]")
    for family, entrant, *cells in table_after("posteriors", "mean over σ = 0.05 to 0.8:", 12):
        found = [board.of(families[family]).estimate(entrant, f"distance[{one}]", "r2") for one in predictors]
        assert cells == [with_half_width(one, digits=3) for one in found]
    discs, levels = board.of(families["discs"]), (0.05, 0.1, 0.2, 0.4, 0.8)
    for entrant, *cells in table_after("posteriors", "whose dimension is 5:", 4):
        found = [discs.estimate(entrant, "local-dimension", "", s) for s in levels]
        assert cells == [with_half_width(one, digits=1) for one in found]
    for family, *cells in table_after("posteriors", "a probability above ½:", 2):
        rows = [f"empirical-bayes N={number}" for number in (10, 100, 1000)]
        assert cells == [with_half_width(board.of(families[family]).estimate(row, "collapse")) for row in rows]


def test_errors_and_samples_in_the_documents_are_those_of_the_board():
    board = load_results("samples").board.of("c-alpha[alpha=2,size=24]")
    for entrant, *cells in table_after("samples", "It took 9 minutes on two cores.", 5):
        found = [board.estimate(entrant, "psnr", "", sigma) for sigma in (0.05, 0.1, 0.2, 0.4, 0.8)]
        found.append(board.estimate(entrant, "sample-quality"))
        assert cells == [with_half_width(one) for one in found]
