"""Reuse of finished units from other results folders, and merging of several folders."""

from __future__ import annotations

import contextlib
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
from gahbench.store.archive import is_archive, unpacked
from gahbench.store.attempts import PARTIAL, link_or_copy, publish
from gahbench.store.code_files import PLUGINS, copy_plugin
from gahbench.store.finished import ARRAYS, DONE, SCORES
from gahbench.store.folder import Folder
from gahbench.store.kept_units import drop_duplicates, merge_orders, merge_rows
from gahbench.store.leases import unique_name
from gahbench.store.plan_file import RecordedPlan, RecordedUnit, read_plan, require_plan, write_plan
from gahbench.store.store import Store
from gahbench.training.file_names import WEIGHTS


def _units_by_name(names: Sequence[str], info: ValidationInfo) -> tuple[Unit, ...]:
    """Return the units with some folder names in the plan that the validation context holds."""
    planned: Mapping[str, Unit] = info.context or {}
    if missing := [name for name in names if name not in planned]:
        raise ResultsError(f"another run has replaced the plan of this folder ({missing[0]} is not in it); run again")
    return tuple(planned[name] for name in names)


#: Units that a record stores as folder names, and that are read from the plan.
PlannedUnits = Annotated[
    tuple[Unit, ...], PlainValidator(_units_by_name), PlainSerializer(lambda units: [unit.folder for unit in units])
]


@dataclass(frozen=True)
class Reused:
    """The units that were taken from other results folders."""

    taken: PlannedUnits = ()
    damaged: tuple[Path, ...] = ()
    other_weights: PlannedUnits = ()


#: The outcome of copying a unit: it was taken, its files are damaged, or a score measured other weights than those in
#: the target folder.
CopyOutcome = Literal["taken", "damaged", "other weights"]


class UnitCopier:
    """Copies finished units from other results folders into a store."""

    def __init__(self, target: Store) -> None:
        self._target = target
        # The weights of finished fits do not change, so their checksums can be cached.
        self._own_checksum = functools.cache(target.weights_checksum)

    def copy(self, source: Store, unit: Unit) -> CopyOutcome:
        """Link or copy a finished unit, unless it is damaged or belongs to weights other than the target's."""
        done = source.done_record(unit)
        if done is None:
            return "damaged"
        if not self._matches_weights(unit, done):
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
            # If the source is intact, writing to the target has failed.
            try:
                source.verify(source.path(unit), unit)
            except ResultsError:
                return "damaged"
            raise
        finally:
            shutil.rmtree(attempt, ignore_errors=True)
        self._target.forget_failure(unit)
        return "taken"

    def _matches_weights(self, unit: Unit, done: dict[str, Any]) -> bool:
        """Return whether a score measured the weights in the target, or scores in the target measured these weights."""
        if unit.kind == "fit":
            return self._measured_checksums.get(unit.key) in (None, done["files"].get(WEIGHTS, {}).get("sha256"))
        networks = done.get("networks", {})
        return all(
            (checksum := self._own_checksum(key)) is not None and checksum == networks.get(key) for key in unit.needs
        )

    @functools.cached_property
    def _measured_checksums(self) -> dict[str, str]:
        """Checksums of the weights that scores in the target measured, by the key of the fit."""
        done = (
            self._target.done_record(unit) or {}
            for unit in self._target.recorded_units()
            if unit.kind == "score" and unit.needs
        )
        return {key: digest for record in done for key, digest in record.get("networks", {}).items()}


def reuse(units: Iterable[Unit], folder: Path, sources: Sequence[Path]) -> Reused:
    """Copy units that are finished in other results folders or archives, of any suite, but not in this folder."""
    with contextlib.ExitStack() as stack:
        stores = []
        for source in sources:
            if source.resolve() == folder.resolve():
                raise ResultsError(f"{source}: is the results folder of the run itself; give another folder")
            store = Store(stack.enter_context(unpacked(source)) if is_archive(source) else source)
            if not store.units.is_dir():
                raise ResultsError(f"{source}: holds no units; expected a results folder with its folder units/")
            stores.append(store)
        with Folder(folder).lock():
            return _copy_units(units, Store(folder), stores)


