"""Tests of reusing and merging results folders, and of recomputing units on request."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from finished_units import forge_done
from other_machine import change_score, change_weights
from sample_files import TINY
from tiny_runs import UNET, board, plan_suite, run, run_and_list, run_for_fixture, units_of

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.registry.registry import open_registry
from gahbench.runs.reuse import merge
from gahbench.runs.running import record_plan
from gahbench.store.folder import Folder
from gahbench.store.kept_units import merge_orders
from gahbench.store.plan_file import require_plan, write_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered", "rows_not_audited")


def seeds(*numbers):
    return ("training:", f"seeds: {list(numbers)}\ntraining:")


@pytest.fixture
def planned(write_suite, tmp_path):
    """A function that plans the tiny suite with some changes, in a folder with a given name."""

    def plan(name, *changes, threads=1, plugins=(), **options):
        suite, out = write_suite(*changes), tmp_path / name
        record_plan(plan_suite(suite, out, plugins=plugins, **options), out, open_registry(plugins), threads)
        return out

    return plan


@pytest.fixture
def twin(tiny_run, tmp_path):
    """Another copy of the results folder of the tiny suite."""
    return shutil.copytree(tiny_run, tmp_path / "twin")


@pytest.fixture
def two_seeds(build_once, tmp_path):
    """A copy of a results folder of the tiny suite with the seeds 0 and 1."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY.replace(*seeds(0, 1)), encoding="utf-8")
        run_for_fixture(home / "tiny.yaml", home / "out", threads=1)

    return shutil.copytree(build_once("two-seeds", fill) / "out", tmp_path / "two-seeds")


HALVES = ("training: {", "training: {halves: true, train_images: [3, 5], ")
SPLITS = ("scoring: {sigmas", "scoring: {splits: [test, validation], sigmas")


