"""Every cheat in a run of its own beside honest denoisers: is it named, as .github/SECURITY.md says?

Run as ``python -m tests.attack cheats``.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

PLUGINS = Path(__file__).with_name("cheating_plugins.py")
SECURITY = Path(__file__).parents[2] / ".github" / "SECURITY.md"
HONEST = ("identity", "visu-shrink", "gaussian-blur", "threshold", "oracle-threshold")
SUITE = """
name: cheats
datasets: [{c-alpha: {alpha: 2, size: 16}}]
entrants: [identity, visu-shrink, gaussian-blur, threshold, {oracle-threshold: {basis: haar}}]
scoring: {sigmas: [0.005, 0.1, 0.2, 0.4], images: 24, metrics: [ssim, psnr]}
"""


def documented() -> dict[str, str]:
    """Return what SECURITY.md says of each cheat: ``flagged``, ``failed`` or ``out of reach``."""
    rows = re.findall(r"^\| `(cheat-[a-z-]+)` \|[^|]*\| (flagged|failed|out of reach)\b", SECURITY.read_text(), re.M)
    return dict(rows)


def outcome(cheat: str, folder: Path) -> tuple[str, list[str]]:
    """Run a cheat; return whether it is ``flagged``, ``failed`` or ``unnamed``, and the honest rows that are."""
    import gahbench

    suite = folder / "cheats.yaml"
    suite.write_text(SUITE)
    run = gahbench.run(suite, folder / cheat, entrants=[cheat], plugins=[PLUGINS], workers=1)
    entries = {entry.entrant: entry for entry in run.results.board.entries}
    wrong = [label for label, entry in entries.items() if label != cheat and (entry.marks or "failed" in entry.note)]
    entry = entries[cheat]
    if "failed" in entry.note:
        return "failed", wrong
    return ("flagged" if entry.marks else "unnamed"), wrong


def main(argv: Sequence[str] = ()) -> int:
    """Run cheats; return 1 if one is not found out as documented, or an honest row is flagged, and else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack cheats", description=__doc__)
    parser.add_argument("names", nargs="*", help="Cheats. [default: all that SECURITY.md lists]")
    known, status = documented(), 0
    with tempfile.TemporaryDirectory() as folder:
        for cheat in parser.parse_args(argv).names or known:
            found, wrong = outcome(cheat, Path(folder))
            expected = {"out of reach": "unnamed"}.get(known[cheat], known[cheat])
            as_expected = found == expected and not wrong
            status |= not as_expected
            print(f"{'ok  ' if as_expected else 'WRONG'} {cheat}: {found}, documented: {known[cheat]}", *wrong)
    return int(status)