def _copy_units(units: Iterable[Unit], target: Store, sources: Sequence[Store]) -> Reused:
    """Copy units, fits first, each from the first store that has it undamaged."""
    copier, finished = UnitCopier(target), target.finished()
    sources_with_names = [(store, store.finished()) for store in sources]
    taken: list[Unit] = []
    damaged: list[Path] = []
    other_weights: list[Unit] = []
    missing = {unit.folder: unit for unit in units if unit.folder not in finished}
    for unit in sorted(missing.values(), key=lambda unit: unit.kind != "fit"):
        outcome = None
        for store in (store for store, names in sources_with_names if unit.folder in names):
            outcome = copier.copy(store, unit)
            if outcome == "taken":
                taken.append(unit)
                break
            if outcome == "damaged":
                damaged.append(store.path(unit))
        if outcome == "other weights":
            other_weights.append(unit)
    return Reused(tuple(taken), tuple(damaged), tuple(other_weights))


@dataclass
class Merged:
    """The outcome of merging results folders.

    Attributes
    ----------
    folder
        The merged folder.
    taken
        The number of units that were taken from each folder.
    failures
        The number of units that failed and are finished in no folder.
    differing
        Units with different results in several folders; the results of the first folder were taken.
    other_weights
        Scores that were left out, since they measured weights other than the weights that were taken.
    damaged
        Folders of units that were left out as damaged.
    notes
        Other differences between the folders, in words.
    """

    folder: Path
    taken: dict[Path, int] = field(default_factory=dict)
    failures: int = 0
    differing: list[Unit] = field(default_factory=list)
    other_weights: list[Unit] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def merge(folders: Sequence[str | Path], out: str | Path) -> Merged:
    """Merge several results folders of one suite into one, by links or copies, and write its board.

    Parameters
    ----------
    folders
        Paths of results folders. If several folders hold the same unit, it is taken from the first folder.
    out
        Path of the merged folder: new or empty, or with results of the suite, which are kept and take precedence.

    Returns
    -------
    Merged
        The numbers of units that were ``taken`` from each folder, and the units with ``differing`` results.

    Raises
    ------
    ResultsError
        If there are fewer than two folders, one of them is not a results folder, they differ in suite, baseline,
        images, scoring or training, or plugin files in one of them are links.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import gahbench
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     parts = [Path(folder) / name for name in ("identity", "bayes-shrink")]
    ...     for part in parts:
    ...         outcome = gahbench.run("quick", part, datasets=["discs"], metrics=["psnr"], only=[part.name],
    ...                                settings={"scoring.images": 2}, engine="inline", report=lambda event: None)
    ...     merged = gahbench.merge(parts, Path(folder) / "merged")
    >>> list(merged.taken.values())
    [2, 1]
    """
    paths, out = [Path(folder) for folder in folders], Path(out)
    # Check everything before anything is written.
    _merge_plans(paths, out)
    with Folder(out).lock():
        # Another run may have changed the plan of the folder while this run waited for the lock.
        plans, plan, notes = _merge_plans(paths, out)
        sources = [path for path in plans if path.resolve() != out.resolve()]
        for name in plan.plugins:
            if (source := next((path for path in sources if (path / name).exists()), None)) is not None:
                copy_plugin(name, source, out)
        write_plan(out, plan)
        merged = _merge_units([planned.unit for planned in plan.units], Store(out), list(map(Store, sources)))
        merged.notes = tuple(notes)
    write_results(out)
    return merged