def sweep(counts):
    return ("training: {", f"training: {{train_images: {counts}, ")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ((HALVES,), [(seeds(0, 1),), (seeds(0),), (seeds(1),)]),
        ((), [(SPLITS, sweep([2, 4])), (sweep([2]), ("  - identity\n", "")), (SPLITS, sweep([2, 4]))]),
    ],
    ids=["seeds", "entrants, splits and numbers of images"],
)
def test_merging_parts_gives_the_board_of_the_whole_suite(write_suite, tmp_path, changes, parts):
    whole, first, second = (
        run(write_suite(("steps: 12", "steps: 2"), *changes, *part), tmp_path / str(index), threads=1).folder
        for index, part in enumerate(parts)
    )
    out = tmp_path / "out"
    merged = merge([first, second], out)
    assert sum(merged.taken.values()) == len(Store(whole).finished())
    assert merged.failures == 0
    assert not any((merged.differing, merged.other_weights, merged.damaged, merged.notes))
    assert board(gahbench.load_results(out)).equals(board(gahbench.load_results(whole)))
    assert (out / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()
    units = require_plan(out).shown
    assert [unit.key for unit in units] == [unit.key for unit in require_plan(whole).shown]
    # All units are finished, and do not depend on the merged folders.
    shutil.rmtree(first)
    shutil.rmtree(second)
    assert Store(out).undamaged(units) == {unit.folder for unit in units}


def test_networks_with_equal_keys_and_different_weights_keep_their_own_scores(write_suite, out, two_seeds, tmp_path):
    before = board(gahbench.load_results(out)).set_index("entrant")
    change_weights(two_seeds)
    # The first folder lacks a score; the second folder has that score, but of a network with other weights.
    (lacking,) = units_of(out, entrant=UNET, metric="slope")
    shutil.rmtree(Store(out).path(lacking))
    merged = merge([out, two_seeds], tmp_path / "all")
    assert [(unit.kind, unit.seed) for unit in merged.differing] == [("fit", 0)]
    assert [unit.key for unit in merged.other_weights] == [lacking.key]
    assert list(merged.taken.values()) == [6, 3]
    outcome = run(write_suite(seeds(0, 1)), tmp_path / "all")
    assert (outcome.done, outcome.failed, outcome.waiting) == (10, 0, 0)
    scores = outcome.scores
    psnr = scores[(scores["metric"] == "psnr") & (scores["entrant"] == UNET) & (scores["seed"] == 0)]["value"].mean()
    assert psnr == pytest.approx(before.loc[UNET, "psnr"], abs=1e-12)


def test_differing_scores_are_reported_and_the_first_is_taken(out, twin, tmp_path):
    (unit,) = units_of(twin, entrant="identity", metric="psnr")
    change_score(Store(twin).path(unit))
    merged = merge([out, twin], tmp_path / "all")
    assert [differing.key for differing in merged.differing] == [unit.key]
    assert board(gahbench.load_results(tmp_path / "all")).equals(board(gahbench.load_results(out)))


def test_a_failure_counts_if_the_unit_is_finished_in_no_folder(out, two_seeds, tmp_path):
    store = Store(two_seeds)
    fits = units_of(two_seeds, kind="fit")
    for unit in units_of(two_seeds, entrant=UNET):
        shutil.rmtree(store.path(unit))
    for unit in fits:
        store.fail(unit, "ValueError: no", "")
    merged = merge([two_seeds, out], tmp_path / "all")
    assert merged.failures == 1
    results = gahbench.load_results(tmp_path / "all")
    assert [(row.entrant, row.stage, row.seed) for row in results.failures.itertuples()] == [(UNET, "fit", 1)]


def test_merging_into_a_folder_with_results_takes_only_new_units(out, two_seeds):
    merge([two_seeds], out)
    assert set(gahbench.load_results(out).fits["seed"]) == {0, 1}
    assert list(merge([out, two_seeds], out).taken.values()) == [0]


def test_only_plugin_files_that_the_plan_names_are_copied(planned, write_plugin, tmp_path):
    plugin = write_plugin("mine", "from helper import noisy as found\nreturn found(noisy) - self.noise(noisy)")
    (plugin.parent / "helper.py").write_text("def noisy(given):\n    return given\n", encoding="utf-8")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    first, second = planned("first", seeds(0), **options), planned("second", seeds(1), **options)
    (home,) = (second / "plugins").iterdir()
    (home / "other.py").write_text("", encoding="utf-8")
    (second / "plugins" / "aside").mkdir()
    (second / "plugins" / "aside" / "mine.py").write_text("", encoding="utf-8")
    merge([second, first], tmp_path / "out")
    out = tmp_path / "out" / "plugins"
    copied = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    assert copied == [f"{home.name}/helper.py", f"{home.name}/mine.py"]


def test_plugin_files_are_found_after_a_merged_folder_is_merged_again(planned, write_plugin, tmp_path):
    files = [write_plugin(name, "return noisy - self.noise(noisy)") for name in ("mine", "other")]
    first = planned("first", entrants=["mine"], plugins=files[:1])
    both = planned("both", seeds(1), entrants=["mine", "other"], plugins=files)
    merge([first, both], tmp_path / "once")
    merge([tmp_path / "once", first], tmp_path / "again")
    plan = require_plan(tmp_path / "again")
    assert len(plan.plugins) == 2
    assert all((tmp_path / "again" / name).is_file() for name in plan.plugins)


def test_an_entrant_counts_as_added_if_no_merged_suite_has_it(planned, tmp_path):
    first = planned("first", ("  - identity\n", ""), entrants=["identity"])
    second = planned("second", ("  - unet: {width: 2, levels: 1}\n", ""), entrants=["visu-shrink"])
    merge([first, second], tmp_path / "out")
    added = {recorded.unit.entrant for recorded in require_plan(tmp_path / "out").units if recorded.is_added}
    assert added == {"visu-shrink[sym4]"}


def test_a_plan_recorded_while_merging_waits_for_the_lock_is_kept(out, two_seeds, planned, monkeypatch):
    lock = Folder.lock

    def lock_after_another(self):
        monkeypatch.setattr(Folder, "lock", lock)
        planned("out", ("  - identity\n", "  - identity\n  - visu-shrink\n"))
        return lock(self)

    monkeypatch.setattr(Folder, "lock", lock_after_another)
    merge([two_seeds], out)
    assert "visu-shrink[sym4]" in {recorded.unit.entrant for recorded in require_plan(out).units}
    assert set(gahbench.load_results(out).fits["seed"]) == {0, 1}


@pytest.mark.parametrize("name", [".", "home", "home/mine.py"])
def test_links_to_plugin_files_are_refused_before_anything_is_written(out, twin, tmp_path, name):
    (twin / "plugins" / "home").mkdir(parents=True)
    (twin / "plugins" / "home" / "mine.py").touch()
    linked = twin / "plugins" / name
    linked.rename(tmp_path / "private")
    linked.symlink_to(tmp_path / "private")
    with pytest.raises(ResultsError, match=f"{linked}: is a link; accepted: plugin files copied by a run"):
        merge([out, twin], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("name: tiny", "name: other"), "the suite differs: other and tiny"),
        (("name: tiny", "name: tiny\nversion: 1"), "the version of the suite differs: version 1, SHA-256 .* and none"),
        (("baseline: oracle-threshold[haar]", "baseline: identity"), "the baseline differs: identity and oracle-"),
        (("images: 3", "images: 4"), r"the metric 'psnr' on test images of discs\[size=16\] differs: images: 4 and 3"),
        (("steps: 12", "steps: 13"), "the training differs: steps: 13 and 12"),
    ],
)
def test_folders_with_different_protocols_are_refused(planned, tmp_path, change, text):
    first, second = planned("first"), planned("second", change)
    with pytest.raises(ResultsError, match=f"{second} and {first}: {text}"):
        merge([first, second], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_different_plugin_code_or_different_images_under_one_label_are_refused(planned, write_plugin, tmp_path):
    folders = []
    for name, factor in (("first", 1), ("second", 2)):
        plugin = write_plugin("mine", f"return noisy - self.noise(noisy) / {factor}")
        folders.append(planned(name, entrants=["mine"], plugins=[plugin]))
    with pytest.raises(ResultsError, match=r"'fit mine on .*' differs: entrant\.source; accepted"):
        merge(folders, tmp_path / "out")
    folders = []
    for name in ("third", "fourth"):
        images = np.random.default_rng(len(folders)).integers(0, 256, (40, 16, 16), dtype=np.uint8)
        np.savez(tmp_path / "images.npz", images=images)
        folders.append(planned(name, ("discs: {size: 16}", f"faces: {{path: {tmp_path}/images.npz}}")))
    with pytest.raises(ResultsError, match=r"the dataset 'faces\[.*' differs: fingerprint: "):
        merge(folders, tmp_path / "out")


def test_different_threads_and_plugin_versions_are_noted(planned, write_plugin, tmp_path):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    first = planned("first", entrants=["mine"], plugins=[plugin], threads=1)
    plugin.write_text(f"# Another version.\n{plugin.read_text()}")
    second = planned("second", seeds(1), entrants=["mine"], plugins=[plugin], threads=2)
    threads, version = merge([first, second], tmp_path / "out").notes
    assert "planned with 2 threads of each worker; the merged plan records 1" in threads
    assert "another version of the plugin file mine.py" in version
    plan = require_plan(tmp_path / "out")
    assert (plan.threads, plan.plugins) == (1, require_plan(first).plugins)


def test_merging_needs_two_results_folders(planned, tmp_path):
    out = planned("out")
    with pytest.raises(ResultsError, match="needs at least two results folders, found 1"):
        merge([out, tmp_path / "." / "out"], tmp_path / "all")
    with pytest.raises(ResultsError, match=r"no plan\.json"):
        merge([out, tmp_path / "none"], tmp_path / "all")


def test_merging_keeps_the_reasons_of_refused_datasets(out, twin, tmp_path):
    refused = ["discs[size=16]", "identity", "too small"]
    for folder, lines in ((out, [refused]), (twin, [refused, ["discs[size=16]", "gone", "too small"]])):
        plan = require_plan(folder)
        write_plan(folder, replace(plan, board={**plan.board, "refused": lines}))
    merge([out, twin], tmp_path / "all")
    assert [note for note in gahbench.load_results(tmp_path / "all").notes["note"] if "too small" in note] == [
        "cannot take these images: too small"
    ]


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [(["ac", "abc"], "abc"), (["ab", "bc"], "abc"), (["ax", "ay"], "axy"), (["b", "ab"], "ab"), (["ab", "ba"], "ab"),
     ([], "")],
)  # fmt: skip
def test_merge_orders_keeps_the_order_of_each_sequence(sequences, expected):
    assert merge_orders(sequences) == list(expected)


