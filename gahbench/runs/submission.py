"""Submissions: rows of a frozen suite, in an archive that others can verify, and the boards that include them.

:func:`submit` writes an archive with the rows that a run added to a frozen suite, their units and their plugin files.
:func:`accept` publishes an archive in a folder of submissions; its board is computed again from the units. Neither
trusts what an archive says about itself: whether a row is *verified* is recorded next to the submissions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import delete_entry, read_regular, write_atomically
from gahbench._util.readable import level_name, pluralize
from gahbench.board.results import Results, load_results
from gahbench.contracts.row_labels import base_label
from gahbench.contracts.unit import Unit
from gahbench.planning.plan import Plan, make_plan
from gahbench.planning.replan import differences, is_code
from gahbench.planning.suite import load_suite
from gahbench.planning.suite_changes import ENTRANT, SET, SuiteChanges
from gahbench.planning.suite_files import suite_files
from gahbench.planning.suite_version import SuiteVersion, suite_version
from gahbench.registry.configured import Configured, iterate_nested
from gahbench.registry.registry import Registry, open_registry
from gahbench.report.export import export_board
from gahbench.report.page.provenance import MAX_ENVIRONMENT
from gahbench.runs.collect import ENVIRONMENT, results_so_far, write_results
from gahbench.runs.comparison import describe_difference
from gahbench.runs.removal import plan_without
from gahbench.runs.reuse import UnitCopier
from gahbench.runs.secret_noise import with_secret_noise
from gahbench.runs.submitted_rows import record_status, require_name
from gahbench.runs.verification import Verification, verify
from gahbench.store.archive import pack, unpacked
from gahbench.store.code_files import PLUGINS, copy_plugin
from gahbench.store.plan_file import PLAN, RecordedPlan, require_plan, write_plan
from gahbench.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: The page that summarises a submission.
SUMMARY = "README.md"
_NOT_PUBLISHED = ("figures", "pictures", "leases", "logs", ".lock")
#: The columns of the summary.
_COLUMNS = ("kind", "psnr", "gain_over_baseline", "slope", "parameters", "training_images")


def frozen_suites() -> dict[str, SuiteVersion]:
    """Return the versions of the built-in suites that are frozen, by name."""
    versions = {name: suite_version(file.read_text(encoding="utf-8")) for name, file in suite_files().items()}
    return {name: version for name, version in versions.items() if version is not None}


@dataclass(frozen=True)
class Submission:
    """A submission: labels of its rows, its verification, and its archive, which is ``None`` if not all repeats."""

    suite: str
    version: SuiteVersion
    rows: tuple[str, ...]
    verification: Verification
    archive: Path | None = None
    size: int = 0


def submit(
    folder: Path,
    out: Path,
    *,
    secret: Path | None = None,
    units: int = 10,
    fits: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
) -> Submission:
    """Verify the rows that a run added to a frozen suite, and write them to an archive.

    ``secret`` is the folder of a run of the same rows under secret noise, under which they must gain as much. The other
    parameters are those of :func:`gahbench.runs.verification.verify`. Plugins of the folder are executed.

    Raises
    ------
    ResultsError
        If the suite is not frozen or was changed, units are missing or were computed with other code or settings, the
        run added no row, or a row is flagged.
    """
    plan = require_plan(folder)
    version = require_frozen(folder, plan)
    rows = _require_units(folder, plan)
    with tempfile.TemporaryDirectory(prefix="gahbench-submission-") as scratch:
        part = Path(scratch) / folder.resolve().name
        _copy_rows(folder, part, plan, rows)
        results = _publish(part)
        _require_unflagged(folder, results)
        if secret is not None:
            _require_secret_run(folder, secret, rows)
            secret_results = _results_of(secret)
            _require_unflagged(secret, secret_results)
            require_equal_gains(results, secret_results, rows)
        verification = verify(part, units=units, fits=fits, seed=seed, workers=workers, device=device)
        submission = Submission(plan.suite, version, rows, verification)
        if not verification.repeats:
            return submission
        write_atomically(part / SUMMARY, _summary(submission, results, secret is not None).encode())
        return replace(submission, archive=out, size=pack(part, out))


def require_frozen(folder: Path, plan: RecordedPlan) -> SuiteVersion:
    """Return the version of a plan's suite; raise an error unless it is the frozen suite of this installation."""
    frozen = frozen_suites()
    expected = frozen.get(plan.suite)
    if expected is None:
        accepted = listing(f"{name} {version}" for name, version in frozen.items())
        raise ResultsError(f"{folder}: the suite '{plan.suite}' is not frozen; accepted: {accepted}")
    if settings := [option for option in plan.changes if option.startswith(f"{SET} ")]:
        raise ResultsError(
            f"{folder}: was run with {listing(settings)}; accepted: the frozen suite without --set and --seed"
        )
    if plan.version != expected:
        stated = "no version" if plan.version is None else str(plan.version)
        raise ResultsError(f"{folder}: follows {plan.suite} with {stated}; accepted: {expected}")
    return expected


