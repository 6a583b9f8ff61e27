"""Units that are moved or deleted are leased meanwhile."""

import pytest

import gahbench
from gahbench._util.errors import ResultsError
from gahbench.runs import adoption, removal
from gahbench.runs.removal import hold
from gahbench.store.leases import Leases
from gahbench.store.store import Store

pytestmark = pytest.mark.usefixtures("dry_runs_here", "figures_not_rendered")

UNET = "unet[width=2,levels=1]"


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


@pytest.mark.parametrize(
    ("place", "name", "change"),
    [
        (removal, "names_in", lambda suite, out: gahbench.run(suite, out, again=[UNET], engine="inline")),
        (removal, "write_plan", lambda suite, out: gahbench.remove(out, [UNET])),
        (adoption, "_rewrite_plan", lambda suite, out: gahbench.adopt(out)),
    ],
    ids=["again", "remove", "adopt"],
)
def test_no_worker_can_begin_what_is_moved(write_suite, out, taken_before, place, name, change):
    got = taken_before(place, name)
    change(write_suite(), out)
    assert list(got.values()) == [None] * 3
    assert list((out / "leases").iterdir()) == []


def test_nothing_is_adopted_while_a_unit_is_being_done(out):
    leases = Leases(out / "leases")
    (score,) = [unit for unit in Store(out).recorded() if (unit.entrant, unit.metric) == (UNET, "psnr")]
    leases.take(score.folder)
    with pytest.raises(ResultsError, match=r"is being done on .*, process [0-9]+; wait for it, or end it"):
        gahbench.adopt(out)
    # Claims that were taken before are released.
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