OTHER_LEVELS = ("sigmas: [0.1, 0.3]", "sigmas: [0.1, 0.2]")


def test_units_of_another_folder_are_reused(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    grown = write_suite(("name: tiny", "name: other"), ("entrants:\n", "entrants:\n  - bayes-shrink\n"))
    outcome, done = run_and_list(grown, tmp_path / "new", reuse=[out])
    assert {unit.entrant for unit in done} == {"bayes-shrink[sym4]"}
    assert len(outcome.reused.taken) == 7
    assert outcome.reused.damaged == outcome.reused.other_weights == ()
    both = board(outcome).set_index("entrant")["psnr"], board(first).set_index("entrant")["psnr"]
    assert both[0][both[1].index].equals(both[1])
    # The reused units do not depend on the other folder.
    for file in (out / "units").rglob("*.*"):
        file.unlink()
    assert run_and_list(grown, tmp_path / "new")[1] == []


def test_reused_units_keep_their_record_of_adoption(write_suite, out, tmp_path):
    history = [{"from": "earlier", "differs": ["metric.source"]}]
    for folder in (out / "units").glob("score-*"):
        forge_done(folder, adopted=history)
    outcome, _ = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert all("adopted" in note for note in outcome.leaderboard(full=True)["note"])


def test_damaged_units_are_not_reused_and_the_next_folder_is_tried(write_suite, tiny_run, out, tmp_path):
    (fit,) = units_of(out, kind="fit")
    (Store(out).path(fit) / "weights.safetensors").write_bytes(b"")
    outcome, done = run_and_list(write_suite(), tmp_path / "one", reuse=[out])
    assert outcome.reused.damaged == (Store(out).path(fit),)
    # The scores are recomputed too, since the retrained weights may differ from those that they measured.
    assert {unit.entrant for unit in done} == {unit.entrant for unit in outcome.reused.other_weights} == {UNET}
    outcome, done = run_and_list(write_suite(), tmp_path / "two", reuse=[out, tiny_run])
    assert (outcome.reused.damaged, done) == ((Store(out).path(fit),), [])


def test_a_folder_that_cannot_be_written_is_not_a_damaged_source(write_suite, tiny_run, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("gahbench.runs.reuse.link_or_copy", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*/out/units/"):
        run_and_list(write_suite(), tmp_path / "out", reuse=[tiny_run])
    assert Store(tmp_path / "out").finished() == set()
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_scores_of_other_weights_are_not_reused(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    change_weights(out)
    # The new folder has a network with the same key, but no scores of it.
    run_and_list(write_suite(OTHER_LEVELS), tmp_path / "new")
    outcome, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert {(unit.kind, unit.entrant) for unit in done} == {("score", UNET)}
    assert len(outcome.reused.other_weights) == len(done) == 2
    assert len(outcome.reused.taken) == 4
    assert board(outcome).equals(board(first))


def test_a_network_is_reused_together_with_the_scores_that_measured_it(write_suite, tiny_run, out, tmp_path):
    change_weights(out)
    _, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out, tiny_run])
    assert done == []
    new, first, second = (Store(folder) for folder in (tmp_path / "new", out, tiny_run))
    for unit in units_of(new.folder, kind="score", entrant=UNET):
        assert new.read_scores(unit) == first.read_scores(unit) != second.read_scores(unit)


def test_a_network_with_other_weights_than_the_existing_scores_is_not_reused(write_suite, twin, out):
    change_weights(twin)
    (fit,) = units_of(out, kind="fit")
    # Delete only the fit; a run would move its scores away too.
    shutil.rmtree(Store(out).path(fit))
    outcome, done = run_and_list(write_suite(), out, reuse=[twin])
    assert [unit.key for unit in outcome.reused.other_weights] == [unit.key for unit in done] == [fit.key]


@pytest.mark.parametrize(
    ("source", "text"), [("out", "is the results folder of the run itself"), ("none", "holds no units")]
)
def test_folders_without_units_to_reuse_are_refused(write_suite, out, tmp_path, source, text):
    with pytest.raises(ResultsError, match=text):
        run_and_list(write_suite(), out, reuse=[tmp_path / source])


def test_an_entrant_is_recomputed_on_request(write_suite, out):
    first = board(gahbench.load_results(out))
    change_weights(out)
    (changed,) = units_of(out, entrant="identity", metric="psnr")
    change_score(Store(out).path(changed))
    other, done = run_and_list(write_suite(), out)
    assert done == []
    assert not board(other).equals(first)
    outcome, done = run_and_list(write_suite(), out, again=[UNET])
    assert sorted((unit.kind, unit.entrant) for unit in done) == [("fit", UNET), *[("score", UNET)] * 2]
    assert len(list((out / "replaced").iterdir())) == 3
    before, after = (table.set_index("entrant") for table in (first, board(outcome)))
    assert after.loc[UNET].equals(before.loc[UNET])
    assert after.loc["identity", "psnr"] != before.loc["identity", "psnr"]
    # The next run computes nothing.
    assert run_and_list(write_suite(), out)[1] == []


def test_scores_and_checkpoints_of_replaced_networks_are_moved_too(write_suite, out):
    (fit,) = units_of(out, kind="fit")
    attempt = Store(out).begin(fit)
    (attempt.folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    # Both the scores of the current suite and other scores of the same network are moved.
    _, done = run_and_list(write_suite(OTHER_LEVELS), out, again=[UNET])
    assert {unit.metric for unit in done if unit.entrant == UNET} == {None, "psnr", "slope"}
    assert {tuple(unit.payload["sigmas"]) for unit in units_of(out, kind="score", entrant=UNET)} == {(0.1, 0.2)}
    _, done = run_and_list(write_suite(), out)
    assert {(unit.entrant, unit.metric) for unit in done} == {(UNET, "psnr"), (UNET, "slope")}
