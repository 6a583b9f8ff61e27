"""BibTeX entries of the publications that plugins cite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import gahbench
from gahbench._util.errors import GahbenchError, PluginError, suggestion
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import Results, load_results
from gahbench.contracts.citation import Citation, bibliography
from gahbench.contracts.row_labels import base_label
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import KINDS, Configured, citations, iterate_nested
from gahbench.registry.registry import Registry, open_registry
from gahbench.registry.spec import parse_spec


def cite(*targets: str | Path, plugins: Sequence[str | Path] = ()) -> str:
    """Return BibTeX entries of the publications that plugins cite.

    Parameters
    ----------
    *targets : str or Path
        Results folders, to cite all plugins on their boards; or plugins, optionally with parameters, such as
        ``"oracle-threshold[sym4]"``, to cite the plugin and the plugins that its parameters name.
    plugins : sequence of str or Path, default ()
        Plugin files, or folders of plugin files.

    Returns
    -------
    str
        Entries without duplicates, sorted by key. If a target is a results folder, an entry for gahbench comes first,
        which names the versions of frozen suites.
        Empty if no plugin has a ``citation``.

    Raises
    ------
    PluginError
        If a target is neither a results folder nor a plugin.
    ParameterError
        If a plugin does not accept a parameter.
    ResultsError
        If a folder holds no results.

    Examples
    --------
    >>> print(cite("psnr", "bf-cnn").splitlines()[0])
    @inproceedings{mohan2020robust,
    """
    registry = open_registry(plugins)
    citations_found: list[Citation] = []
    preamble: list[str] = []
    # A dictionary serves as an ordered set.
    suites: dict[str, None] = {}
    has_boards = False
    for target in targets:
        if _is_folder(target):
            results = load_results(target)
            if results.version is not None:
                suites[
                    f"suite {results.suite}, version {results.version.version}, SHA-256 {results.version.digest}"
                ] = None
            has_boards = True
            citations_found += results.works
            if not results.works:
                label_citations, unknown_labels = _cite_labels(results, registry)
                citations_found += label_citations
                preamble += [f"% {target}: no plugin is named {label}" for label in unknown_labels]
        else:
            citations_found += _cite_name(str(target), registry)
    entries = bibliography(citations_found)
    if has_boards:
        preamble.insert(0, _gahbench_entry(suites))
    return "\n\n".join([*preamble, *([entries] if entries else [])]).rstrip() + "\n" if preamble or entries else ""


def _is_folder(target: str | Path) -> bool:
    """Return whether a target is an existing folder; false for strings that are too long for a path."""
    with contextlib.suppress(OSError):
        return Path(target).is_dir()
    return False


def _gahbench_entry(suites: Iterable[str]) -> str:
    fields = [
        "author = {{The gahbench developers}}",
        "title = {{gahbench}}",
        f"note = {{{'; '.join([f'Version {gahbench.__version__}', *suites])}}}",
    ]
    return "\n".join(["@misc{gahbench,", *(f"  {field}," for field in fields), "}"])


def _cite_name(text: str, registry: Registry) -> Iterator[Citation]:
    """Yield the citations of a plugin and of the plugins that its parameters name."""
    spec = parse_spec(text)
    kinds = [kind for kind in KINDS if spec.name in registry.names(kind)]
    if not kinds:
        names = [name for kind in KINDS for name in registry.names(kind)]
        raise PluginError(
            f"'{text}' is neither a results folder nor a plugin{suggestion(spec.name, names, most=3) or ';'} "
            f"'gahbench list' prints all names{registry.missing}"
        )
    for kind in kinds:
        plugin = registry.get(kind, spec.name)
        if any(parameter.required for parameter in plugin.parameters) and not (spec.positional or spec.keywords):
            # A plugin is cited even if its required parameters are not set.
            yield from citations(plugin)
        elif kind in ("architecture", "reference"):
            yield from _cite_configured([configure_entrant(registry, spec)])
        else:
            yield from _cite_configured([registry.configure(kind, spec)])


def _cite_configured(entries: Iterable[Configured]) -> Iterator[Citation]:
    for entry in entries:
        for plugin in iterate_nested(entry):
            yield from citations(plugin.plugin)


def _cite_labels(results: Results, registry: Registry) -> tuple[list[Citation], list[str]]:
    """Return the citations of the labels of a board that records no citations itself, and the unknown labels."""
    works: list[Citation] = []
    unknown: list[str] = []
    metrics = dict.fromkeys(parse_metric_name(str(name)).label for name in results.scores["metric"].unique())
    entries = [("entrant", base_label(label)) for label in results.entrants]
    entries += [("dataset", str(label)) for label in results.datasets["dataset"]]
    entries += [("metric", label) for label in metrics]
    for kind, label in dict.fromkeys(entries):
        try:
            spec = parse_spec(label)
            if "checkpoint" in spec.keywords:
                # The checkpoint file may be absent.
                works += _cite_name(spec.name, registry)
                continue
            configured = configure_entrant(registry, spec) if kind == "entrant" else registry.configure(kind, spec)  # type: ignore[arg-type]
            works += _cite_configured([configured])
        except GahbenchError:
            unknown.append(label)
    return works, unknown
