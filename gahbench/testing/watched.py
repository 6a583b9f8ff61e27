"""Recording of requests for the images that denoisers are scored on."""

from __future__ import annotations

import functools
from types import TracebackType
from typing import Any, Self

from gahbench.contracts.datasets import Dataset

#: Methods about particular images of a split, and the place of the split among the arguments.
_OF_IMAGES = {"images": 0, "lower_bound": 0, "genie": 2, "true_basis": 0, "level_sets": 0}


class Watched:
    """Watches a dataset while it is a context manager: ``asked`` holds the calls about its test images."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.asked: set[str] = set()
        self._inside = False

    def __enter__(self) -> Self:
        for name in ("posterior", *_OF_IMAGES):
            # On the instance, which hides the method of its class.
            setattr(self.dataset, name, self._recorded(name, getattr(self.dataset, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in ("posterior", *_OF_IMAGES):
            delattr(self.dataset, name)

    def _recorded(self, name: str, method: Any) -> Any:
        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            if not self._inside and name in _OF_IMAGES:
                place = _OF_IMAGES[name]
                split = keywords.get("split", arguments[place] if len(arguments) > place else None)
                if split == "test":
                    self.asked.add(f"{name} of test images")
            outermost, self._inside = not self._inside, True
            try:
                return method(*arguments, **keywords)
            finally:
                self._inside = not outermost

        return call
