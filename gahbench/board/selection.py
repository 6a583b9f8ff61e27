"""Choice of labels of entrants, datasets and metrics by patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gahbench._util.errors import GahbenchError, ParameterError, listing, suggestion
from gahbench.contracts.row_labels import base_label, matches


def choose_labels(
    patterns: Sequence[str] | None, known_labels: Iterable[str], kind: str, error: type[GahbenchError] = ParameterError
) -> list[str]:
    """Return the labels that match a pattern, in order; all labels if there are no patterns."""
    labels = list(known_labels)
    if unknown := [pattern for pattern in patterns or () if not any(is_chosen(label, [pattern]) for label in labels)]:
        is_pattern = any(sign in unknown[0] for sign in "*?")
        candidates = [] if is_pattern else [*labels, *(label.partition("[")[0] for label in labels)]
        hint = suggestion(unknown[0], candidates)
        raise error(f"{kind}s {listing(unknown)} are not in the results{hint or ';'} accepted: {listing(labels)}")
    return [label for label in labels if is_chosen(label, patterns)]


def is_chosen(label: str, patterns: Sequence[str] | None) -> bool:
    """Return whether a label, with or without its number of images, matches a pattern; true without patterns."""
    return not patterns or any(matches(name, pattern) for name in (label, base_label(label)) for pattern in patterns)
