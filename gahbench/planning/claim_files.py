"""YAML files of claims, each about a single paper."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from gahbench._util.core_yaml import Document, Location
from gahbench.contracts.citation import Citation
from gahbench.contracts.claims import FILE_NAMES, Claim, Compared, Condition, Levels, Measure, Region

#: Types of the mappings in a file, by the name of the field.
_TYPES: dict[str | int, Any] = {
    "paper": Citation, "claims": Claim, "measure": Measure, "region": Region, "requires": Condition,
    "minus": Compared, "over": Compared, "sigma": Levels, "N": Levels,
}  # fmt: skip


class _Paper(BaseModel, extra="forbid"):
    """The fields of a file of claims."""

    paper: Citation
    claims: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    suites: dict[str, dict[str, Any]] = {}


_CLAIM = TypeAdapter(Claim)


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
        parsed = _Paper.model_validate(document.content)
        for name, values in parsed.claims.items():
            location = ("claims", name)
            named = {key: values[key] for key in ("suite", "full_scale") if key in values}
            suites = {key: parsed.suites.get(str(suite), suite) for key, suite in named.items()}
            claims.append(_CLAIM.validate_python({**values, **suites, "id": name, "paper": parsed.paper}))
    except ValidationError as error:
        raise document.validation_error(error, accepted_fields, location) from error
    return tuple(claims)


def accepted_fields(location: Location) -> list[str]:
    """Return the accepted fields at a location in a file; files set id and paper of a claim outside its mapping."""
    kind = next((_TYPES[part] for part in reversed(location) if part in _TYPES), None)
    names = list(_Paper.model_fields) if kind is None else [item.name for item in fields(kind)]
    return [FILE_NAMES.get(name, name) for name in names if kind is not Claim or name not in ("id", "paper")]
