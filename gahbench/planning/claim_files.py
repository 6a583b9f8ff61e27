"""YAML files of claims, each about a single paper."""

from __future__ import annotations

import functools
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from gahbench._util.core_yaml import Document, Location
from gahbench.contracts.citation import Citation
from gahbench.contracts.claims import FILE_NAMES, Claim, Compared, Condition, Levels, Measure, Region


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PaperFields:
    """The fields of a file of claims."""

    paper: Citation
    claims: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    suites: dict[str, dict[str, Any]] = field(default_factory=dict)


#: Types of the mappings in a file, by the name of the field.
_TYPES: dict[str | int, type[Any]] = {
    "paper": Citation,
    "measure": Measure,
    "region": Region,
    "requires": Condition,
    "minus": Compared,
    "over": Compared,
    "sigma": Levels,
    "N": Levels,
    "claims": Claim,
}


def read_claims(file: str) -> tuple[Claim, ...]:
    """Read the claims of a paper from a YAML file.

    Parameters
    ----------
    file
        Path of the file.

    Returns
    -------
    tuple of Claim
        Claims in the order of the file.

    Raises
    ------
    SuiteError
        If the file is invalid. The message names the file, the line, the field, and what is accepted.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> [claim.id for claim in gahbench.read_claims("plugins/claims/miyasawa-1961.yaml")][:1]
    ['optimum-symmetric']
    """
    document = Document(Path(file))
    claims: list[Claim] = []
    location: Location = ()
    try:
        parsed = _adapter(PaperFields).validate_python(document.content)
        for name, values in parsed.claims.items():
            location = ("claims", name)
            suites = {
                key: parsed.suites.get(str(values[key]), values[key])
                for key in ("suite", "full_scale")
                if key in values
            }
            claims.append(_adapter(Claim).validate_python({**values, **suites, "id": name, "paper": parsed.paper}))
    except pydantic.ValidationError as error:
        raise document.validation_error(error, accepted_fields, location) from error
    return tuple(claims)


@functools.cache
def _adapter(kind: type[Any]) -> pydantic.TypeAdapter[Any]:
    """Return a validator; cached, since building it takes longer than a file of claims."""
    return pydantic.TypeAdapter(kind)


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location in a file; files set id and paper of a claim outside its mapping."""
    kind = next((_TYPES[part] for part in reversed(location) if part in _TYPES), PaperFields)
    names = [item.name for item in fields(kind) if kind is not Claim or item.name not in ("id", "paper")]
    return [FILE_NAMES.get(name, name) for name in names]
