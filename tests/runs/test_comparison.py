"""Tests of comparing two folders, combining several on one board, and exporting tables."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sample_files import TINY
from tiny_runs import UNET, run_for_fixture
from tiny_runs import run as run_suite

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.board.combined import combine
from gahbench.report.columns import table_of_rows
from gahbench.report.text import export_board, latex
from gahbench.runs.comparison import compare

pytestmark = pytest.mark.usefixtures("figures_not_rendered")


@pytest.fixture(scope="module")
def runs(build_once):
    """Two folders: of the tiny suite, and of the suite with another seed, more steps and an added entrant."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY.replace("images: 3", "images: 6"))
        run_for_fixture(home / "tiny.yaml", home / "one")
        changed = {"training.steps": 60, "seeds": [1], "training.learning_rate": 5e-3}
        added = ["bayes-shrink[haar]"]
        run_for_fixture(home / "tiny.yaml", home / "two", settings=changed, entrants=added)

    home = build_once("compared", fill)
    return home / "one", home / "two"


@pytest.fixture
def run(runs):
    """A function that runs the suite of the two folders with other options, and returns the results."""

    def results(out, **options):
        return run_suite(runs[0].parent / "tiny.yaml", out, **options).results

    return results


def test_differences_agree_with_the_tidy_tables(runs):
    table = compare(*runs)
    assert table.columns.tolist() == ["dataset", "entrant", "sigma", "first", "second", "difference", "low", "high"]
    # BayesShrink is in one folder only.
    assert set(table["entrant"]) == {UNET, "identity", "oracle-threshold[haar]"}
    scores = [gahbench.load_results(folder).scores for folder in runs]
    for sigma in (0.1, 0.3):
        first, second = (
            rows[(rows["entrant"] == UNET) & (rows["sigma"] == sigma) & (rows["metric"] == "psnr")]
            .set_index("image")["value"]
            .sort_index()
            for rows in scores
        )
        row = table[(table["entrant"] == UNET) & (table["sigma"] == sigma)].iloc[0]
        assert row["first"] == pytest.approx(first.mean())
        assert row["difference"] == pytest.approx((second - first).mean())
        # The interval of paired differences is far narrower than that of either mean.
        error = (second - first).std() / len(first) ** 0.5
        # 2.57 is the quantile of t with 5 degrees of freedom; studentised intervals of few values are somewhat wider.
        assert 0.7 < (row["high"] - row["low"]) / (2 * 2.57 * error) < 2
    overall = table[table["sigma"].isna()].set_index("entrant")
    assert overall.loc["identity", "difference"] == 0
    levels = table[(table["entrant"] == UNET) & table["sigma"].notna()]
    assert overall.loc[UNET, "difference"] == pytest.approx(levels["difference"].mean())


def test_the_commands_print_comparisons_and_combined_boards(runs, command):
    status, printed, errors = command("compare")(*runs)
    assert (status, "differences are two minus one" in " ".join(printed.split())) == (0, True), errors
    assert all(line in printed for line in ("## sinusoids[size=16]", "| identity ", " one |", " two |", " σ 0.1 |"))
    status, printed, _ = command("leaderboard")(*runs)
    assert status == 0
    assert all(f"U-Net ({name})" in printed for name in ("one", "two"))
    assert printed.count("  Identity ") == 1
    status, printed, _ = command("leaderboard")(*runs, "-e", "unet*", "--format", "csv")
    table = pd.read_csv(io.StringIO(printed))
    assert set(table["entrant"]) == {f"{UNET} (one)", f"{UNET} (two)", "oracle-threshold[haar]"}
    status, _, errors = command("compare")(runs[0], runs[0])
    assert (status, "a folder is given twice" in errors) == (2, True)


def test_a_combined_board_has_each_reference_once(runs):
    first, second = map(gahbench.load_results, runs)
    both = combine({"A": first, "B": second})
    assert both.entrants == [f"{UNET} (A)", "identity", "oracle-threshold[haar]", f"{UNET} (B)", "bayes-shrink[haar]"]
    assert both.baseline == "oracle-threshold[haar]"
    board = both.leaderboard(full=True).set_index("entrant")
    for label, results in (("A", first), ("B", second)):
        before = results.leaderboard(full=True).set_index("entrant").loc[UNET]
        assert board.loc[f"{UNET} ({label})", "psnr"] == pytest.approx(before["psnr"])
        assert board.loc[f"{UNET} ({label})", "gain_over_baseline"] == pytest.approx(before["gain_over_baseline"])
    # Identical rows appear once.
    same = combine({"A": first, "B": first})
    assert same.entrants == first.entrants
    assert same.leaderboard(full=True).drop(columns="suite").equals(first.leaderboard(full=True).drop(columns="suite"))


def test_folders_with_other_images_or_noise_are_refused(runs, run, tmp_path):
    first = gahbench.load_results(runs[0])
    noise = run(tmp_path / "noise", settings={"scoring.noise_seed": 1}, only=["identity"])
    with pytest.raises(ResultsError, match="A and B were scored under different noise, or on different images"):
        combine({"A": first, "B": noise})
    with pytest.raises(ResultsError, match="one and noise were scored under different noise, or on different images"):
        compare(runs[0], tmp_path / "noise")