def _require_units(folder: Path, plan: RecordedPlan) -> tuple[str, ...]:
    """Return the labels of added rows; raise an error unless all their units are finished and of the frozen suite."""
    added = tuple(option.removeprefix(f"{ENTRANT} ") for option in plan.changes if option.startswith(f"{ENTRANT} "))
    run = f"gahbench run {plan.suite} {ENTRANT} ..."
    if not added:
        raise ResultsError(f"{folder}: has only rows of the suite; add your entrant: '{run}'")
    registry = _open_plugins(folder, plan)
    expected, store = _plan_again(plan, registry, added, Store(folder)), Store(folder)
    recorded = {(unit.kind, *_row_identity(unit)): unit for unit in plan.shown}
    finished = store.undamaged(plan.shown)
    for unit in sorted(expected.units, key=lambda unit: unit.kind != "fit"):
        own = recorded.get((unit.kind, *_row_identity(unit)))
        if own is None:
            raise ResultsError(f"{folder}: {unit.label} is missing; run the whole suite: '{run}'")
        if own.key != unit.key:
            paths = list(differences(unit.document, own.document))
            parts = listing(describe_difference(unit.document, own.document, path) for path in paths)
            if all(map(is_code, paths)):
                raise ResultsError(f"{folder}: {own.label} was computed with other code ({parts}); run it again")
            raise ResultsError(
                f"{folder}: {own.label} differs from the frozen suite, whose values are listed first: {parts}"
            )
        if unit.folder not in finished:
            reason = store.failure(unit) or "run the suite to the end"
            raise ResultsError(f"{folder}: {unit.label} is not finished: {reason}")
    return tuple(expected.suite.added)


def _open_plugins(folder: Path, plan: RecordedPlan) -> Registry:
    registry = open_registry([folder / name for name in plan.plugins])
    registry.require_files()
    return registry


def _row_identity(unit: Unit) -> tuple[object, ...]:
    return unit.dataset, unit.entrant, unit.seed, unit.split, unit.metric


def _plan_again(plan: RecordedPlan, registry: Registry, added: Sequence[str], store: Store) -> Plan:
    """Plan the baseline of the frozen suite and added entrants, under the noise of the recorded plan."""
    baseline = plan.board["baseline"]
    suite = load_suite(plan.suite, registry, SuiteChanges(tuple(added), only=() if baseline is None else (baseline,)))
    for entrant in suite.entrants:
        if entrant.label in suite.added and _names_files(entrant):
            raise ResultsError(
                f"{store.folder}: parameters of {entrant.label} name files, code or a download, which the archive does "
                "not hold; accepted: a plugin file without such parameters"
            )
    finished = store.finished()
    return make_plan(with_secret_noise(suite, plan.secret_noise), registry, lambda key: f"fit-{key}" in finished)


def _names_files(configured: Configured) -> bool:
    return any(
        parameter.needs_trust(item.parameters[parameter.name])
        for item in iterate_nested(configured)
        for parameter in item.plugin.parameters
    )


def _copy_rows(folder: Path, target: Path, plan: RecordedPlan, rows: Iterable[str]) -> None:
    """Copy the units and plugin files of some rows and of the baseline to a new results folder."""
    kept = {*rows, plan.board["baseline"]}
    others = {unit.entrant for unit in plan.shown if base_label(unit.entrant) not in kept}
    part = plan_without(plan, others, folder)
    part = replace(part, units=tuple(planned for planned in part.units if planned.is_shown))
    source, copier = Store(folder), UnitCopier(Store(target))
    for unit in sorted(part.shown, key=lambda unit: unit.kind != "fit"):
        if copier.copy(source, unit) != "taken":
            raise ResultsError(f"{folder}: {unit.label} is damaged, or measured other weights; run the suite again")
    for name in plan.plugins:
        copy_plugin(name, folder, target)
    write_plan(target, part)


def _publish(folder: Path) -> Results:
    """Compute the board of a folder from its units, without figures, which reports draw again."""
    write_results(folder)
    for name in _NOT_PUBLISHED:
        delete_entry(folder / name)
    return load_results(folder)


def _results_of(folder: Path) -> Results:
    unfinished = results_so_far(folder)
    return load_results(folder) if unfinished is None else unfinished[0]


def _require_unflagged(folder: Path, results: Results) -> None:
    """Raise an error if a row is flagged or better than the optimum, or a unit has failed."""
    for row in results.failures.itertuples():
        raise ResultsError(f"{folder}: {row.entrant} on {row.dataset} is not finished: {row.error}")
    for row in results.flags.itertuples():
        raise ResultsError(f"{folder}: {row.entrant} on {row.dataset} is flagged: {row.flag}")
    for dataset, check in results.optimum_checks.items():
        for finding in check.violations:
            raise ResultsError(f"{folder}: {finding.entrant} on {dataset} is better than the optimum")


#: The probability that a row whose gains do not depend on the noise is refused.
SIGNIFICANCE = 1e-4


