"""Units that are moved or deleted are claimed meanwhile."""

import pytest

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.runs import adoption, again, removal
from gahbench.runs.removal import hold
from gahbench.store.leases import Leases
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")

UNET = "unet[width=2,levels=1]"


def run(suite, out, **options):
    return gahbench.run(suite, out, engine="inline[trusted=true]", **options)


@pytest.fixture
def out(write_suite, tmp_path):
    run(write_suite(), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def taken_before(out, monkeypatch):
    """Let another process try to claim units just before a function is called; return what it got."""
    names = {unit.folder for unit in Store(out).recorded() if unit.entrant == UNET}
    got = {}

    def patch(place, name):
        function = getattr(place, name)

        def called(*arguments):
            worker = Leases(out / "leases")
            got.update({unit: worker.take(unit) for unit in names})
            worker.close()
            return function(*arguments)

        monkeypatch.setattr(place, name, called)
        return got

    return patch


def test_no_worker_can_begin_what_is_moved_to_be_done_anew(write_suite, out, taken_before):
    got = taken_before(again, "names_in")
    run(write_suite(), out, again=[UNET])
    assert list(got.values()) == [None] * 3


def test_no_worker_can_begin_what_is_removed(out, taken_before):
    got = taken_before(removal, "write_plan")
    gahbench.remove(out, [UNET])
    assert list(got.values()) == [None] * 3
    assert list((out / "leases").iterdir()) == []


def test_no_worker_can_begin_what_is_adopted(out, taken_before):
    got = taken_before(adoption, "_rewrite_plan")
    gahbench.adopt(out)
    assert list(got.values()) == [None] * 3
    assert list((out / "leases").iterdir()) == []


def test_nothing_is_adopted_while_a_unit_is_being_done(out):
    leases = Leases(out / "leases")
    (score,) = [unit for unit in Store(out).recorded() if (unit.entrant, unit.metric) == (UNET, "psnr")]
    leases.take(score.folder)
    with pytest.raises(ResultsError, match=r"is being done on .*, process [0-9]+; wait for it, or end it"):
        gahbench.adopt(out)
    # Leases that were taken before are released.
    assert [path.name for path in (out / "leases").iterdir()] == [score.folder]
    leases.close()


def test_stale_claims_are_taken_over(out):
    store = Store(out)
    unit, *_ = store.recorded()
    leases = Leases(out / "leases")
    leases.lose(leases.take(unit.folder), "its process died")
    with hold([unit], store):
        assert not leases.seen(unit.folder).is_stale
    assert leases.names() == set()
