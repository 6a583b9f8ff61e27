"""The number of waits in each path of :mod:`paths`, read from the guide: values read back, and blocking uploads.

The numbers of a group apply to all its paths that have no numbers of their own. If another version of torch waits
elsewhere, ``python -m tests.devices --locations`` prints where; then update the table in the guide.
"""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / ".docs" / "guide" / "hardware.md"


def read_budgets():
    """Return the reads and uploads of each group, by the name of the path; ``""`` stands for all other paths."""
    budgets = {}
    guide = GUIDE.read_text(encoding="utf-8")
    table = guide.partition("| path | reads | uploads | exceptions |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        group, reads, uploads, exceptions = (cell.strip() for cell in line.strip("|").split("|"))
        budgets[group] = {"": (int(reads), int(uploads))}
        for reads, uploads, names in re.findall(r"(\d+) and (\d+): ([^;]+)", exceptions):
            budgets[group] |= dict.fromkeys(re.findall("`([^`]+)`", names), (int(reads), int(uploads)))
    return budgets


BUDGETS = read_budgets()