def _merge_units(units: Sequence[Unit], target: Store, sources: Sequence[Store]) -> Merged:
    """Copy finished units, record the failures of the other units, and find units whose results differ."""
    merged = Merged(target.folder)
    for source in sources:
        reused = _copy_units(units, target, [source])
        merged.taken[source.folder] = len(reused.taken)
        merged.damaged += reused.damaged
        merged.other_weights += reused.other_weights
    finished = target.finished()
    merged.other_weights = [unit for unit in merged.other_weights if unit.folder not in finished]
    for unit in units:
        if unit.folder in finished:
            own_checksums = _checksums(target, unit)
            # If the weights of a fit differ, its scores are expected to differ.
            is_explained = any(fit.key in unit.needs for fit in merged.differing)
            if not is_explained and any(_checksums(source, unit) not in (own_checksums, {}) for source in sources):
                merged.differing.append(unit)
        elif record := next(filter(None, (store.failure_record(unit.folder) for store in (target, *sources))), None):
            write_json(target.failures / f"{unit.folder}.json", record)
            merged.failures += 1
    return merged


def _checksums(store: Store, unit: Unit) -> dict[str, Any]:
    """Return the checksums of the result files of a unit; empty if the unit is not finished."""
    files = (store.done_record(unit) or {}).get("files", {})
    return {name: files[name]["sha256"] for name in (WEIGHTS, SCORES, ARRAYS) if name in files}


def _merge_plans(folders: Sequence[Path], out: Path) -> tuple[dict[Path, RecordedPlan], RecordedPlan, list[str]]:
    """Return the plans of the folders (the plan of ``out`` first, if any), the merged plan, and notes on it."""
    by_path = {path.resolve(): path for path in ([out, *folders] if read_plan(out) is not None else folders)}
    if len(by_path) < 2:
        raise ResultsError(f"merging into {out} needs at least two results folders, found {len(by_path)}")
    plans = {path: require_plan(path) for path in by_path.values()}
    _require_same_protocol(plans)
    for path in plans:
        for copy in (path / PLUGINS, *(path / PLUGINS).rglob("*")):
            if copy.is_symlink():
                raise ResultsError(f"{copy}: is a link; accepted: plugin files copied by a run")
    all_plans = list(plans.values())
    first = all_plans[0]
    threads = next((plan.threads for plan in all_plans if plan.threads is not None), None)
    notes = [
        f"{path}: planned with {plan.threads} threads of each worker; the merged plan records {threads}, on which "
        "rounding depends"
        for path, plan in plans.items()
        if plan.threads not in (None, threads)
    ]
    plugins: dict[str, str] = {}
    for path, plan in plans.items():
        for file in plan.plugins:
            # Names are plugins/DIGEST/FILE.
            name = file.split("/", 2)[-1]
            if plugins.setdefault(name, file) != file:
                notes.append(f"{path}: another version of the plugin file {name}; the first version is used")
    texts = {(plan.suite_text, plan.changes) for plan in all_plans}
    board = _merge_boards([plan.board for plan in all_plans])
    plan = replace(
        first,
        units=tuple(_merge_planned_units(all_plans, board)),
        board=board,
        threads=threads,
        plugins=tuple(plugins.values()),
        code={name: digest for plan in reversed(all_plans) for name, digest in plan.code.items()},
        # If the folders have different suite files, none of them describes the merged folder.
        suite_text=first.suite_text if len(texts) == 1 else "",
        changes=first.changes if len(texts) == 1 else (),
    )
    return plans, plan, notes


def _require_same_protocol(plans: Mapping[Path, RecordedPlan]) -> None:
    """Raise an error if the plans differ in anything that would make their rows incomparable."""
    known: dict[str, tuple[Path, Any]] = {}
    for path, plan in plans.items():
        for part, value in _protocol(plan):
            first_path, first_value = known.setdefault(part, (path, value))
            changed = (
                []
                if first_path == path
                else [describe_difference(value, first_value, field) for field in differences(value, first_value)]
            )
            if changed:
                raise ResultsError(
                    f"{path} and {first_path}: {part} differs: {listing(changed)}; accepted: folders of one suite, "
                    "with the same images, scoring and training"
                )