def _require_secret_run(folder: Path, secret: Path, rows: Sequence[str]) -> None:
    """Raise an error unless a folder scored the same rows and networks under secret noise."""
    plan = require_plan(secret)
    if not plan.secret_noise:
        raise ResultsError(f"{secret}: was scored under known noise; accepted: a run with --secret-noise")
    require_frozen(secret, plan)
    if missing := set(rows).difference(_require_units(secret, plan)):
        raise ResultsError(f"{secret}: lacks {listing(sorted(missing))}; expected the rows of {folder}")
    first, second = Store(folder), Store(secret)
    for unit in require_plan(folder).shown:
        is_own_fit = unit.kind == "fit" and base_label(unit.entrant) in rows
        if is_own_fit and first.weights_checksum(unit.key) != second.weights_checksum(unit.key):
            raise ResultsError(f"{secret}: {unit.label} has other weights than in {folder}; use --reuse {folder}")


def require_equal_gains(known: Results, secret: Results, rows: Sequence[str]) -> None:
    """Raise an error if rows gain more over the baseline under known noise than under secret noise.

    The gains of an image under the two draws of noise differ by chance only, unless a denoiser knows the noise. Their
    mean difference over images is tested by Student's one-sided test, at each noise level and over all, with
    Bonferroni's correction.
    """
    import numpy as np
    from scipy import stats

    cases: dict[str, NDArray[np.float64]] = {}
    for label in rows:
        gains = [_gains(results, label) for results in (known, secret)]
        both = gains[0].to_frame("known").join(gains[1].rename("secret"), how="inner")
        # Shape (datasets and noise levels, images).
        change = (both["known"] - both["secret"]).unstack("image")
        for dataset in change.index.unique("dataset"):
            levels = change.loc[dataset]
            cases[f"{label} on {dataset}"] = levels.to_numpy(dtype=float).mean(axis=0)
            names = (f"{label} on {dataset} at σ = {level_name(sigma)}" for sigma in levels.index)
            cases |= dict(zip(names, levels.to_numpy(dtype=float), strict=True))
    for case, values in cases.items():
        count = len(values)
        error = values.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
        bound = error * stats.t.ppf(1 - SIGNIFICANCE / len(cases), max(count - 1, 1))
        if values.mean() > bound:
            raise ResultsError(
                f"{case} gains {values.mean():.2f} dB more under the known noise than under secret noise (accepted by "
                f"chance: {bound:.2f} dB): the denoiser knows the noise"
            )


def _gains(results: Results, label: str) -> pd.Series[Any]:
    """Return the PSNR of a row minus that of the baseline, by dataset, noise level and image, averaged over seeds."""
    scores = results.scores.query("metric == 'psnr' and split == 'test' and sigma == sigma and image == image")
    keys = ["dataset", "sigma", "image"]
    own, baseline = (
        scores[scores["entrant"].map(base_label) == name].groupby(keys)["value"].mean()
        for name in (label, results.baseline)
    )
    return own - baseline if len(baseline) else own


def _table(results: Results) -> str:
    wide = results.leaderboard(full=True)
    return export_board(results, "markdown", [name for name in _COLUMNS if wide[name].notna().any()])


def _summary(submission: Submission, results: Results, is_secret: bool) -> str:
    """Return the summary page of a submission."""
    verification = submission.verification
    repeated = listing(
        [
            pluralize(len(verification.rescored), "score"),
            *([pluralize(count, "fit")] if (count := len(verification.refitted)) else []),
        ]
    )
    noise = " Under secret noise, the rows gain as much." if is_secret else ""
    return (
        f"# {listing(submission.rows)} on {submission.suite}\n\n"
        f"The suite is frozen: {submission.version}. The submitter computed {repeated} again, chosen at random; all "
        f"agree.{noise}\n\n{_table(results)}\n"
        "To repeat this, read the plugin files in `plugins/`, and run `gahbench verify ARCHIVE`.\n"
    )


def accept(archive: Path, into: Path, method: str = "") -> Path:
    """Publish the rows of an archive in a folder of submissions, without running code of the archive.

    The board is computed from the units of the archive. ``method`` says how the rows were verified; without a method,
    they are marked as submitted only. Returns the folder of the submission, whose name is that of the archive.
    """
    name = require_name(archive.stem)
    with unpacked(archive) as source, tempfile.TemporaryDirectory(prefix="gahbench-accept-") as scratch:
        plan = require_plan(source)
        version = require_frozen(source, plan)
        part = Path(scratch) / name
        part.mkdir()
        for child in (PLAN, PLUGINS, "units"):
            if (source / child).exists():
                shutil.move(source / child, part / child)
        results = _publish(part)
        _require_unflagged(archive, results)
        if (source / ENVIRONMENT).is_file():
            # The board was computed here, but the units were not.
            write_atomically(part / ENVIRONMENT, read_regular(source / ENVIRONMENT, MAX_ENVIRONMENT))
        rows = tuple(label for label in results.entrants if label != results.baseline)
        page = f"# {listing(rows)} on {plan.suite}\n\nThe suite is frozen: {version}.\n\n"
        write_atomically(part / SUMMARY, (page + _table(results)).encode())
        target = into / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(part, target, ignore=shutil.ignore_patterns("units"))
    record_status(target, method)
    return target
