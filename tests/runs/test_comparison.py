"""Two folders compared, several on one board, and tables for elsewhere."""

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from sample_files import TINY
from tiny_runs import UNET

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.board.combined import combined, labels_of_first, relabelled
from gahbench.board.selection import selected
from gahbench.report.tables import export_board, latex, table_of_rows
from gahbench.runs.comparison import compare

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")


@pytest.fixture(scope="module")
def runs(made_once):
    """Two folders: the tiny suite, and one of another seed, more steps, and one entrant less and one more."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY.replace("images: 3", "images: 6"))
        gahbench.run(home / "tiny.yaml", home / "one", engine="inline")
        changed = {"training.steps": 200, "seeds": [1], "training.learning_rate": 5e-3}
        added = ["bayes-shrink[haar]"]
        gahbench.run(home / "tiny.yaml", home / "two", engine="inline", settings=changed, entrants=added)

    home = made_once("compared", fill)
    return home / "one", home / "two"


@pytest.fixture
def run(runs):
    """Run the suite of the two folders with other options; return the results."""

    def results(out, **options):
        return gahbench.run(runs[0].parent / "tiny.yaml", out, engine="inline", **options).results

    return results


def test_differences_are_those_of_the_tidy_tables(runs):
    found = compare(*runs)
    assert found.names == ("one", "two")
    rows = {(row.entrant, row.sigma): row for row in found.rows}
    assert {entrant for entrant, _ in rows} == {UNET, "identity", "oracle-threshold[haar]"}
    scores = [gahbench.load_results(folder).scores for folder in runs]
    for sigma in (0.1, 0.3):
        one, other = (
            table[(table["entrant"] == UNET) & (table["sigma"] == sigma) & (table["metric"] == "psnr")]
            .set_index("image")["value"]
            .sort_index()
            for table in scores
        )
        row = rows[UNET, sigma]
        assert row.one == pytest.approx(one.mean())
        assert row.difference.value == pytest.approx((other - one).mean())
        # Paired: far narrower than the spread of images allows to either alone.
        error = (other - one).std() / len(one) ** 0.5
        assert row.difference.high - row.difference.low == pytest.approx(2 * 2.57 * error, rel=0.5)
    assert rows["identity", None].difference.value == 0
    table = found.table()
    assert set(table.columns) == {"dataset", "entrant", "sigma", "one", "other", "difference", "low", "high"}
    assert found.only == ("bayes-shrink[haar]: only in two",)
    assert found.protocol[0] == "seeds: [0] and [1]"
    assert any(line.startswith("training.steps: 12 and 200 (of fit") for line in found.protocol)
    assert any(line.startswith("training.learning_rate: ") for line in found.protocol)
    assert (found.code, found.environment) == ((), ())
    # Another day is no other machine.
    record = json.loads((runs[1] / "environment.json").read_text(encoding="utf-8"))
    assert date.fromisoformat(record["date"]) <= datetime.now(UTC).date()
    (runs[1] / "environment.json").write_text(json.dumps({**record, "date": "2001-01-01"}), encoding="utf-8")
    assert compare(*runs).environment == ()


def test_the_commands_print_them(runs, command):
    status, printed, errors = command("compare")(*runs)
    assert (status, "differences are two minus one" in " ".join(printed.split())) == (0, True), errors
    assert "seeds: [0] and [1]" in printed
    status, printed, _ = command("leaderboard")(*runs)
    assert status == 0
    assert all(f"{UNET} ({name})" in printed for name in ("one", "two"))
    assert printed.count("| identity ") == 2  # summary and levels
    status, printed, _ = command("leaderboard")(*runs, "-e", "unet*", "--format", "csv")
    table = pd.read_csv(io.StringIO(printed))
    assert set(table["entrant"]) == {f"{UNET} (one)", f"{UNET} (two)", "oracle-threshold[haar]"}
    status, _, errors = command("compare")(runs[0], runs[0])
    assert (status, "a folder is given twice" in errors) == (2, True)


def test_one_board_of_several_has_each_reference_once(runs):
    one, two = map(gahbench.load_results, runs)
    both = one.merged(two, ("A", "B"))
    assert both.entrants == [f"{UNET} (A)", "identity", "oracle-threshold[haar]", f"{UNET} (B)", "bayes-shrink[haar]"]
    assert both.baseline == "oracle-threshold[haar]"
    board = both.leaderboard(full=True).set_index("entrant")
    for label, own in (("A", one), ("B", two)):
        before = own.leaderboard(full=True).set_index("entrant").loc[UNET]
        assert board.loc[f"{UNET} ({label})", "psnr"] == pytest.approx(before["psnr"])
        assert board.loc[f"{UNET} ({label})", "gain_over_baseline"] == pytest.approx(before["gain_over_baseline"])
    # The same twice is once.
    same = combined({"A": one, "B": one})
    assert same.entrants == one.entrants
    assert same.leaderboard(full=True).drop(columns="suite").equals(one.leaderboard(full=True).drop(columns="suite"))


def test_other_images_or_noise_are_refused(runs, run, tmp_path):
    one = gahbench.load_results(runs[0])
    noise = run(tmp_path / "noise", settings={"scoring.noise_seed": 1}, only=["identity"])
    with pytest.raises(ResultsError, match="A and B were scored under different noise, or on different images"):
        one.merged(noise, ("A", "B"))
    # Where the noise is not on record, references show it.
    unknown = replace(one, datasets=one.datasets.assign(protocol=""))
    moved = one.scores.copy()
    moved.loc[moved["entrant"] == "identity", "value"] += 0.01
    with (
        pytest.warns(UserWarning, match="the noise of A is not on record"),
        pytest.raises(ResultsError, match=r"'identity' has 20\.000 dB in A and 20\.010 dB in B"),
    ):
        unknown.merged(replace(unknown, scores=moved), ("A", "B"))


def test_levels_and_images_in_common_are_compared(runs, run, tmp_path):
    other = run(tmp_path / "out", settings={"scoring.sigmas": [0.1, 0.2], "scoring.images": 4})
    one = gahbench.load_results(runs[0])
    with pytest.warns(UserWarning, match=r"compared at σ = 0\.1 on 4 images, which A, B have in common"):
        both = one.merged(other, ("A", "B"))
    rows = both.scores[both.scores["metric"] == "psnr"]
    assert (set(rows["sigma"]), set(rows["image"])) == ({0.1}, {0, 1, 2, 3})
    # Nothing that decides a fit has changed: both folders have the same network.
    assert both.entrants == one.entrants


def test_a_selected_row_is_that_of_the_whole_board(runs):
    results = gahbench.load_results(runs[1])
    found = selected(results, entrants=["bayes-shrink"])
    assert found.entrants == ["oracle-threshold[haar]", "bayes-shrink[haar]"]
    whole = results.leaderboard(full=True)
    shown = found.leaderboard(full=True)
    # Alone it would be the first.
    last = selected(results, entrants=["identity"])
    assert last.leaderboard(full=True)["rank"].max() > 1
    assert replace(last, whole=None).leaderboard(full=True)["rank"].max() == 1
    kept = whole[whole["entrant"].isin(found.entrants)].reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, kept[shown.columns], check_exact=True)
    again = selected(found, metrics=["psnr"]).leaderboard(full=True)
    pd.testing.assert_frame_equal(again, shown[again.columns], check_exact=True)
    assert set(selected(results, metrics=["slope"]).scores["metric"]) == {"psnr", "slope"}
    assert set(selected(results, metrics=["psnr"]).scores["metric"]) == {"psnr"}
    for chosen in ({"entrants": ["vit"]}, {"datasets": ["faces"]}, {"metrics": ["ssim"]}):
        with pytest.raises(ResultsError, match="are not in the results"):
            selected(results, **chosen)


def test_tables_for_elsewhere_have_the_values_of_the_board(runs):
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
    assert f"{wide.set_index('entrant').loc[UNET, 'psnr']:.2f} $\\pm$" in text
    for column, says in (
        ("psnrr", "no column 'psnrr'; did you mean 'psnr'"),
        ("gane", r"accepted: .* PSNR, .* gain, .*; at a noise level PSNR@0.1, PSN"),
    ):
        with pytest.raises(gahbench.ParameterError, match=says):
            export_board(results, "csv", [column])


def test_columns_may_be_named_by_the_headings_of_the_board(runs):
    results = gahbench.load_results(runs[0])
    headings = ["entrant", "PSNR", "gain", "Gain@0.1", "σ 0.3", "params", "training"]
    gain = "gain_over_baseline"
    names = ["entrant", "psnr", gain, f"{gain}@0.1", "psnr@0.3", "parameters", "train_seconds"]
    for form in ("csv", "markdown", "latex"):
        assert export_board(results, form, headings) == export_board(results, form, names)
    for title in ("PSNR", "gain", "gain, σ 0.1", "PSNR, σ 0.3", "params", "training"):
        assert export_board(results, "markdown", [title]) == export_board(results, "markdown", [title.upper()])
        assert f" {title} |" in export_board(results, "markdown", headings)


def test_labels_are_escaped_for_latex():
    text = latex(table_of_rows("t\n\\input{file}", ["entrant"], [["50_% & {x} \\ ~^#$"]], 1))
    assert text.startswith("% t \\input{file}\n")
    assert r"50\_\% \& \{x\} \textbackslash{} \textasciitilde{}\textasciicircum{}\#\$ \\" in text


def test_results_print_as_tables(runs):
    results = gahbench.load_results(runs[0])
    assert repr(results).startswith("Results('tiny', 1 datasets, 3 entrants, ")
    assert UNET in str(results)
    assert "<table" in results._repr_html_()
    assert "psnr@0.1" not in results.leaderboard()
    assert len(results.leaderboard().columns) < 14


def test_parts_that_share_no_dataset_or_only_some_metrics_keep_their_labels(runs, run, tmp_path):
    one, other = gahbench.load_results(runs[0]), run(tmp_path / "other", settings={"datasets": ["discs[size=8]"]})
    both = one.merged(other, ("A", "B"))
    assert both.entrants == one.entrants
    assert set(both.datasets["dataset"]) == {"discs[size=16]", "discs[size=8]"}
    assert one.merged(selected(one, metrics=["psnr"]), ("A", "B")).entrants == one.entrants
    with pytest.raises(ResultsError, match="expected two different names"):
        one.merged(one, ("A", "A"))


def test_a_reference_of_other_code_is_two_rows_where_the_noise_is_known_to_be_the_same(runs):
    one = gahbench.load_results(runs[0])
    moved = one.scores.copy()
    own = moved["entrant"] == "identity"

    def entrants():
        return set(one.merged(replace(one, scores=moved), ("A", "B")).entrants)

    # Where another machine rounds otherwise, a count may be another number.
    assert (own & (moved["metric"] != "psnr")).any()
    moved.loc[own & (moved["metric"] != "psnr"), "value"] += 1.0
    assert "identity" in entrants()
    moved.loc[own, "value"] += 0.5
    assert {"identity (A)", "identity (B)"} <= entrants()


def test_rows_of_a_sweep_stay_rows_of_a_sweep(run, tmp_path):
    sweep = {"training.train_images": [2, 3], "training.steps": 3}
    parts = [run(tmp_path / name, settings=sweep, seeds=[seed]) for seed, name in enumerate("AB")]
    compared = {row.entrant for row in compare(tmp_path / "A", tmp_path / "B").rows}
    assert {f"{UNET} N=2", f"{UNET} N=3"} <= compared
    both = parts[0].merged(parts[1], ("A", "B"))
    assert f"{UNET} (A) N=2" in both.entrants
    own = [f"{UNET} (A) N=2", f"{UNET} (A) N=3"]
    assert selected(both, entrants=[f"{UNET} (A)"]).entrants == [*own, "oracle-threshold[haar]"]


def test_a_dataset_is_known_by_what_it_is_not_by_its_label(runs, run, tmp_path, command):
    run(tmp_path / "out", settings={"datasets": [{"discs": {"size": 16, "label": "small"}}]}, only=["identity"])
    found = compare(runs[0], tmp_path / "out")
    rows = {(row.dataset, row.entrant): row.difference.value for row in found.rows if row.sigma is None}
    assert rows == {("discs[size=16]", "identity"): 0, ("discs[size=16]", "oracle-threshold[haar]"): 0}
    assert "discs[size=16]: labelled 'small' in out" in found.protocol
    status, printed, errors = command("leaderboard")(runs[0], tmp_path / "out")
    assert status == 0, errors
    assert "small" not in printed


def test_labels_stay_where_a_board_would_have_one_twice(runs):
    one = gahbench.load_results(runs[0])
    # A folder whose 'discs[size=16]' is something else.
    other = relabelled(one, {"discs[size=16]": "small"})
    other = replace(other, datasets=pd.concat([other.datasets, one.datasets.assign(protocol="another")]))
    assert labels_of_first({"A": one, "B": other}) == {"A": {}, "B": {}}
    assert labels_of_first({"A": one, "B": relabelled(one, {"discs[size=16]": "x"})})["B"] == {"x": "discs[size=16]"}
