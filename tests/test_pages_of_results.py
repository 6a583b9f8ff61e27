"""Numbers on the pages of published results agree with their boards."""

import functools

import numpy as np
import pytest
import scipy.stats
from published_pages import (
    ROOT,
    all_rows,
    load_directions,
    load_results,
    margin,
    mean_and_half_width,
    page,
    table_after,
)

from gahbench.board.generalization import sweep_curves
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.report.cells import between, format_interval
from gahbench.report.cells import number as format_number


def test_the_readme_shows_rows_of_the_published_board():
    assert len(load_results("quick").leaderboard(full=True)) == 24
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    board = (ROOT / "results" / "quick" / "leaderboard.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("| ") and "| trained" in line]
    assert len(rows) == 2
    assert all(row in board.splitlines() for row in rows)


def test_deficits_on_the_page_agree_with_the_board():
    for family in load_results("optimal").board.datasets:
        cells = [
            between(family.estimate(entrant, "deficit", "min"), family.estimate(entrant, "deficit"))
            for entrant in ("unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]")
        ]
        assert len([line for line in page("optimal").splitlines() if f"| {' | '.join(cells)} |" in line]) == 1


def test_rates_on_the_page_agree_with_the_board():
    board = load_results("resolution").board
    head, _, *rows = table_after("resolution", "Slope in the window, dB per dB:", 9, with_head=True)
    sizes = [int(cell) for cell in head[1:]]
    assert sizes == [512, 1024, 2048]
    families = [next(family for family in board.datasets if f"size={size}," in family.dataset) for size in sizes]
    for entrant, *cells in rows:
        assert cells == [format_interval(family.estimate(entrant, "rate")) for family in families]


@pytest.mark.parametrize(("name", "count", "other_columns"), [("oracles", 12, 0), ("zoo", 19, 1)])
def test_psnr_on_the_page_agrees_with_the_board(name, count, other_columns):
    rows = all_rows(name)
    assert len(rows) == count
    for entrant, *cells in rows:
        psnr = [format_interval(family.estimate(entrant, "psnr")) for family in load_results(name).board.datasets]
        assert cells[other_columns:] == psnr


def test_transfer_gaps_on_the_page_of_captures_agree_with_the_board_and_bear_out_its_sentences():
    results = load_results("captures")
    board = {family.dataset: family for family in results.board.datasets}
    gaps = table_after("captures", "with 95 % intervals over photographs:", 11)
    psnr = table_after("captures", "## PSNR under the noise of the camera", 11)
    for (entrant, *gap_cells), (same, *psnr_cells) in zip(gaps, psnr, strict=True):
        assert entrant == same
        intervals = [family.estimate(entrant, "transfer-gap") for family in board.values()]
        assert gap_cells == [format_interval(gap, sign=True) for gap in intervals]
        assert psnr_cells == [format_interval(family.estimate(entrant, "psnr")) for family in board.values()]
        assert all(gap.low < 0 < gap.high if entrant == "identity" else gap.high < 0 for gap in intervals)
    assert {entrant for entrant, *_ in gaps} == set(results.entrants)
    sigmas, taus, *correlations = table_after("captures", "1 if no pair changes places.", 4)
    assert sigmas[1:] == [f"{family.sigmas[0]:.3f}" for family in board.values()]
    for cell, family in zip(taus[1:], board.values(), strict=True):
        practical = [entry.entrant for entry in family.entries if entry.kind in PRACTICAL_KINDS]
        assert len(practical) == 9
        orders = [
            [family.estimate(label, *name).value for label in practical]
            for name in (("psnr",), ("transfer-gap", "drawn"))
        ]
        assert cell == format_number(scipy.stats.kendalltau(*orders).statistic)
    for cells, part in zip(correlations, ("columns-1", "rows-1"), strict=True):
        assert cells[1:] == [format_interval(f.estimate("identity", "transfer-gap", part)) for f in board.values()]

    values = results.scores.query("metric == 'transfer-gap'").pivot_table("value", ["dataset", "image"], "entrant")

    def paired_loss(entrant, other, dataset):
        """Return how much more an entrant loses than another, with a t interval over photographs."""
        losses = (values[other] - values[entrant]).loc[dataset]
        text, half_width = mean_and_half_width(losses)
        return text, losses.mean() > half_width

    text = " ".join(page("captures").split())
    many, some, few, _, no_mosaic = board
    losses = [paired_loss("BF-DnCNN 0-100", "bayes-shrink[sym4]", dataset) for dataset in (many, some, few, no_mosaic)]
    assert all(is_shown for _, is_shown in losses)
    cells = [cell for cell, _ in losses]
    assert f"loses {cells[0]}, {cells[1]} and {cells[2]} dB more than BayesShrink" in text
    assert f"and {cells[3]} dB more without mosaic" in text
    gains = [paired_loss("DnCNN 0-30", "BF-DnCNN 0-100", dataset) for dataset in (many, some, few)]
    assert [is_shown for _, is_shown in gains] == [False, True, True]
    assert f"less than DnCNN 0-30**, by {gains[1][0]} and {gains[2][0]} dB" in text


GRAPH, HAAR_TI = "graph-laplacian,controlling_for=wavelet-ti[haar]", "wavelet-ti[haar],controlling_for=graph-laplacian"
#: The datasets of basis by their names on its page.
FAMILIES = {
    "c-alpha": "c-alpha[alpha=2,size=24]",
    "discs": "discs[size=24]",
    "faces": "faces[size=24,test=28]",
    "photographs": "photos[size=24]",
    "shuffled faces": "shuffled[faces[size=24,test=28]]",
}


def basis_row(board, first_cell):
    """Return the board of the family, and the label of the network, that a first cell on the page of basis names."""
    family, name = first_cell.split(", ")[:2]
    family_board = board.for_dataset(FAMILIES[family])
    (entrant,) = {row.entrant for row in family_board.entries if row.entrant.startswith(f"{name.strip('`')}[")}
    return family_board, entrant


def test_directions_on_the_page_agree_with_the_board():
    board = load_directions().board
    graph, families = f"direction[{GRAPH}]", [board.for_dataset(family) for family in FAMILIES.values()]
    c_alpha, discs = families[:2]
    for entrant, *cells in table_after("basis", "Truth-direction, and direction with `graph-laplacian`", 9):
        metrics = [(family, metric) for metric in ("truth-direction", graph) for family in (c_alpha, discs)]
        assert cells == [format_interval(family.estimate(entrant, metric, "", 0.05)) for family, metric in metrics]
    for entrant, *cells in table_after("basis", "Direction with `graph-laplacian`, mean over σ:", 12):
        assert cells == [format_interval(family.estimate(entrant, graph)) for family in families]
    bases = (GRAPH, HAAR_TI, "haar", "sym4", "bandlet[sym5]", "dct")
    for first_cell, *cells in table_after("basis", "Direction with each basis, mean over σ:", 20):
        family, entrant = basis_row(board, first_cell)
        metrics = [*(f"direction[{basis}]" for basis in bases), "truth-direction"]
        assert cells == [format_interval(family.estimate(entrant, metric)) for metric in metrics]
    for first_cell, *cells in table_after("basis", "of the filters of each basis:", 6):
        family, entrant = basis_row(board, first_cell)
        parts = [(f"direction[{basis}]", "basis-share", sigma) for basis in bases[:3] for sigma in (0.05, 0.2)]
        assert cells == [format_interval(family.estimate(entrant, *part), digits=3) for part in parts]
    for entrant, *cells in table_after("basis", "Eigenvalues above ½ on `discs`:", 5):
        estimates = [discs.estimate(entrant, "spectrum", "above-half", sigma) for sigma in (0.05, 0.2)]
        assert cells == [format_interval(estimate) for estimate in estimates]


def test_differences_between_directions_on_the_page_agree_with_the_results():
    results = load_directions()
    bases = ("wavelet-ti[haar]", "haar", "sym4", "bandlet[sym5]", "dct")

    def difference(family, entrant, basis, sigma):
        values = margin(results, family.dataset, entrant, "graph-laplacian", basis, sigma)
        if values is None:
            return None
        middle, low, high = (f"{value:.2f}".replace("-", "−") for value in values)
        return f"{'' if middle.startswith('−') else '+'}{middle} [{low}, {high}]"

    for first_cell, *cells in table_after("basis", "paired over the same images", 16):
        family, entrant = basis_row(results.board, first_cell)
        for basis, cell in zip(bases, cells, strict=True):
            mean, at_low = (difference(family, entrant, basis, sigma) for sigma in (None, 0.05))
            if first_cell.endswith("σ = 0.05"):
                assert mean is None
                assert cell == (at_low or "–")
            else:
                assert cell == (mean or (f"– (σ = 0.05: {at_low})" if at_low else "–"))


#: The entrants and datasets of published by their names on its page.
PATCHES = {"photographs": "photos[bsd68.npz,size=24,test=44]", "faces": "faces[lfw40.npz,size=24]"}
WEIGHTS = {
    "BF-UNet 0–100": "mohan-unet[bias=false,checkpoint=bf_unet_0-100.pt]",
    "BF-DnCNN 0–100": "dncnn[width=64,bias=false,checkpoint=bf_dncnn_0-100.pt]",
    "BF-DnCNN 0–30": "dncnn[width=64,bias=false,checkpoint=bf_dncnn_0-30.pt]",
    "DnCNN 0–30": "dncnn[width=64,checkpoint=dncnn_0-30.pt]",
    "BF-RCNN 0–100": "mohan-rcnn[bias=false,checkpoint=bf_rcnn_0-100.pt]",
    "DnCNN-B": "dncnn[width=64,norm=false,checkpoint=dncnn_gray_blind.pth]",
    "FFDNet": "ffdnet[width=64,norm=false,checkpoint=ffdnet_gray.pth]",
    "BF-CNN 2021": "bf-cnn[width=64,layers=20,checkpoint=bf_cnn_2021_gray.pt]",
    "BF-CNN-RF": "bf-cnn-rf[width=64,checkpoint=bf_cnn_rf43_celeba160.pt]",
}


def test_directions_and_filters_of_published_networks_on_the_page_agree_with_the_board():
    board = load_results("published").board
    graph = "heat-kernel[graph-laplacian,kernel=tikhonov,trace_fraction=0.1]"
    entrants = {**WEIGHTS, "filter on the graph": graph, "local-blur": "local-blur"}
    bases = (GRAPH, HAAR_TI, "haar")
    scores = [(f"{metric}[{basis}]", "", 2) for metric in ("direction", "alignment") for basis in bases]
    parts = {"trace": 0, "above-half": 0, "largest": 2, "smallest": 2, "asymmetry": 2, "homogeneity": 2}
    facts = [*(("spectrum", *item) for item in parts.items()), ("self-consistency", "ratio", 2), ("adaptation", "", 1)]
    for start, count, columns in (
        ("## Direction and alignment", 24, [("psnr", "", 2), *scores, (f"alignment[{GRAPH}]", "ceiling", 2)]),
        ("## Other facts about the filters", 20, facts),
    ):
        for name, *cells in table_after("published", start, count):
            if name.startswith("**"):
                family = board.for_dataset(PATCHES[name.strip("* |")])
                continue
            estimates = [(family.estimate(entrants[name], *column), digits) for *column, digits in columns]
            assert cells == [format_interval(estimate, digits=digits) for estimate, digits in estimates]


def test_margins_and_self_consistency_of_published_networks_on_the_page_are_those_of_the_board():
    results = load_results("published")
    rows = table_after("published", "Direction with the graph minus direction with other bases", 9)
    assert [name for name, *_ in rows] == list(WEIGHTS)
    shown = {name: [] for name in PATCHES}
    for name, *cells in rows:
        for cell, basis in zip(cells, ("haar", "wavelet-ti[haar]"), strict=True):
            ends = [
                margin(results, dataset, WEIGHTS[name], "graph-laplacian", basis, None, "direction")
                for dataset in PATCHES.values()
            ]
            texts = [f"{value:+.2f} [{low:.2f}, {high:.2f}]" for value, low, high in ends]
            assert cell == ", ".join(texts).replace("-", "−")
            if basis == "haar":
                assert all(low > 0 for _, low, _ in ends)
            else:
                for patches, (_, low, _) in zip(PATCHES, ends, strict=True):
                    shown[patches] += [name] if low > 0 else []
    dncnn = ["BF-DnCNN 0–100", "BF-DnCNN 0–30", "DnCNN 0–30", "DnCNN-B"]
    assert shown["photographs"] == []
    assert sorted(shown["faces"]) == sorted(["BF-RCNN 0–100", "BF-CNN 2021", *dncnn])
    below, above = {}, {}
    for patches, dataset in PATCHES.items():
        ratios = {
            name: results.board.for_dataset(dataset).estimate(label, "self-consistency", "ratio")
            for name, label in WEIGHTS.items()
        }
        below[patches] = [name for name, ratio in ratios.items() if ratio.high < 1]
        above[patches] = [name for name, ratio in ratios.items() if ratio.low > 1]
    assert below == {patches: ["DnCNN 0–30"] for patches in PATCHES}
    assert above == {"photographs": ["FFDNet", "BF-CNN-RF"], "faces": []}


def test_the_tables_of_generalization_on_the_page_agree_with_the_board():
    results, dataset = load_results("generalization"), "c-alpha[alpha=2,size=24]"
    network, memory = "unet[width=24,norm=false]", "empirical-bayes[images=10000]"
    linear, local = "wiener-linear[images=10000]", "local-score[equivariant=true,images=100]"

    def cells(entrant, metric, split="test", sigma=None, digits=2):
        by_count = sweep_curves(results, dataset, entrant, metric, split)
        assert list(by_count) == [1, 10, 100, 1000, 10000]
        points = [next(iter(levels.values())) if sigma is None else levels[sigma] for levels in by_count.values()]
        return [format_interval(point, digits=digits) for point in points]

    assert {name: values for name, *values in table_after("generalization", "and the two seeds:", 13)} == {
        "PSNR on training images, dB": cells(network, "psnr", "train", 0.1, 1),
        "PSNR on test images, dB": cells(network, "psnr", "test", 0.1, 1),
        "model variance over error, dB": cells(network, "model-variance.relative", "test", 0.1, 1),
        "distance from memorization, test images": cells(network, f"distance[{memory}]", "test", 0.1, 3),
        "distance from the best linear, test images": cells(network, f"distance[{linear}]", "test", 0.1, 3),
        "Gaussian share of the score, σ = 0.8": cells(network, "gaussian-share", "test", 0.8, 3),
        "π, samples nearest to their own half, share": cells(network, "own-half"),
        "cosine of paired samples": cells(network, "pair-cosine"),
        "cosine of samples from other noise": cells(network, "pair-cosine.null"),
        "cosine with the closest training image": cells(network, "closest-training"),
        "the same, of fresh test images": cells(network, "closest-training.fresh"),
        "memorized up to brightness and contrast, share": cells(network, "memorization.affine"),
        "power spectrum distance, dB": cells(network, "sample-quality", digits=1),
    }
    names = {"the network": network, "empirical-bayes": memory, "wiener-linear": linear, "local-score": local}
    for entrant, predictor, *values in table_after("generalization", "from the same noise:", 5):
        assert values == cells(names[entrant], f"sample-prediction[{names[predictor]},max_samples=12]")


def test_slopes_of_psnr_on_the_page_of_generalization_agree_with_the_board_and_the_claims():
    results, dataset = load_results("generalization"), "c-alpha[alpha=2,size=24]"

    def slope(entrant, split, count):
        levels = sweep_curves(results, dataset, entrant, "psnr", split)[count]
        psnr = np.array([level.value for level in levels.values()])
        # Adding 0 turns −0.00 into 0.00.
        return f"{round(np.polyfit(-20 * np.log10(list(levels)), psnr, 1)[0], 2) + 0.0:.2f}"

    network, memory = "unet[width=24,norm=false]", "empirical-bayes[images=10000]"
    text = " ".join(page("generalization").split())
    assert [slope(network, "train", count) for count in (1, 10)] == ["1.12", "1.12"]
    assert "by 1.12 dB on training images" in text
    low, high = (slope(network, "test", count) for count in (1, 10))
    assert f"{low} dB (N = 1) and {high} dB (N = 10) on test images" in text
    assert f"has slope {slope(memory, 'test', 1)} on test images" in text
    claims = (ROOT / "results" / "claims.md").read_text(encoding="utf-8").splitlines()
    (claim,) = [line for line in claims if line.startswith("| `test-flat`")]
    cells = [cell.strip() for cell in claim.split("|")]
    assert cells[2] == "**fails**"
    assert f"fails: {cells[3]} is outside ±0.1" in text


def test_distances_and_slopes_on_the_page_of_rates_agree_with_the_board():
    results = load_results("rates")
    families = {
        (regions, side): results.board.for_dataset(
            f"c-alpha[alpha=4,{size}background_alpha={regions[2]},render_size=128]"
        )
        for regions in ("C^2", "C^4")
        for side, size in (("32", "size=32,"), ("64", ""))
    }
    head, _, *rows = table_after("rates", "at six of eleven noise levels:", 12, with_head=True)
    sigmas = [float(cell) for cell in head[3:]]
    for regions, side, entrant, *cells in rows:
        family = families[regions, side]
        assert cells == [format_interval(family.estimate(entrant, "deficit", "", s), digits=1) for s in sigmas]
    for entrant, *cells in table_after("rates", "0.30 with C⁴ regions.", 6):
        slopes = [family.estimate(entrant, "optimality-slope") for family in families.values()]
        assert cells == [format_interval(slope, sign=True) for slope in slopes]


def test_times_of_training_on_the_page_agree_with_the_board():
    board = load_results("dynamics").board.for_dataset("c-alpha[alpha=2,size=16]")
    measured = {
        "τ_gen, steps": ("training-times", "generalization", 0),
        "τ_mem, steps": ("training-times", "memorization", 0),
        "octaves from τ_gen to τ_mem": ("training-times", "", 2),
        "slope of learning times": ("learning-times", "", 2),
        "π at the end": ("own-half", "", 2),
        "test PSNR at the end, dB": ("psnr", "", 2),
    }
    for entrant in ("unet[width=24,levels=2,norm=false]", "linear"):
        cells_by_name = {name: cells for name, *cells in table_after("dynamics", f"`{entrant}`:", len(measured))}
        assert list(cells_by_name) == list(measured)
        for name, (metric, part, digits) in measured.items():
            estimates = [board.estimate(f"{entrant} N={number}", metric, part) for number in (8, 16, 32, 64, 128)]
            assert cells_by_name[name] == [format_interval(estimate, digits=digits) for estimate in estimates]


def test_learning_times_on_the_page_agree_with_the_board():
    (board,) = load_results("components").board.datasets
    ((entrant, *cells),) = table_after("components", "has slope −1.", 1)
    digits = {"": 3, "first": 0, "last": 0, "modes": 0}
    estimates = {part: board.estimate(entrant, "learning-times", part) for part in digits}
    assert cells == [format_interval(estimates[part], digits=digits[part]) for part in digits]


def test_shares_that_posteriors_explain_on_the_page_agree_with_the_board():
    board = load_results("posteriors").board
    families = {"c-alpha": "c-alpha[alpha=2,size=24]", "discs": "discs[size=24]"}
    local = "local-score[equivariant=true,images=100]"
    predictors = ("empirical-bayes", local, "pspc", "pca-locality", "pca-locality[batch=32]")
    for family, entrant, *cells in table_after("posteriors", "mean over σ = 0.05 to 0.8:", 12):
        family_board = board.for_dataset(families[family])
        shares = [family_board.estimate(entrant, f"distance[{predictor}]", "r2") for predictor in predictors]
        assert cells == [format_interval(share, digits=3) for share in shares]
    discs, levels = board.for_dataset(families["discs"]), (0.05, 0.1, 0.2, 0.4, 0.8)
    for entrant, *cells in table_after("posteriors", "whose dimension is 5:", 4):
        dimensions = [discs.estimate(entrant, "local-dimension", "", sigma) for sigma in levels]
        assert cells == [format_interval(dimension, digits=1) for dimension in dimensions]
    for family, *cells in table_after("posteriors", "a probability above ½:", 2):
        rows = [f"empirical-bayes N={number}" for number in (10, 100, 1000)]
        assert cells == [format_interval(board.for_dataset(families[family]).estimate(row, "collapse")) for row in rows]


def test_errors_and_samples_on_the_page_agree_with_the_board():
    board = load_results("samples").board.for_dataset("c-alpha[alpha=2,size=24]")
    for entrant, *cells in table_after("samples", "It took 9 minutes on two cores.", 5):
        estimates = [board.estimate(entrant, "psnr", "", sigma) for sigma in (0.05, 0.1, 0.2, 0.4, 0.8)]
        estimates.append(board.estimate(entrant, "sample-quality"))
        assert cells == [format_interval(estimate) for estimate in estimates]


def test_flows_and_dimensions_on_the_page_agree_with_the_board():
    board = load_results("flows").board
    families = {"sinusoids": "sinusoids[size=16]", "Gaussian fields": "gaussian-field[alpha=2,size=16]"}
    network, memory = "unet[width=16,levels=2,bias=true,norm=false,blind=false]", "empirical-bayes"
    labels = {"best denoiser": "optimal"}
    for number in (10, 100, 1000):
        labels[f"U-Net, N = {number}"] = f"{network} N={number}"
        labels[f"Empirical Bayes, N = {number}"] = f"{memory} N={number}"
    digits = {"psnr": 2, "flow-distance[optimal]": 3, "flow-distance[empirical-bayes]": 3, "memorization": 2}
    for family, name, *cells in table_after("flows", "from different noise are", 14):
        estimates = {key: board.for_dataset(families[family]).estimate(labels[name], key) for key in digits}
        assert cells == [format_interval(estimates[key], digits=digits[key]) for key in digits]
    for family, name, *cells in table_after("flows", "the dimension of the data:", 8):
        row = functools.partial(board.for_dataset(families[family]).estimate, labels[name], "local-dimension", "")
        assert cells == [format_interval(row(sigma), digits=1) for sigma in (0.02, 0.05, 0.1, 0.2, 0.4)]
    for family, name, *cells in table_after("flows", "the score of the training images:", 6):
        row = functools.partial(board.for_dataset(families[family]).estimate, labels[name], "selective-underfitting")
        assert cells == [format_interval(row(part, 0.02)) for part in ("supervision", "extrapolation", "")]


def test_gaps_and_directions_of_transformers_on_the_page_agree_with_the_board():
    (board,) = load_results("attention").board.datasets
    networks = {
        "transformer": "dit[patch=2,width=48,depth=4]",
        "transformer, windows": "dit[patch=2,width=48,depth=4,window=2]",
        "U-Net": "unet[width=16,levels=2,blind=false]",
    }
    labels = {
        f"{name}, N = {number}": f"{networks[name]} N={number}" for name in networks for number in (30, 300, 3000)
    }
    labels |= {"filter on the graph": "heat-kernel[graph-laplacian]", "lower bound": "lower-bound"}
    graph = "direction[graph-laplacian]"
    for start, count, columns in (
        ("where smaller is better:", 9, [("psnr", ""), ("generalization-gap", ""), ("sample-quality", "")]),
        (
            "are means over σ:",
            11,
            [(graph, ""), (graph, "ceiling"), ("truth-direction", ""), ("spectrum", "homogeneity")],
        ),
    ):
        for name, *cells in table_after("attention", start, count):
            assert cells == [format_interval(board.estimate(labels[name], *column)) for column in columns]
