"""Reuse of finished units of other results folders, and the merge of several folders."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import flush, write_json
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.replan import differences
from gahbench.runs.collect import write_results
from gahbench.runs.comparison import describe_difference
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.code_files import PLUGINS, copy_plugin
from gahbench.store.finished import ARRAYS, DONE, SCORES
from gahbench.store.folder import Folder
from gahbench.store.kept_units import drop_duplicates, merge_orders, merge_rows
from gahbench.store.leases import unique_name
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, read_plan, require_plan, write_plan
from gahbench.store.store import Store
from gahbench.training.file_names import WEIGHTS


def _find(names: Sequence[str], info: ValidationInfo) -> tuple[Unit, ...]:
    """Return the units of some folder names in the plan that a record refers to."""
    planned: Mapping[str, Unit] = info.context or {}
    if lost := [name for name in names if name not in planned]:
        raise ResultsError(f"its plan was replaced while it was made ({lost[0]} is not in it)")
    return tuple(planned[name] for name in names)


#: Units, which a record has as the names of their folders: the plan has the rest.
Named = Annotated[
    tuple[Unit, ...], PlainValidator(_find), PlainSerializer(lambda units: [unit.folder for unit in units])
]


@dataclass(frozen=True)
class Reused:
    """The units that were taken from other results folders."""

    taken: Named = ()
    damaged: tuple[Path, ...] = ()
    other_weights: Named = ()


#: How taking a unit ends: it is here now, its files are damaged, or a score would stand beside a network that it did
#: not measure.
Ending = Literal["taken", "damaged", "other weights"]


class Taker:
    """Takes finished units from other results folders."""

    def __init__(self, target: Store) -> None:
        self._target = target
        # Finished fits stay as they are.
        self._held = functools.cache(target.weights_checksum)

    def take(self, source: Store, unit: Unit) -> Ending:
        """Link or copy a finished unit, unless it is damaged, or scores would not be those of the weights here."""
        done = source.done_record(unit)
        if done is None:
            return "damaged"
        if not self._fits(unit, done):
            return "other weights"
        attempt = self._target.units / f"{unit.folder}{PARTIAL}-{unique_name()}"
        try:
            attempt.mkdir(parents=True)
            for name in (*done["files"], DONE):
                link_or_copy(source.path(unit) / name, attempt / name)
                flush(attempt / name)
            self._target.verify(attempt, unit)
            publish(attempt, self._target.path(unit))
        except (OSError, ResultsError):
            # Either reading or writing has failed.
            try:
                source.verify(source.path(unit), unit)
            except ResultsError:
                return "damaged"
            raise
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
        self._target.forget_failure(unit)
        return "taken"

    def _fits(self, unit: Unit, done: dict[str, Any]) -> bool:
        """Whether a score measured the networks that are here, or scores here measured a network."""
        if unit.kind == "fit":
            return self._measured.get(unit.key) in (None, done["files"].get(WEIGHTS, {}).get("sha256"))
        networks = done.get("networks", {})
        return all((held := self._held(key)) is not None and held == networks.get(key) for key in unit.needs)

    @functools.cached_property
    def _measured(self) -> dict[str, str]:
        """Checksums of the weights that scores here measured before any were taken, by the keys of the fits."""
        done = (
            self._target.done_record(unit) or {}
            for unit in self._target.recorded_units()
            if unit.kind == "score" and unit.needs
        )
        return {key: digest for one in done for key, digest in one.get("networks", {}).items()}


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Reused:
    """Take units that are finished in other results folders, of any suite, but not in this folder."""
    for source in sources:
        if source.resolve() == folder.resolve():
            raise ResultsError(f"{source}: is the results folder itself; accepted are others")
        if not Store(source).units.is_dir():
            raise ResultsError(f"{source}: holds no units; expected a results folder as its run left it")
    with Folder(folder).lock():
        return _take(units, Store(folder), [Store(source) for source in sources])


def _take(units: Iterable[Unit], target: Store, sources: Sequence[Store]) -> Reused:
    """Take units, fits first, each from the first store that has it undamaged."""
    taker, finished = Taker(target), target.finished()
    held = [(store, store.finished()) for store in sources]
    taken: list[Unit] = []
    damaged: list[Path] = []
    other_weights: list[Unit] = []
    missing = {unit.folder: unit for unit in units if unit.folder not in finished}
    for unit in sorted(missing.values(), key=lambda unit: unit.kind != "fit"):
        ending = None
        for store in (store for store, names in held if unit.folder in names):
            ending = taker.take(store, unit)
            if ending == "taken":
                taken.append(unit)
                break
            if ending == "damaged":
                damaged.append(store.path(unit))
        if ending == "other weights":
            other_weights.append(unit)
    return Reused(tuple(taken), tuple(damaged), tuple(other_weights))


@dataclass
class Merged:
    """The outcome of merging results folders."""

    folder: Path
    taken: dict[Path, int] = field(default_factory=dict)
    failures: int = 0
    differing: list[Unit] = field(default_factory=list)
    other_weights: list[Unit] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def merge(folders: Sequence[str | Path], out: str | Path) -> Merged:
    """Make one results folder of several, with the board of all: units of equal keys once, linked or copied.

    Parameters
    ----------
    folders
        Results folders of one suite. Where two hold a unit, the first counts.
    out
        The folder of all: new or empty, or with results of the suite, which then come first.

    Returns
    -------
    Merged
        How many units came from each, and of which they have different results.

    Raises
    ------
    ResultsError
        If there are fewer than two, one of them is no results folder, they differ in suite, baseline, images, scoring
        or training, or the plugins in one of them are links; names what differs.
    """
    paths, out = [Path(folder) for folder in folders], Path(out)
    # What is refused leaves no trace.
    _united(paths, out)
    with Folder(out).lock():
        # Another run may have planned in it while this one waited.
        plans, plan, notes = _united(paths, out)
        sources = [path for path in plans if path.resolve() != out.resolve()]
        for name in plan.plugins:
            if (source := next((path for path in sources if (path / name).exists()), None)) is not None:
                copy_plugin(name, source, out)
        write_plan(out, plan)
        found = _merge_units([one.unit for one in plan.units], Store(out), list(map(Store, sources)))
        found.notes = tuple(notes)
    write_results(out)
    return found


def _merge_units(units: Sequence[Unit], target: Store, sources: Sequence[Store]) -> Merged:
    """Take units, note units of which the stores have different results, and take failures of units done nowhere."""
    found = Merged(target.folder)
    for source in sources:
        part = _take(units, target, [source])
        found.taken[source.folder] = len(part.taken)
        found.damaged += part.damaged
        found.other_weights += part.other_weights
    finished = target.finished()
    found.other_weights = [unit for unit in found.other_weights if unit.folder not in finished]
    for unit in units:
        if unit.folder in finished:
            here = _checksums(target, unit)
            # Scores of networks that differ are expected to differ.
            is_explained = any(fit.key in unit.needs for fit in found.differing)
            if not is_explained and any(_checksums(source, unit) not in (here, {}) for source in sources):
                found.differing.append(unit)
        elif record := next(filter(None, (one.failure_record(unit.folder) for one in (target, *sources))), None):
            write_json(target.failures / f"{unit.folder}.json", record)
            found.failures += 1
    return found


def _checksums(store: Store, unit: Unit) -> dict[str, Any]:
    """Return the checksums of the results of a unit; none if it is not finished."""
    files = (store.done_record(unit) or {}).get("files", {})
    return {name: files[name]["sha256"] for name in (WEIGHTS, SCORES, ARRAYS) if name in files}


def _united(folders: Sequence[Path], out: Path) -> tuple[dict[Path, RecordedPlan], RecordedPlan, list[str]]:
    """Return the plans of folders, that of all first if it has results; the plan of all of them, and notes on it."""
    listed = {path.resolve(): path for path in ([out, *folders] if read_plan(out) is not None else folders)}
    if len(listed) < 2:
        raise ResultsError(f"merging into {out} takes two results folders or more; there are {len(listed)}")
    plans = {path: require_plan(path) for path in listed.values()}
    _require_same_protocol(plans)
    for path in plans:
        for place in (path / PLUGINS, *(path / PLUGINS).rglob("*")):
            if place.is_symlink():
                raise ResultsError(f"{place}: is a link; accepted are plugin files as a run copied them")
    several = list(plans.values())
    first = several[0]
    threads = next((plan.threads for plan in several if plan.threads is not None), None)
    notes = [
        f"{path}: planned for {plan.threads} threads of a worker; {threads} are recorded, and rounding depends on it"
        for path, plan in plans.items()
        if plan.threads not in (None, threads)
    ]
    plugins: dict[str, str] = {}
    for path, plan in plans.items():
        for file in plan.plugins:
            # plugins/DIGEST/FILE
            name = file.split("/", 2)[-1]
            if plugins.setdefault(name, file) != file:
                notes.append(f"{path}: another version of the plugin file {name}; that of the first folder is kept")
    texts = {(plan.suite_text, plan.changes) for plan in several}
    board = _united_boards([plan.board for plan in several])
    plan = replace(
        first,
        units=tuple(_united_units(several, board)),
        board=board,
        threads=threads,
        plugins=tuple(plugins.values()),
        code={name: digest for plan in reversed(several) for name, digest in plan.code.items()},
        # A text that is not of all of it is of none.
        suite_text=first.suite_text if len(texts) == 1 else "",
        changes=first.changes if len(texts) == 1 else (),
    )
    return plans, plan, notes


def _require_same_protocol(plans: Mapping[Path, RecordedPlan]) -> None:
    """Refuse plans whose rows could not stand beside each other on a board."""
    known: dict[str, tuple[Path, Any]] = {}
    for path, plan in plans.items():
        for what, own in _protocol(plan):
            where, before = known.setdefault(what, (path, own))
            found = [] if where == path else [describe_difference(own, before, at) for at in differences(own, before)]
            if found:
                raise ResultsError(
                    f"{path} and {where}: {what} differs: {listing(found)}; accepted are folders of one suite, with "
                    "the same images, scoring and training"
                )


def _protocol(plan: RecordedPlan) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of everything that must be equal in all folders."""
    yield "the suite", plan.suite
    yield "the baseline", plan.board["baseline"]
    for row in plan.board["datasets"]:
        yield f"the dataset '{row['dataset']}'", {name: row[name] for name in row if name not in ("notes", "spec")}
    for unit in plan.shown:
        document = unit.document or {}
        if unit.kind == "score":
            own = {name: value for name, value in document.items() if name not in ("entrant", "partner")}
            own.pop("learned_from", None)
            yield f"the metric '{unit.metric}' on {unit.split} images of {unit.dataset}", own
        elif unit.entrant not in plan.board["trainings"]:
            yield f"the training{'' if unit.split is None else ' on halves'}", _training(unit)
        yield f"'{unit.label}'", document


