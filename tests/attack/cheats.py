"""Check that the outcome of each cheat, in a run with honest denoisers, is as in .github/SECURITY.md.

Run as ``python -m tests.attack cheats``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

PLUGINS = Path(__file__).with_name("cheating_plugins.py")
SECURITY = Path(__file__).parents[2] / ".github" / "SECURITY.md"
SUITE = """
name: cheats
datasets: [{c-alpha: {alpha: 2, size: 16}}]
entrants: [identity, visu-shrink, gaussian-blur, threshold, {oracle-threshold: {basis: haar}}]
scoring: {sigmas: [0.005, 0.1, 0.2, 0.4], images: 24, metrics: [ssim, psnr]}
"""


def documented_outcomes(prefix: str = "cheat") -> dict[str, str]:
    """Return the outcome of each cheat in SECURITY.md: ``flagged``, ``failed`` or ``out of reach``."""
    row = rf"^\| `({prefix}-[a-z-]+)` \|[^|]*\| (flagged|failed|out of reach)\b"
    return dict(re.findall(row, SECURITY.read_text(encoding="utf-8"), re.MULTILINE))


def run_cheat(cheat: str, folder: Path) -> tuple[str, list[str]]:
    """Run a cheat; return ``flagged``, ``failed`` or ``unflagged``, and the honest rows that are flagged."""
    import gahbench

    suite = folder / "cheats.yaml"
    suite.write_text(SUITE)
    run = gahbench.run(suite, folder / cheat, entrants=[cheat], plugins=[PLUGINS], workers=1)
    entries = {entry.entrant: entry for entry in run.results.board.entries}
    flagged = [label for label, entry in entries.items() if label != cheat and (entry.flags or "failed" in entry.note)]
    entry = entries[cheat]
    if "failed" in entry.note:
        return "failed", flagged
    return ("flagged" if entry.flags else "unflagged"), flagged


def main(arguments: object = ()) -> int:
    """Run the cheats of SECURITY.md; return 1 if an outcome is not as documented, or an honest row is flagged."""
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        for cheat, expected in documented_outcomes().items():
            outcome, flagged = run_cheat(cheat, Path(folder))
            is_expected = outcome == expected.replace("out of reach", "unflagged") and not flagged
            status |= not is_expected
            print(f"{'ok  ' if is_expected else 'WRONG'} {cheat}: {outcome}, documented: {expected}", *flagged)
    return int(status)
