"""Several results folders of one suite as one, with the board of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gahbench._util.checks import is_inside
from gahbench._util.errors import ResultsError
from gahbench._util.files import read_regular, write_json, write_whole
from gahbench.contracts.unit import Unit
from gahbench.runs.collect import collect
from gahbench.runs.merged_plan import MergedPlan, merge_plans
from gahbench.store.code_files import PLUGINS
from gahbench.store.folder import Folder
from gahbench.store.plan_file import RecordedPlan, read_plan, recorded_plan, write_plan
from gahbench.store.score_files import ARRAYS, SCORES
from gahbench.store.store import Store
from gahbench.store.taking import Taker
from gahbench.training.file_names import WEIGHTS


@dataclass
class Merged:
    """The outcome of merging results folders."""

    folder: Path
    taken: dict[Path, int] = field(default_factory=dict)
    failures: int = 0
    other_weights: list[Unit] = field(default_factory=list)
    other_network: list[Unit] = field(default_factory=list)
    differing: list[Unit] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    not_shown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Make one results folder of several: their plans united, their units linked or copied, their boards one.

    Parameters
    ----------
    folders
        Results folders of one suite. Where they differ, the first that holds a unit counts.
    out
        The folder of all: new or empty, or with results of the suite, which then come first.

    Raises
    ------
    ResultsError
        If there are fewer than two, one of them is no results folder or of another suite, they have different
        baselines or facts of a dataset, or a plugin file in one of them is a link.
    """
    # What is refused leaves no trace.
    _united(folders, out)
    with Folder(out).lock():
        # Another run may have planned in it while this one waited.
        listed, plan = _united(folders, out)
        found = Merged(out, not_shown=plan.not_shown, notes=plan.notes)
        for path in listed:
            if path.resolve() != out.resolve():
                _copy_plugins(path, out, plan.plan)
        write_plan(out, plan.plan)
        _Merger(Store(out), [Store(path) for path in listed], found).merge(plan.plan)
    collect(out)
    return found


def _united(folders: Sequence[Path], out: Path) -> tuple[list[Path], MergedPlan]:
    """Return the folders to merge, each once, that of all first if it has results; and their plan."""
    listed = {path.resolve(): path for path in ([out, *folders] if read_plan(out) is not None else folders)}
    if len(listed) < 2:
        raise ResultsError(f"merging into {out} takes two results folders or more; there are {len(listed)}")
    merged = merge_plans([(path, recorded_plan(path)) for path in listed.values()])
    for path in listed.values():
        _plugin_files(path, merged.plan)
    return list(listed.values()), merged


def _copy_plugins(source: Path, target: Path, plan: RecordedPlan) -> None:
    """Copy the plugin files of a plan that are not there yet; those that are there may be in use."""
    for name in _plugin_files(source, plan):
        copy, content = target / name, read_regular(source / name, follow=False)
        if not copy.is_file() or copy.read_bytes() != content:
            write_whole(copy, content)


def _plugin_files(folder: Path, plan: RecordedPlan) -> list[Path]:
    """Return the plugin files of a plan, and the files beside them, that a folder holds, relative to it."""
    files = [path for path in map(Path, plan.plugins) if path.parts[0] == PLUGINS]
    # plugins/DIGEST/FILE, of which the code has plugins/FILE.
    members = [Path(*Path(name).parts[1:]) for name in plan.code if is_inside(name) and Path(name).parts[0] == PLUGINS]
    files += [home / member for home in {Path(*path.parts[:2]) for path in files} for member in members]
    for path in (Path(PLUGINS), *files):
        for place in (path, *path.parents[:-1]):
            if (folder / place).is_symlink():
                raise ResultsError(f"{folder / place}: is a link; accepted are plugin files as a run copied them")
    return sorted({path for path in files if (folder / path).is_file()})


class _Merger:
    """Brings the units of several stores into one."""

    def __init__(self, target: Store, sources: Sequence[Store], found: Merged) -> None:
        self._target, self._found = target, found
        self._sources = [source for source in sources if source.folder.resolve() != target.folder.resolve()]
        self._taker = Taker(target)

    def merge(self, plan: RecordedPlan) -> None:
        """Take units, and failures of those that are done nowhere."""
        finished = self._target.finished()
        held: dict[str, tuple[Unit, list[Store]]] = {}
        for source in self._sources:
            self._found.taken[source.folder] = 0
            for unit in source.recorded():
                held.setdefault(unit.folder, (unit, []))[1].append(source)
        for kind in ("fit", "score"):
            for unit, sources in (one for one in held.values() if one[0].kind == kind):
                self._unite(unit, sources, unit.folder in finished)
        finished = self._target.finished()
        self._take_failures(one.unit for one in plan.units if one.unit.folder not in finished)

    def _unite(self, unit: Unit, sources: Sequence[Store], is_here: bool) -> None:
        """Take a unit from the first store that has it undamaged, and compare it with that of the others."""
        is_fit = unit.kind == "fit"
        was_other = False
        for source in sources:
            if is_here:
                done = source.done(unit)
                # Scores of other networks differ for that reason.
                is_like = done is not None and (is_fit or self._taker.fits(source, unit, done))
                if is_like and self._differs(unit, source):
                    (self._found.other_weights if is_fit else self._found.differing).append(unit)
                    return
                continue
            ending = self._taker.take(source, unit)
            if ending == "taken":
                is_here = True
                self._found.taken[source.folder] += 1
            elif ending == "damaged":
                self._found.damaged.append(source.path(unit))
            else:
                was_other = True
        if was_other and not is_here:
            self._found.other_network.append(unit)

    def _differs(self, unit: Unit, source: Store) -> bool:
        names = (WEIGHTS,) if unit.kind == "fit" else (SCORES, ARRAYS)
        here, there = ((store.done(unit) or {}).get("files", {}) for store in (self._target, source))
        return any(here.get(name) != there.get(name) for name in names)

    def _take_failures(self, units: Iterable[Unit]) -> None:
        failed = [(source, source.failed()) for source in self._sources]
        here = self._target.failed()
        for unit in units:
            if unit.folder in here:
                self._found.failures += 1
                continue
            for source in (source for source, names in failed if unit.folder in names):
                record = source.failure_record(unit.folder)
                if not record:
                    continue
                write_json(self._target.failures / f"{unit.folder}.json", record)
                self._found.failures += 1
                break
