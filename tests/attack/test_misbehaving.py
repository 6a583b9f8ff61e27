"""Some misbehaving plugins in a run with honest entrants; ``python -m tests.attack.plugins`` runs all kinds."""

from .misbehaving import KINDS
from .plugins import attack

#: Quick kinds, each from a different group.
NAMES = (
    "raise-stopped",
    "sleep-in-constructor",
    "exit-at-import",
    "close-everything",
    "fork-that-stays",
    "patch-randn-at-import",
    "patch-of-metric",
)


def test_misbehaving_plugins_affect_only_their_own_rows(tmp_path):
    kinds = [KINDS[name] for name in NAMES]
    assert attack([kinds], tmp_path / "attack", unit=40.0) == {}
