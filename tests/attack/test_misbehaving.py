"""Some plugins that misbehave, beside honest entrants in one run; ``python -m tests.attack.plugins`` runs all."""

from .misbehaving import KINDS
from .plugins import attack

#: Those that are quick, and each of another kind.
FEW = (
    "raise-stopped",
    "sleep-in-constructor",
    "finished-everywhere",
    "garbage-without-an-end",
    "fork-that-stays",
    "patch-randn",
)


def test_plugins_that_misbehave_spoil_their_own_rows_alone(tmp_path):
    kinds = [KINDS[name] for name in FEW]
    assert attack([kinds], tmp_path / "attack", unit=200.0, construction=15.0) == {}
