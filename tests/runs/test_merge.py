"""Several results folders made one."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from other_machine import measure_otherwise, train_otherwise

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.runs.merged_plan import united
from gahbench.store.folder import Folder
from gahbench.store.plan_file import recorded_plan, write_plan
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")

UNET = "unet[width=2,levels=1]"
IMAGES = "scoring: {sigmas"


def run(suite, out, **options):
    return gahbench.run(suite, out, engine="inline[trusted=true]", **options)


def board(results):
    return results.leaderboard(full=True).drop(columns="train_seconds")


def seeds(*numbers):
    return ("training:", f"seeds: {list(numbers)}\ntraining:")


@pytest.fixture
def folder(write_suite, tmp_path):
    """Run the tiny suite with some lines replaced, in a folder of this name."""

    def made(name, *changes, **options):
        run(write_suite(*changes), tmp_path / name, **options)
        return tmp_path / name

    return made


@pytest.mark.parametrize("training", ["{", "{halves: true, train_images: [3, 5], "])
def test_folders_that_share_half_their_units_give_the_board_of_the_whole(folder, tmp_path, training):
    changes = (("training: {", f"training: {training}"),)
    whole = folder("whole", *changes, seeds(0, 1, 2))
    first, second = folder("first", *changes, seeds(0, 1)), folder("second", *changes, seeds(1, 2))
    found = gahbench.merge([first, second], tmp_path / "out")
    assert sum(found.taken.values()) == len(Store(whole).finished())
    assert found.failures == 0
    lists = (found.other_weights, found.other_network, found.differing, found.damaged, found.not_shown, found.notes)
    assert not any(lists)
    one, other = gahbench.load_results(tmp_path / "out"), gahbench.load_results(whole)
    assert board(one).equals(board(other))
    assert (tmp_path / "out" / "scores.parquet").read_bytes() == (whole / "scores.parquet").read_bytes()
    keys = [[unit.key for unit in recorded_plan(place).shown] for place in (tmp_path / "out", whole)]
    assert keys[0] == keys[1]
    # It is a folder like others: nothing is left to do, and what it was made of may go.
    shutil.rmtree(first)
    shutil.rmtree(second)
    assert gahbench.work(tmp_path / "out").left == 0


def test_folders_of_different_entrants_splits_and_numbers_of_images(folder, tmp_path):
    splits = (IMAGES, "scoring: {splits: [test, validation], sigmas")
    whole = folder("whole", ("training: {", "training: {train_images: [2, 4], "), splits)
    first = folder("first", ("training: {", "training: {train_images: [2], "), ("  - identity\n", ""))
    second = folder("second", ("training: {", "training: {train_images: [2, 4], "), splits)
    found = gahbench.merge([first, second], tmp_path / "out")
    assert found.not_shown == ()
    one, other = gahbench.load_results(tmp_path / "out"), gahbench.load_results(whole)
    assert board(one).equals(board(other))


def test_networks_of_one_key_with_other_weights_keep_their_own_scores(folder, tmp_path):
    first, second = folder("first", seeds(0)), folder("second", seeds(0, 1))
    before = board(gahbench.load_results(first)).set_index("entrant")
    train_otherwise(second)
    # The first folder lacks a score of its network, and the second has one of another.
    (lacking,) = [unit for unit in Store(first).recorded() if (unit.entrant, unit.metric) == (UNET, "slope")]
    shutil.rmtree(Store(first).path(lacking))
    found = gahbench.merge([first, second], tmp_path / "out")
    assert [(unit.kind, unit.seed) for unit in found.other_weights] == [("fit", 0)]
    assert [unit.key for unit in found.other_network] == [lacking.key]
    assert found.differing == []
    assert list(found.taken.values()) == [6, 3]
    worked = gahbench.work(tmp_path / "out", workers=1)
    assert (worked.done, worked.failed, worked.left) == (10, 0, 0)
    scores = gahbench.collect(tmp_path / "out").scores
    psnr = scores[(scores["metric"] == "psnr") & (scores["entrant"] == UNET) & (scores["seed"] == 0)]["value"].mean()
    assert psnr == pytest.approx(before.loc[UNET, "psnr"], abs=1e-12)


def test_other_weights_are_named_in_a_folder_that_has_scores_too(folder):
    first, second = folder("first"), folder("second")
    train_otherwise(second)
    found = gahbench.merge([second], first)
    assert [unit.kind for unit in found.other_weights] == ["fit"]
    assert (found.other_network, found.differing) == ([], [])


def test_scores_that_differ_are_named_and_the_first_is_kept(folder, tmp_path):
    first, second = folder("first"), folder("second")
    (unit,) = [unit for unit in Store(second).recorded() if (unit.entrant, unit.metric) == ("identity", "psnr")]
    measure_otherwise(Store(second).path(unit))
    found = gahbench.merge([first, second], tmp_path / "out")
    assert [one.key for one in found.differing] == [unit.key]
    assert board(gahbench.load_results(tmp_path / "out")).equals(board(gahbench.load_results(first)))


def test_a_failure_counts_where_no_folder_has_the_unit(folder, write_plugin, tmp_path):
    plugin = write_plugin(
        "mine", "if os.environ.get('FAILS'): raise ValueError('no')\nreturn noisy - self.noise(noisy)"
    )
    options = {"entrants": ["mine"], "plugins": [plugin]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAILS", "1")
        first = folder("first", seeds(0, 1), **options)
    second = folder("second", seeds(0), **options)
    found = gahbench.merge([first, second], tmp_path / "out")
    assert found.failures == 1
    results = gahbench.load_results(tmp_path / "out")
    assert [(row.entrant, row.stage, row.seed) for row in results.failures.itertuples()] == [("mine", "fit", 1)]
    # Its plugin has come along, for workers to try again.
    worked = gahbench.work(tmp_path / "out", retry=True, workers=1)
    assert (worked.failed, worked.left) == (0, 0)


def test_what_an_earlier_folder_measures_or_trains_otherwise_is_in_the_folder_and_not_shown(folder, tmp_path):
    first = folder("first")
    images = folder("images", ("images: 3", "images: 4"), ("  - identity\n", "  - identity\n  - visu-shrink\n"))
    steps = folder(
        "steps", ("steps: 12", "steps: 13"), ("levels: 1}\n", "levels: 1}\n  - mlp: {width: 2, layers: 2}\n")
    )
    found = gahbench.merge([first, images, steps], tmp_path / "out")
    assert set(found.not_shown) == {
        UNET,
        "identity",
        "oracle-threshold[haar]",
        "visu-shrink[sym4]",
        "mlp[width=2,layers=2]",
    }
    # A network is left out, and why is said.
    mlp = "mlp[width=2,layers=2]: trained otherwise than the networks of the first folder: steps=13 (there 12), "
    assert any(note.startswith(mlp) for note in found.notes)
    assert board(gahbench.load_results(tmp_path / "out")).equals(board(gahbench.load_results(first)))
    assert Store(tmp_path / "out").finished() == set().union(*(Store(one).finished() for one in (first, images, steps)))


def test_of_two_versions_of_a_plugin_the_first_is_kept(folder, write_plugin, tmp_path):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    first = folder("first", entrants=["mine"], plugins=[plugin])
    plugin = write_plugin("mine", "return noisy - self.noise(noisy) / 2")
    second = folder("second", entrants=["mine"], plugins=[plugin])
    found = gahbench.merge([first, second], tmp_path / "out")
    (note,) = found.notes
    assert "another version of the plugin file mine.py" in note
    assert found.not_shown == ("mine",)
    assert recorded_plan(tmp_path / "out").plugins == recorded_plan(first).plugins
    assert board(gahbench.load_results(tmp_path / "out")).equals(board(gahbench.load_results(first)))
    assert gahbench.work(tmp_path / "out").left == 0


def test_a_folder_with_results_comes_first_and_merging_again_takes_what_is_new(folder, tmp_path):
    first, second = folder("first", seeds(0)), folder("second", seeds(1))
    gahbench.merge([second], first)
    assert set(gahbench.load_results(first).fits["seed"]) == {0, 1}
    assert list(gahbench.merge([first, second], first).taken.values()) == [0]


def test_what_was_planned_in_the_folder_while_merging_waited_stays(folder, write_suite, tmp_path, monkeypatch):
    first, second = folder("first"), folder("second", seeds(1))
    grown = write_suite(("  - identity\n", "  - identity\n  - visu-shrink\n"))
    lock = Folder.lock

    def lock_after_another(self):
        monkeypatch.setattr(Folder, "lock", lock)
        run(grown, first)
        return lock(self)

    monkeypatch.setattr(Folder, "lock", lock_after_another)
    gahbench.merge([second], first)
    assert "visu-shrink[sym4]" in {one.unit.entrant for one in recorded_plan(first).units}
    assert set(gahbench.load_results(first).fits["seed"]) == {0, 1}


def test_plugin_files_that_are_there_are_left_and_others_appear_whole(folder, write_plugin, tmp_path):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    first, second = folder("first", seeds(0), **options), folder("second", seeds(1), **options)
    (file,) = first.glob("plugins/*/mine.py")
    before = file.stat()
    gahbench.merge([second], first)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    content = file.read_bytes()
    # One that differs is replaced, not written into: a worker may have it open.
    file.write_bytes(content[:-1])
    with file.open("rb") as opened:
        gahbench.merge([second], first)
        assert opened.read() == content[:-1]
    assert file.read_bytes() == content


def test_plugin_files_that_the_plan_names_are_copied_and_no_others(folder, write_plugin, tmp_path):
    plugin = write_plugin("mine", "from helper import noisy as found\nreturn found(noisy) - self.noise(noisy)")
    (plugin.parent / "helper.py").write_text("def noisy(given):\n    return given\n", encoding="utf-8")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    first, second = folder("first", seeds(0), **options), folder("second", seeds(1), **options)
    (home,) = (second / "plugins").iterdir()
    (home / "other.py").write_text("", encoding="utf-8")
    (second / "plugins" / "aside").mkdir()
    (second / "plugins" / "aside" / "mine.py").write_text("", encoding="utf-8")
    gahbench.merge([second, first], tmp_path / "out")
    out = tmp_path / "out" / "plugins"
    copied = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    assert copied == [f"{home.name}/helper.py", f"{home.name}/mine.py"]


@pytest.mark.parametrize("name", [".", "home", "home/mine.py"])
def test_plugins_that_are_links_are_refused_before_anything_is_written(folder, write_plugin, tmp_path, name):
    plugin = write_plugin("mine", "return noisy - self.noise(noisy)")
    options = {"entrants": ["mine"], "plugins": [plugin]}
    first, second = folder("first", seeds(0), **options), folder("second", seeds(1), **options)
    (home,) = (second / "plugins").iterdir()
    linked = second / "plugins" / name.replace("home", home.name)
    linked.rename(tmp_path / "private")
    linked.symlink_to(tmp_path / "private")
    with pytest.raises(ResultsError, match=f"{linked}: is a link; accepted are plugin files as a run copied them"):
        gahbench.merge([first, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_plugins_that_is_a_link_is_refused_where_no_plan_names_one(folder, tmp_path):
    first, second = folder("first", seeds(0)), folder("second", seeds(1))
    (tmp_path / "private").mkdir()
    (second / "plugins").symlink_to(tmp_path / "private")
    with pytest.raises(ResultsError, match="plugins: is a link"):
        gahbench.merge([first, second], tmp_path / "out")


def test_an_entrant_is_added_where_it_is_in_no_suite(folder, tmp_path):
    first = folder("first", ("  - identity\n", ""), entrants=["identity"])
    second = folder("second", ("  - unet: {width: 2, levels: 1}\n", ""), entrants=["visu-shrink"])
    gahbench.merge([first, second], tmp_path / "out")
    added = {one.unit.entrant for one in recorded_plan(tmp_path / "out").units if one.is_added}
    assert added == {"visu-shrink[sym4]"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("name: tiny", "name: other"), "the suite is 'other', and 'tiny' in"),
        (("baseline: oracle-threshold[haar]", "baseline: identity"), "the baseline is 'identity', and 'oracle"),
    ],
)
def test_folders_of_different_boards_are_refused(folder, tmp_path, change, text):
    first, second = folder("first"), folder("second", change)
    with pytest.raises(ResultsError, match=text):
        gahbench.merge([first, second], tmp_path / "out")
    assert not (tmp_path / "out" / "units").exists()


def test_datasets_of_one_label_with_different_images_are_refused(folder, tmp_path):
    made = []
    for name in ("first", "second"):
        images = np.random.default_rng(len(made)).integers(0, 256, (40, 16, 16), dtype=np.uint8)
        np.savez(tmp_path / "images.npz", images=images)
        made.append(folder(name, ("discs: {size: 16}", f"faces: {{path: {tmp_path}/images.npz}}")))
    with pytest.raises(ResultsError, match=r"the dataset 'faces\[.*' differs: fingerprint"):
        gahbench.merge(made, tmp_path / "out")


def test_one_folder_is_too_few_and_other_folders_are_none(folder, tmp_path):
    first = folder("first")
    with pytest.raises(ResultsError, match="two results folders or more; there are 1"):
        gahbench.merge([first, tmp_path / "." / "first"], tmp_path / "out")
    with pytest.raises(ResultsError, match=r"no plan\.json"):
        gahbench.merge([first, tmp_path / "none"], tmp_path / "out")


def test_entrants_that_refuse_a_dataset_are_kept_with_the_reason(folder, tmp_path):
    first, second = folder("first"), folder("second")
    for place, refused in ((first, [["discs[size=16]", "identity", "too small"]]), (second, [["d", "gone", "x"]])):
        plan = recorded_plan(place)
        write_plan(place, replace(plan, board={**plan.board, "refused": refused}))
    gahbench.merge([first, second], tmp_path / "out")
    assert recorded_plan(tmp_path / "out").board["refused"] == [["discs[size=16]", "identity", "too small"]]


def test_threads_that_differ_are_noted(folder, tmp_path):
    first, second = folder("first", threads=1), folder("second", threads=2)
    (note,) = gahbench.merge([first, second], tmp_path / "out").notes
    assert "planned for 2 threads of a worker; 1 are recorded" in note
    assert recorded_plan(tmp_path / "out").threads == 1


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        (["ac", "abc"], "abc"),
        (["ab", "bc"], "abc"),
        (["ax", "ay"], "axy"),
        (["b", "ab"], "ab"),
        (["ab", "ba"], "ab"),
        ([], ""),
    ],
)
def test_names_are_united_in_order(sequences, expected):
    assert united(sequences) == list(expected)