def _protocol(plan: RecordedPlan) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of all parts of the protocol that must be equal in all folders."""
    yield "the suite", plan.suite
    yield "the version of the suite", str(plan.version or "none")
    yield "the baseline", plan.board["baseline"]
    for row in plan.board["datasets"]:
        yield f"the dataset '{row['dataset']}'", {name: row[name] for name in row if name not in ("notes", "spec")}
    for unit in plan.shown:
        document = unit.document or {}
        if unit.kind == "score":
            settings = {name: value for name, value in document.items() if name not in ("entrant", "partner")}
            settings.pop("learned_from", None)
            yield f"the metric '{unit.metric}' on {unit.split} images of {unit.dataset}", settings
        elif unit.entrant not in plan.board["trainings"]:
            yield f"the training{'' if unit.split is None else ' on halves'}", _training_fields(unit)
        yield f"'{unit.label}'", document


def _training_fields(unit: Unit) -> dict[str, Any]:
    """Return the fields of the training, except the number of images in a sweep and the split of halves."""
    left_out = {"train_images"} if unit.entrant != base_label(unit.entrant) else set()
    left_out |= set() if unit.split is None else {"split", "same_initialisation"}
    training = (unit.document or {}).get("training", {})
    return {name: value for name, value in training.items() if name not in left_out}


def _merge_boards(boards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the facts of several boards; if they differ, the first board takes precedence."""
    tables = {"datasets": "dataset", "metrics": "metric", "ratios": "metric"}
    return {
        "baseline": boards[0]["baseline"],
        "entrants": merge_orders(board["entrants"] for board in boards),
        **{name: merge_rows((board[name] for board in boards), column) for name, column in tables.items()},
        "citations": drop_duplicates(row for board in boards for row in board["citations"]),
        "refused": [list(row) for row in dict.fromkeys(tuple(row) for board in boards for row in board["refused"])],
        **{
            name: {label: value for board in reversed(boards) for label, value in board[name].items()}
            for name in ("trainings", "needs")
        },
    }


def _merge_planned_units(plans: Sequence[RecordedPlan], board: Mapping[str, Any]) -> list[RecordedUnit]:
    """Merge the units of plans, in the order of a plan: fits first, then by dataset, row, seed, split and metric."""
    merged: dict[str, RecordedUnit] = {}
    for recorded in (recorded for plan in plans for recorded in plan.units):
        earlier = merged.setdefault(recorded.unit.folder, recorded)
        # The work of a unit is 0 in a plan made after its fit had finished.
        unit = replace(earlier.unit, work=max(earlier.unit.work, recorded.unit.work))
        is_added, is_shown = earlier.is_added and recorded.is_added, earlier.is_shown or recorded.is_shown
        merged[recorded.unit.folder] = RecordedUnit(unit, is_added, is_shown)
    board_order = {"dataset": [row["dataset"] for row in board["datasets"]], "entrant": board["entrants"]}

    def index_names(name: str) -> dict[str, int]:
        names = merge_orders(
            [
                board_order.get(name, []),
                *([str(getattr(recorded.unit, name)) for recorded in plan.units] for plan in plans),
            ]
        )
        return {value: index for index, value in enumerate(names)}

    order = {name: index_names(name) for name in ("dataset", "entrant", "split", "metric")}

    def sort_key(recorded: RecordedUnit) -> tuple[int, ...]:
        position = {name: index_names[str(getattr(recorded.unit, name))] for name, index_names in order.items()}
        seed = -1 if recorded.unit.seed is None else recorded.unit.seed
        return (
            recorded.unit.kind != "fit",
            position["dataset"],
            position["entrant"],
            seed,
            position["split"],
            position["metric"],
        )

    return sorted(merged.values(), key=sort_key)
