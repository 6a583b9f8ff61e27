"""Entrants outside a suite, where nothing is trained."""

from __future__ import annotations

from pathlib import Path

from gahbench._util.errors import ParameterError
from gahbench.planning.suite_entries import configure_entrant
from gahbench.registry.configured import Configured
from gahbench.registry.registry import Registry
from gahbench.registry.spec import Spec, parse_spec


def untrained_here(registry: Registry, text: str, checkpoint: str | Path | None, verb: str) -> Configured:
    """Resolve a denoiser that needs no training here: a reference, or an architecture with weights."""
    spec = parse_spec(text)
    if checkpoint is not None:
        if spec.name not in registry.names("architecture") and spec.name in registry.names("reference"):
            raise ParameterError(
                f"checkpoint={checkpoint}: '{spec.name}' is a reference; accepted with an architecture"
            )
        if "checkpoint" in spec.keywords:
            raise ParameterError(f"'{text}' has a checkpoint already; accepted: one")
        spec = Spec(spec.name, spec.positional, spec.keywords | {"checkpoint": str(checkpoint)})
    configured = configure_entrant(registry, spec)
    if configured.kind == "architecture":
        raise ParameterError(
            f"architecture '{configured.label}' has no weights: give a checkpoint, as in "
            f"{spec.name}[checkpoint=FILE] or --checkpoint FILE, or {verb} untrained[{configured.label}]"
        )
    return configured
