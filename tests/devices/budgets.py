"""How often a GPU waits in each path of :mod:`paths`, as the guide has it: values read back, and uploads that block.

The numbers of a group are those of its paths that are not named beside. Another version of torch may read back
elsewhere: then ``python -m tests.devices --places`` says where, and the table of the guide follows.
"""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / ".docs" / "guide" / "hardware.md"


def read_budgets():
    """Return the reads and uploads of each group by the names of its paths, ``""`` for all others."""
    budgets = {}
    table = GUIDE.read_text(encoding="utf-8").partition("| path | reads | uploads | others |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        group, reads, uploads, others = (cell.strip() for cell in line.strip("|").split("|"))
        budgets[group] = {"": (int(reads), int(uploads))}
        for reads, uploads, names in re.findall(r"(\d+) and (\d+): ([^;]+)", others):
            budgets[group] |= dict.fromkeys(re.findall("`([^`]+)`", names), (int(reads), int(uploads)))
    return budgets


BUDGETS = read_budgets()
