"""The state of folders that others publish, or that cannot be written."""

from pathlib import Path

import gahbench
from gahbench.store.leases import Leases
from gahbench.store.store import Store

PUBLISHED = Path(__file__).parents[2] / "results" / "quick"


def test_a_published_board_says_that_its_units_are_not_there(command):
    found = gahbench.status(PUBLISHED)
    assert found.is_board_alone
    status, printed, _ = command("status")(PUBLISHED, "--watch")
    assert status == 0
    count = found.done + found.failed + found.blocked + found.waiting
    assert printed.splitlines() == [
        f"suite quick: a board of {count} units, which are not in this folder; 'gahbench leaderboard' prints it"
    ]


def test_a_folder_that_cannot_be_written_shows_its_claims(out, monkeypatch):
    assert not gahbench.status(out).is_board_alone
    store = Store(out)
    unit = next(one for one in store.recorded() if one.kind == "score")
    store.put_away([unit.folder], "replaced")
    leases = Leases(store.leases)
    leases.take(unit.folder)
    opened = Path.open

    def refuse(path, mode="r", *arguments, **options):
        if path.is_relative_to(out) and set(mode) & set("xwa+"):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    (running,) = gahbench.status(out).running
    assert (running.unit.folder, running.is_lost) == (unit.folder, False)
    assert 0 <= running.seconds < 60
    monkeypatch.setattr(Path, "open", opened)
    leases.close()


def test_a_failure_of_what_somebody_finished_blocks_nothing(out):
    store = Store(out)
    units = list(store.recorded())
    fit = next(unit for unit in units if unit.kind == "fit")
    score = next(unit for unit in units if fit.key in unit.needs)
    store.put_away([score.folder], "replaced")
    store.failures.mkdir(exist_ok=True)
    (store.failures / f"{fit.folder}.json").write_text('{"error": "lost"}')
    found = gahbench.status(out)
    assert (found.failed, found.blocked, found.waiting, found.failures) == (0, 0, 1, ())
