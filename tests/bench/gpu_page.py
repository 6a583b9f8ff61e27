"""The report in Markdown that ``gpu.py`` prints; it only needs the standard library."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

#: Titles of the sections in the order of the report, by their names in ``--only``.
TITLES = {
    "machine": "Machine",
    "tests": "Tests",
    "training": "Training",
    "runner": "Overhead of a fit over its training steps",
    "ahead": "Prefetching of images in a thread",
    "sampling": "Sampling",
    "jacobian": "Jacobians",
    "scoring": "Scoring",
    "workers": "Workers",
    "quick": "The suite `quick`",
}
#: Limitations of a report without a GPU.
OPEN = (
    "speed: all figures above were measured on a CPU",
    "the kernels and the rounding of TF32 and bfloat16",
    "`torch.compile` for a GPU, and capture of CUDA graphs",
    "random numbers of CUDA: random numbers are drawn on the CPU",
    "memory of a GPU, and what happens when it runs out",
)


@dataclass
class Part:
    """A Python command, the file to which it appends tables, and its outcome."""

    section: str
    name: str
    command: list[str]
    tables: Path | None = None
    seconds: float = 0.0
    status: int | None = None
    output: list[str] = field(default_factory=list)

    @property
    def last_line(self):
        """The last line that is not empty."""
        return next((line for line in reversed(self.output) if line), "")

    @property
    def outcome(self):
        """Description of the outcome."""
        if not self.status:
            return "not finished" if self.status is None else "ok"
        return f"**failed**: `{re.sub('[`|]', '', self.last_line) or f'exit status {self.status}'}`"


def page(parts, device, remarks):
    """Return the report; the first part describes the machine."""
    tables = _tables(parts[:1])
    failed, missing = sum(bool(part.status) for part in parts), sum(part.status is None for part in parts)
    success = f"All {len(parts)} parts succeeded."
    if failed or missing:
        success = f"**Of {len(parts)} parts, {failed} failed and {missing} did not finish.**"
    blocks = [f"## {tables[0]['lines'][0][1]}", " ".join([success, *remarks])]
    for section, title in TITLES.items():
        members = [part for part in parts if part.section == section and part.status is not None]
        if members:
            blocks += [f"### {title}", *_content(section, members)]
    rows = [["part", "seconds", "outcome"]]
    rows += [[f"{TITLES[part.section]}: {part.name}", f"{part.seconds:.0f}", part.outcome] for part in parts]
    blocks += ["### Commands", markdown(rows)]
    if device != "cuda":
        blocks += ["### Limitations of this device", "\n".join(f"- {line}" for line in OPEN)]
    return "\n\n".join(blocks)


def _content(section, parts):
    """Return the blocks of a section; tables with equal columns are merged."""
    failures = [f"{part.outcome} ({part.name})" for part in parts if part.status]
    if section == "tests":
        details = [f"- {line}" for line in parts[0].output if line.startswith(("SKIPPED", "FAILED", "ERROR"))]
        # Remove paths of this machine.
        details = [re.sub(r"\S*(?=tests/gpu/)", "", line) for line in details]
        return [f"`{parts[0].name}`: {parts[0].last_line.strip('= ')}.", "\n".join(details)]
    if section == "quick":
        return failures or [f"{parts[0].seconds:.1f} s from start to board."]
    if section == "workers":
        return [markdown([["workers", "seconds", "times as fast as one"], *_speedups(parts)]), *failures]
    tables, merged = _tables(parts), {}
    for table in tables:
        heading, *rows = table["lines"]
        merged.setdefault(tuple(heading), [heading]).extend(rows)
    notes = dict.fromkeys(note for table in tables for note in table["notes"] if note)
    return [*map(markdown, merged.values()), *([" ".join(notes)] if notes else []), *failures]


def _tables(parts):
    files = [part.tables for part in parts if part.tables is not None and part.tables.exists()]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _speedups(parts):
    first, rows = parts[0], []
    for part in parts:
        ratio = "" if first.status or part.status else f"{first.seconds / part.seconds:.2f}"
        rows.append([part.name, "failed" if part.status else f"{part.seconds:.1f}", ratio])
    return rows


def markdown(lines):
    """Format rows of cells as a Markdown table.

    Cells below an empty heading are joined to the cells on their left, and empty columns are removed.
    """
    columns = []
    for heading, *cells in zip(*lines, strict=True):
        if heading:
            columns.append([heading, *cells])
        else:
            columns[-1] = [f"{left} {right}".rstrip() for left, right in zip(columns[-1], ["", *cells], strict=True)]
    columns = [column for column in columns if any(column[1:])]
    # Align numbers to the right.
    rules = ["---:" if all(cell[:1].isdigit() for cell in column[1:] if cell) else "---" for column in columns]
    first, *rows = zip(*columns, strict=True)
    return "\n".join(
        f"| {' | '.join(cell.strip().replace('|', '/') for cell in row)} |" for row in (first, rules, *rows)
    )
