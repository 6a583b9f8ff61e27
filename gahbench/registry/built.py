"""Which spec an object was built from."""

from __future__ import annotations

import weakref

#: By ``id``: objects may be equal without being the same, or have no hash.
_SPECS: dict[int, tuple[weakref.ref[object], str]] = {}


def record_spec(built: object, spec: str) -> None:
    """Remember the spec of an object for as long as it lives; one that cannot be referenced weakly is left out."""
    place = id(built)
    try:
        reference = weakref.ref(built, lambda _: _SPECS.pop(place, None))
    except TypeError:
        return
    _SPECS[place] = (reference, spec)


def spec_of(built: object) -> str | None:
    """Return the spec that gahbench built an object from: its plugin's name, and the parameters that differ.

    Together with the object's class it determines the results, so it can be part of the key of a cache.

    Parameters
    ----------
    built
        An object from a parameter that names a plugin, or from :func:`gahbench.create`.

    Returns
    -------
    str or None
        As in ``wavelet[db4,levels=3]``; ``None`` for an object that was constructed directly, or copied.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.spec_of(gahbench.create("basis", "wavelet[db4]"))
    'wavelet[db4]'
    """
    reference, spec = _SPECS.get(id(built), (None, None))
    return spec if reference is not None and reference() is built else None