def test_only_common_noise_levels_and_images_are_compared(runs, run, tmp_path):
    second = run(tmp_path / "out", settings={"scoring.sigmas": [0.1, 0.2], "scoring.images": 4})
    first = gahbench.load_results(runs[0])
    with pytest.warns(UserWarning, match=r"compared at σ = 0\.1 on 4 images, which A, B have in common"):
        both = combine({"A": first, "B": second})
    rows = both.scores[both.scores["metric"] == "psnr"]
    assert (set(rows["sigma"]), set(rows["image"])) == ({0.1}, {0, 1, 2, 3})
    # Training has not changed, so both folders have the same network.
    assert both.entrants == first.entrants


def test_selected_rows_keep_the_values_of_the_whole_board(runs):
    results = gahbench.load_results(runs[1])
    selection = results.select(entrants=["bayes-shrink"])
    assert selection.entrants == ["oracle-threshold[haar]", "bayes-shrink[haar]"]
    board = results.leaderboard(full=True)
    shown = selection.leaderboard(full=True)
    # If only the selected rows were ranked, this entrant would be first.
    last = results.select(entrants=["identity"])
    assert last.leaderboard(full=True)["rank"].max() > 1
    assert replace(last).leaderboard(full=True)["rank"].max() == 1
    kept = board[board["entrant"].isin(selection.entrants)].reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, kept[shown.columns], check_exact=True)
    again = selection.select(metrics=["psnr"]).leaderboard(full=True)
    pd.testing.assert_frame_equal(again, shown[again.columns], check_exact=True)
    assert set(results.select(metrics=["slope"]).scores["metric"]) == {"psnr", "slope"}
    assert set(results.select(metrics=["psnr"]).scores["metric"]) == {"psnr"}
    for chosen in ({"entrants": ["vit"]}, {"datasets": ["faces"]}, {"metrics": ["ssim"]}):
        with pytest.raises(ResultsError, match="are not in the results"):
            results.select(**chosen)


def test_exported_tables_have_the_values_of_the_board(runs):
    results = gahbench.load_results(runs[0])
    wide = results.leaderboard(full=True)
    table = pd.read_csv(io.StringIO(export_board(results, "csv", ["entrant", "psnr@0.1", "gain_over_baseline"])))
    assert table.columns.tolist() == [
        "dataset", "entrant", "psnr@0.1", "psnr@0.1_low", "psnr@0.1_high", "gain_over_baseline",
        "gain_over_baseline_low", "gain_over_baseline_high",
    ]  # fmt: skip
    for name in table.columns[2:]:
        assert np.allclose(table[name], wide[name])
    text = export_board(results, "latex", ["rank", "entrant", "psnr"])
    assert text.count(r"\\") == 1 + len(wide)
    assert r"\begin{tabular}{llr}" in text
    # An interval is half a width, or two ends if it is skewed.
    psnr = re.escape(f"{wide.set_index('entrant').loc[UNET, 'psnr']:.2f}")
    assert re.search(rf"& {psnr} (\$\\pm\$\d+\.\d\d|\[\d+\.\d\d, \d+\.\d\d\]) ", text)


def test_labels_are_escaped_for_latex():
    text = latex(table_of_rows("t\n\\input{file}", ["entrant"], [["50_% & {x} \\ ~^#$"]], 1))
    assert text.startswith("% t \\input{file}\n")
    assert r"50\_\% \& \{x\} \textbackslash{} \textasciitilde{}\textasciicircum{}\#\$ \\" in text


def test_merged_results_without_conflicting_rows_keep_their_labels(runs, run, tmp_path):
    first = gahbench.load_results(runs[0])
    second = run(tmp_path / "other", settings={"datasets": ["sinusoids[size=8]"]}, only=["identity"])
    both = combine({"A": first, "B": second})
    assert both.entrants == first.entrants
    assert set(both.datasets["dataset"]) == {"sinusoids[size=16]", "sinusoids[size=8]"}
    assert combine({"A": first, "B": first.select(metrics=["psnr"])}).entrants == first.entrants


def test_a_reference_whose_psnr_differs_under_equal_noise_gives_two_rows(runs):
    first = gahbench.load_results(runs[0])
    changed_scores = first.scores.copy()
    is_identity = changed_scores["entrant"] == "identity"

    def entrants():
        return set(combine({"A": first, "B": replace(first, scores=changed_scores)}).entrants)

    # Other metrics may differ between machines by rounding, for example counts.
    assert (is_identity & (changed_scores["metric"] != "psnr")).any()
    changed_scores.loc[is_identity & (changed_scores["metric"] != "psnr"), "value"] += 1.0
    assert "identity" in entrants()
    changed_scores.loc[is_identity, "value"] += 0.5
    assert {"identity (A)", "identity (B)"} <= entrants()


def test_rows_of_a_sweep_remain_rows_of_a_sweep_when_merged(run, tmp_path):
    sweep = {"training.train_images": [2, 3], "training.steps": 3}
    parts = [run(tmp_path / name, settings=sweep, seeds=[seed]) for seed, name in enumerate("AB")]
    compared = set(compare(tmp_path / "A", tmp_path / "B")["entrant"])
    assert {f"{UNET} N=2", f"{UNET} N=3"} <= compared
    both = combine(dict(zip("AB", parts, strict=True)))
    assert f"{UNET} (A) N=2" in both.entrants
    rows = [f"{UNET} (A) N=2", f"{UNET} (A) N=3"]
    assert both.select(entrants=[f"{UNET} (A)"]).entrants == [*rows, "oracle-threshold[haar]"]
