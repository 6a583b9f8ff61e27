"""BibTeX of the works that plugins follow: of some by name, or of all on a board."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import gahbench
from gahbench._util.errors import GahbenchError, PluginError, nearest
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.results import Results, load_results
from gahbench.contracts.citation import Citation, bibliography
from gahbench.contracts.row_labels import base_label
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import Configured, citations, with_nested
from gahbench.registry.plugin import KINDS
from gahbench.registry.registry import Registry, open_registry
from gahbench.registry.spec import parse_spec


def cite(*targets: str | Path, plugins: Sequence[str | Path] = ()) -> str:
    """Return BibTeX of the works that plugins follow.

    Parameters
    ----------
    *targets
        Results folders, for all plugins on their boards; and plugins with or without parameters,
        ``"oracle-threshold[sym4]"``, for these and those that their parameters name.
    plugins
        Plugin files, or folders of them.

    Returns
    -------
    str
        Each work once, sorted by key; before them gahbench itself, where there is a results folder. Empty where no
        plugin has a ``citation``.

    Raises
    ------
    PluginError, ParameterError
        If there is no such folder and no such plugin, or it does not accept a parameter.
    ResultsError
        If a folder holds no results.

    Examples
    --------
    >>> print(cite("psnr", "bf-cnn").splitlines()[0])
    @inproceedings{mohan2020robust,
    """
    registry = open_registry(plugins)
    works: list[Citation] = []
    head: list[str] = []
    for target in targets:
        if _is_folder(target):
            results = load_results(target)
            head = head or [_own()]
            works += results.works
            if not results.works:
                found, unknown = _of_labels(results, registry)
                works += found
                head += [f"% {target}: no plugin is known by the name of {label}" for label in unknown]
        else:
            works += _of_name(str(target), registry)
    entries = bibliography(works)
    return "\n\n".join([*head, *([entries] if entries else [])]).rstrip() + "\n" if head or entries else ""


def _is_folder(target: str | Path) -> bool:
    """Return whether there is such a folder; a text that is too long for a path is none."""
    with contextlib.suppress(OSError):
        return Path(target).is_dir()
    return False


def _own() -> str:
    fields = [
        "author = {{The gahbench developers}}",
        "title = {{gahbench}}",
        f"note = {{Version {gahbench.__version__}}}",
    ]
    return "\n".join(["@misc{gahbench,", *(f"  {field}," for field in fields), "}"])


def _of_name(text: str, registry: Registry) -> Iterator[Citation]:
    """Yield the works of a plugin, and of those that its parameters name."""
    spec = parse_spec(text)
    kinds = [kind for kind in KINDS if spec.name in registry.names(kind)]
    if not kinds:
        names = [name for kind in KINDS for name in registry.names(kind)]
        raise PluginError(
            f"'{text}' is neither a results folder nor a plugin{nearest(spec.name, names) or ';'} 'gahbench list' "
            f"prints all names{registry.missing}"
        )
    for kind in kinds:
        plugin = registry.get(kind, spec.name)
        if any(parameter.required for parameter in plugin.parameters) and not (spec.positional or spec.keywords):
            # Required parameters need not be given to be cited.
            yield from citations(plugin)
        elif kind in ("architecture", "reference"):
            yield from _of_plugins([configure_entrant(registry, spec)])
        else:
            yield from _of_plugins([registry.configure(kind, spec)])


def _of_plugins(entries: Iterable[Configured]) -> Iterator[Citation]:
    for entry in entries:
        for one in with_nested(entry):
            yield from citations(one.plugin)


def _of_labels(results: Results, registry: Registry) -> tuple[list[Citation], list[str]]:
    """Return the works of a board that was written before boards had them, by its labels, and labels of no plugin."""
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
                # The file need not be here.
                works += _of_name(spec.name, registry)
                continue
            one = configure_entrant(registry, spec) if kind == "entrant" else registry.configure(kind, spec)  # type: ignore[arg-type]
            works += _of_plugins([one])
        except GahbenchError:
            unknown.append(label)
    return works, unknown
