"""Reuse and merge of results folders, and units that are done again on request."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from finished_units import forge_done
from other_machine import change_score, change_weights
from sample_files import TINY
from tiny_runs import UNET, board, plan_suite, run, run_and_list, units_of

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
    """Plan the tiny suite with some lines replaced, in a folder of this name."""

    def plan(name, *changes, threads=1, plugins=(), **options):
        suite, out = write_suite(*changes), tmp_path / name
        record_plan(plan_suite(suite, out, plugins=plugins, **options), out, open_registry(plugins), threads)
        return out

    return plan


@pytest.fixture
def twin(tiny_run, tmp_path):
    """Another copy of the run of the tiny suite."""
    return shutil.copytree(tiny_run, tmp_path / "twin")


@pytest.fixture
def two_seeds(made_once, tmp_path):
    """A copy of a run of the tiny suite with the seeds 0 and 1."""

    def fill(home):
        (home / "tiny.yaml").write_text(TINY.replace(*seeds(0, 1)), encoding="utf-8")
        gahbench.run(home / "tiny.yaml", home / "out", engine="inline", threads=1)

    return shutil.copytree(made_once("two-seeds", fill) / "out", tmp_path / "two-seeds")


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
def test_merged_folders_give_the_board_of_the_whole(write_suite, tmp_path, changes, parts):
    whole, first, second = (
        run(write_suite(("steps: 12", "steps: 2"), *changes, *part), tmp_path / str(place), threads=1).folder
        for place, part in enumerate(parts)
    )
    out = tmp_path / "out"
    found = merge([first, second], out)
    assert sum(found.taken.values()) == len(Store(whole).finished())
    assert found.failures == 0
    assert not any((found.differing, found.other_weights, found.damaged, found.notes))
    assert board(gahbench.load_results(out)).equals(board(gahbench.load_results(whole)))
    assert (out / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()
    units = require_plan(out).shown
    assert [unit.key for unit in units] == [unit.key for unit in require_plan(whole).shown]
    # Nothing is left to do, and the folders that it was made of may go.
    shutil.rmtree(first)
    shutil.rmtree(second)
    assert Store(out).undamaged(units) == {unit.folder for unit in units}


def test_networks_of_one_key_with_other_weights_keep_their_own_scores(write_suite, out, two_seeds, tmp_path):
    before = board(gahbench.load_results(out)).set_index("entrant")
    change_weights(two_seeds)
    # The first folder lacks a score of its network, and the second has one of another network.
    (lacking,) = units_of(out, entrant=UNET, metric="slope")
    shutil.rmtree(Store(out).path(lacking))
    found = merge([out, two_seeds], tmp_path / "all")
    assert [(unit.kind, unit.seed) for unit in found.differing] == [("fit", 0)]
    assert [unit.key for unit in found.other_weights] == [lacking.key]
    assert list(found.taken.values()) == [6, 3]
    outcome = run(write_suite(seeds(0, 1)), tmp_path / "all")
    assert (outcome.done, outcome.failed, outcome.waiting) == (10, 0, 0)
    scores = outcome.scores
    psnr = scores[(scores["metric"] == "psnr") & (scores["entrant"] == UNET) & (scores["seed"] == 0)]["value"].mean()
    assert psnr == pytest.approx(before.loc[UNET, "psnr"], abs=1e-12)


def test_scores_that_differ_are_named_and_the_first_is_kept(out, twin, tmp_path):
    (unit,) = units_of(twin, entrant="identity", metric="psnr")
    change_score(Store(twin).path(unit))
    found = merge([out, twin], tmp_path / "all")
    assert [one.key for one in found.differing] == [unit.key]
    assert board(gahbench.load_results(tmp_path / "all")).equals(board(gahbench.load_results(out)))


def test_a_failure_counts_where_no_folder_has_the_unit(out, two_seeds, tmp_path):
    store = Store(two_seeds)
    fits = units_of(two_seeds, kind="fit")
    for unit in units_of(two_seeds, entrant=UNET):
        shutil.rmtree(store.path(unit))
    for unit in fits:
        store.fail(unit, "ValueError: no", "")
    found = merge([two_seeds, out], tmp_path / "all")
    assert found.failures == 1
    results = gahbench.load_results(tmp_path / "all")
    assert [(row.entrant, row.stage, row.seed) for row in results.failures.itertuples()] == [(UNET, "fit", 1)]


def test_a_folder_with_results_comes_first_and_merging_again_takes_what_is_new(out, two_seeds):
    merge([two_seeds], out)
    assert set(gahbench.load_results(out).fits["seed"]) == {0, 1}
    assert list(merge([out, two_seeds], out).taken.values()) == [0]


def test_plugin_files_that_the_plan_names_are_copied_and_no_others(planned, write_plugin, tmp_path):
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


def test_plugin_files_stay_where_plans_name_them_when_merged_folders_are_merged_again(planned, write_plugin, tmp_path):
    files = [write_plugin(name, "return noisy - self.noise(noisy)") for name in ("mine", "other")]
    first = planned("first", entrants=["mine"], plugins=files[:1])
    both = planned("both", seeds(1), entrants=["mine", "other"], plugins=files)
    merge([first, both], tmp_path / "once")
    merge([tmp_path / "once", first], tmp_path / "again")
    plan = require_plan(tmp_path / "again")
    assert len(plan.plugins) == 2
    assert all((tmp_path / "again" / name).is_file() for name in plan.plugins)


def test_an_entrant_is_added_where_it_is_in_no_suite(planned, tmp_path):
    first = planned("first", ("  - identity\n", ""), entrants=["identity"])
    second = planned("second", ("  - unet: {width: 2, levels: 1}\n", ""), entrants=["visu-shrink"])
    merge([first, second], tmp_path / "out")
    added = {one.unit.entrant for one in require_plan(tmp_path / "out").units if one.is_added}
    assert added == {"visu-shrink[sym4]"}


def test_what_was_planned_in_the_folder_while_merging_waited_stays(out, two_seeds, planned, monkeypatch):
    lock = Folder.lock

    def lock_after_another(self):
        monkeypatch.setattr(Folder, "lock", lock)
        planned("out", ("  - identity\n", "  - identity\n  - visu-shrink\n"))
        return lock(self)

    monkeypatch.setattr(Folder, "lock", lock_after_another)
    merge([two_seeds], out)
    assert "visu-shrink[sym4]" in {one.unit.entrant for one in require_plan(out).units}
    assert set(gahbench.load_results(out).fits["seed"]) == {0, 1}


@pytest.mark.parametrize("name", [".", "home", "home/mine.py"])
def test_plugins_that_are_links_are_refused_before_anything_is_written(out, twin, tmp_path, name):
    (twin / "plugins" / "home").mkdir(parents=True)
    (twin / "plugins" / "home" / "mine.py").touch()
    linked = twin / "plugins" / name
    linked.rename(tmp_path / "private")
    linked.symlink_to(tmp_path / "private")
    with pytest.raises(ResultsError, match=f"{linked}: is a link; accepted are plugin files as a run copied them"):
        merge([out, twin], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("name: tiny", "name: other"), "the suite differs: other and tiny"),
        (("baseline: oracle-threshold[haar]", "baseline: identity"), "the baseline differs: identity and oracle-"),
        (("images: 3", "images: 4"), r"the metric 'psnr' on test images of discs\[size=16\] differs: images: 4 and 3"),
        (("steps: 12", "steps: 13"), "the training differs: steps: 13 and 12"),
    ],
)
def test_folders_of_different_protocols_are_refused(planned, tmp_path, change, text):
    first, second = planned("first"), planned("second", change)
    with pytest.raises(ResultsError, match=f"{second} and {first}: {text}"):
        merge([first, second], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_plugins_of_different_behaviour_and_images_of_one_label_are_refused(planned, write_plugin, tmp_path):
    made = []
    for name, factor in (("first", 1), ("second", 2)):
        plugin = write_plugin("mine", f"return noisy - self.noise(noisy) / {factor}")
        made.append(planned(name, entrants=["mine"], plugins=[plugin]))
    with pytest.raises(ResultsError, match=r"'fit mine on .*' differs: entrant\.source; accepted"):
        merge(made, tmp_path / "out")
    made = []
    for name in ("third", "fourth"):
        images = np.random.default_rng(len(made)).integers(0, 256, (40, 16, 16), dtype=np.uint8)
        np.savez(tmp_path / "images.npz", images=images)
        made.append(planned(name, ("discs: {size: 16}", f"faces: {{path: {tmp_path}/images.npz}}")))
    with pytest.raises(ResultsError, match=r"the dataset 'faces\[.*' differs: fingerprint: "):
        merge(made, tmp_path / "out")


def test_threads_and_versions_of_a_plugin_file_that_differ_are_noted(planned, write_plugin, tmp_path):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    first = planned("first", entrants=["mine"], plugins=[plugin], threads=1)
    plugin.write_text(f"# Another version.\n{plugin.read_text()}")
    second = planned("second", seeds(1), entrants=["mine"], plugins=[plugin], threads=2)
    threads, version = merge([first, second], tmp_path / "out").notes
    assert "planned with 2 threads of each worker; the merged plan records 1" in threads
    assert "another version of the plugin file mine.py" in version
    plan = require_plan(tmp_path / "out")
    assert (plan.threads, plan.plugins) == (1, require_plan(first).plugins)


def test_one_folder_is_too_few_and_other_folders_are_none(planned, tmp_path):
    out = planned("out")
    with pytest.raises(ResultsError, match="needs at least two results folders, found 1"):
        merge([out, tmp_path / "." / "out"], tmp_path / "all")
    with pytest.raises(ResultsError, match=r"no plan\.json"):
        merge([out, tmp_path / "none"], tmp_path / "all")


def test_entrants_that_refuse_a_dataset_are_kept_with_the_reason(out, twin, tmp_path):
    refused = ["discs[size=16]", "identity", "too small"]
    for place, lines in ((out, [refused]), (twin, [refused, ["discs[size=16]", "gone", "too small"]])):
        plan = require_plan(place)
        write_plan(place, replace(plan, board={**plan.board, "refused": lines}))
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


def test_what_another_folder_holds_is_not_done_again(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    grown = write_suite(("name: tiny", "name: other"), ("entrants:\n", "entrants:\n  - bayes-shrink\n"))
    outcome, done = run_and_list(grown, tmp_path / "new", reuse=[out])
    assert {unit.entrant for unit in done} == {"bayes-shrink[sym4]"}
    assert len(outcome.reused.taken) == 7
    assert outcome.reused.damaged == outcome.reused.other_weights == ()
    both = board(outcome).set_index("entrant")["psnr"], board(first).set_index("entrant")["psnr"]
    assert both[0][both[1].index].equals(both[1])
    # What was taken stays when the other folder goes.
    for file in (out / "units").rglob("*.*"):
        file.unlink()
    assert run_and_list(grown, tmp_path / "new")[1] == []


def test_adopted_units_keep_their_record(write_suite, out, tmp_path):
    history = [{"from": "earlier", "differs": ["metric.source"]}]
    for folder in (out / "units").glob("score-*"):
        forge_done(folder, adopted=history)
    outcome, _ = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert all("adopted" in note for note in outcome.leaderboard(full=True)["note"])


def test_damaged_units_are_left_and_the_next_folder_is_tried(write_suite, tiny_run, out, tmp_path):
    (fit,) = units_of(out, kind="fit")
    (Store(out).path(fit) / "weights.safetensors").write_bytes(b"")
    outcome, done = run_and_list(write_suite(), tmp_path / "one", reuse=[out])
    assert outcome.reused.damaged == (Store(out).path(fit),)
    # Whether the scores measured what is trained now was not certain.
    assert {unit.entrant for unit in done} == {unit.entrant for unit in outcome.reused.other_weights} == {UNET}
    outcome, done = run_and_list(write_suite(), tmp_path / "two", reuse=[out, tiny_run])
    assert (outcome.reused.damaged, done) == ((Store(out).path(fit),), [])


def test_a_folder_that_cannot_be_written_is_not_a_damaged_source(write_suite, tiny_run, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("gahbench.runs.reuse.link_or_copy", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/out/units/"):
        run_and_list(write_suite(), tmp_path / "out", reuse=[tiny_run])
    assert Store(tmp_path / "out").finished() == set()
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_scores_of_other_weights_are_left(write_suite, out, tmp_path):
    first = gahbench.load_results(out)
    change_weights(out)
    # This folder has a network of the same key, and no scores of it.
    run_and_list(write_suite(OTHER_LEVELS), tmp_path / "new")
    outcome, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out])
    assert {(unit.kind, unit.entrant) for unit in done} == {("score", UNET)}
    assert len(outcome.reused.other_weights) == len(done) == 2
    assert len(outcome.reused.taken) == 4
    assert board(outcome).equals(board(first))


def test_a_network_is_taken_with_the_scores_that_measured_it(write_suite, tiny_run, out, tmp_path):
    change_weights(out)
    _, done = run_and_list(write_suite(), tmp_path / "new", reuse=[out, tiny_run])
    assert done == []
    new, first, second = (Store(folder) for folder in (tmp_path / "new", out, tiny_run))
    for unit in units_of(new.folder, kind="score", entrant=UNET):
        assert new.read_scores(unit) == first.read_scores(unit) != second.read_scores(unit)


def test_a_network_that_scores_here_did_not_measure_is_left(write_suite, twin, out):
    change_weights(twin)
    (fit,) = units_of(out, kind="fit")
    # By hand: a run would set the scores aside with it.
    shutil.rmtree(Store(out).path(fit))
    outcome, done = run_and_list(write_suite(), out, reuse=[twin])
    assert [unit.key for unit in outcome.reused.other_weights] == [unit.key for unit in done] == [fit.key]


@pytest.mark.parametrize(
    ("source", "text"), [("out", "is the results folder of the run itself"), ("none", "holds no units")]
)
def test_folders_that_hold_nothing_for_it_are_refused(write_suite, out, tmp_path, source, text):
    with pytest.raises(ResultsError, match=text):
        run_and_list(write_suite(), out, reuse=[tmp_path / source])


def test_an_entrant_is_done_again_and_its_board_is_new(write_suite, out):
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
    before, after = (one.set_index("entrant") for one in (first, board(outcome)))
    assert after.loc[UNET].equals(before.loc[UNET])
    assert after.loc["identity", "psnr"] != before.loc["identity", "psnr"]
    # Once is enough.
    assert run_and_list(write_suite(), out)[1] == []


def test_scores_of_replaced_networks_go_too_and_no_checkpoint_is_gone_on_from(write_suite, out):
    (fit,) = units_of(out, kind="fit")
    attempt = Store(out).begin(fit)
    (attempt.folder / "checkpoint-5.pt").write_bytes(b"rubbish")
    # The scores that the suite asks for now, and others that are there of the same network.
    _, done = run_and_list(write_suite(OTHER_LEVELS), out, again=[UNET])
    assert {unit.metric for unit in done if unit.entrant == UNET} == {None, "psnr", "slope"}
    assert {tuple(unit.payload["sigmas"]) for unit in units_of(out, kind="score", entrant=UNET)} == {(0.1, 0.2)}
    _, done = run_and_list(write_suite(), out)
    assert {(unit.entrant, unit.metric) for unit in done} == {(UNET, "psnr"), (UNET, "slope")}