def _training(unit: Unit) -> dict[str, Any]:
    """Return how a network is trained: rows of a sweep differ in the number of images, and halves in the split."""
    left_out = {"train_images"} if unit.entrant != base_label(unit.entrant) else set()
    left_out |= set() if unit.split is None else {"split", "same_initialisation"}
    training = (unit.document or {}).get("training", {})
    return {name: value for name, value in training.items() if name not in left_out}


def _united_boards(boards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of several boards; where they differ the first counts."""
    tables = {"datasets": "dataset", "metrics": "metric", "ratios": "metric"}
    return {
        "baseline": boards[0]["baseline"],
        "entrants": merge_orders(board["entrants"] for board in boards),
        **{name: merge_rows((board[name] for board in boards), column) for name, column in tables.items()},
        "citations": drop_duplicates(row for board in boards for row in board["citations"]),
        "refused": [list(one) for one in dict.fromkeys(tuple(one) for board in boards for one in board["refused"])],
        **{
            name: {label: own for board in reversed(boards) for label, own in board[name].items()}
            for name in ("trainings", "needs")
        },
    }


def _united_units(plans: Sequence[RecordedPlan], board: Mapping[str, Any]) -> list[RecordedUnit]:
    """Return every unit once, in the order of a plan: fits first, then by dataset, row, seed, split and metric."""
    found: dict[str, RecordedUnit] = {}
    for one in (one for plan in plans for one in plan.units):
        before = found.setdefault(one.unit.folder, one)
        # Plans of folders with finished networks do not count their work.
        unit = replace(before.unit, work=max(before.unit.work, one.unit.work))
        is_added, is_shown = before.is_added and one.is_added, before.is_shown or one.is_shown
        found[one.unit.folder] = RecordedUnit(unit, is_added, is_shown)
    first = {"dataset": [row["dataset"] for row in board["datasets"]], "entrant": board["entrants"]}

    def places(name: str) -> dict[str, int]:
        names = merge_orders(
            [first.get(name, []), *([str(getattr(one.unit, name)) for one in plan.units] for plan in plans)]
        )
        return {value: place for place, value in enumerate(names)}

    order = {name: places(name) for name in ("dataset", "entrant", "split", "metric")}

    def place(one: RecordedUnit) -> tuple[int, ...]:
        at = {name: places[str(getattr(one.unit, name))] for name, places in order.items()}
        seed = -1 if one.unit.seed is None else one.unit.seed
        return (one.unit.kind != "fit", at["dataset"], at["entrant"], seed, at["split"], at["metric"])

    return sorted(found.values(), key=place)
