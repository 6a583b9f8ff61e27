"""The image files within a Parquet table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from gahbench import DataError, listing

from .encoded import Encoded, stamp_of


class Parquet(Encoded):
    """The images of a Parquet table as the Hugging Face hub keeps them: a column of bytes, or of ``{bytes, path}``.

    The column is the one named ``image``, or else the first of such a type. An integer column ``identity`` or
    ``celeb_id`` has the person on each image.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._table = pyarrow.parquet.ParquetFile(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as a Parquet table: {error}") from error
        schema = self._table.schema_arrow
        found = sorted((field.name for field in schema if _holds_images(field.type)), key=lambda name: name != "image")
        if not found:
            raise DataError(
                f"{path}: no column of images; it holds {listing(schema.names)}; "
                "accepted: a column of bytes, or of structures with a field 'bytes'"
            )
        self._column = found[0]
        self._people = next((name for name in ("identity", "celeb_id") if name in schema.names), None)
        groups = [self._table.metadata.row_group(place).num_rows for place in range(self._table.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self._group: tuple[int, list[bytes | None]] = (-1, [])
        super().__init__(path, [f"row {row}" for row in range(int(self._starts[-1]))])

    def contents(self, first: int, last: int) -> list[bytes]:
        """Return the bytes of rows ``first`` to ``last``."""
        found: list[bytes] = []
        for row in range(first, last):
            content = self._row(row)
            if content is None:
                raise DataError(f"{self.path}: row {row} holds no bytes; accepted: images within the table")
            found.append(content)
        return found

    def stamp(self) -> list[Any]:
        """Return size and time of change of the table."""
        return stamp_of(self.path)

    def identity(self) -> NDArray[np.int64] | None:
        """Return the person on each image, if there is such a column."""
        if self._people is None:
            return None
        column = self._table.read(columns=[self._people]).column(0)
        if not pyarrow.types.is_integer(column.type) or column.null_count:
            return None
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def _row(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._group[0] != group:
            try:
                column = self._table.read_row_group(group, columns=[self._column]).column(0).combine_chunks()
            except (OSError, pyarrow.ArrowException) as error:
                raise DataError(f"{self.path}: row {row} cannot be read: {error}") from error
            content = column.field("bytes") if pyarrow.types.is_struct(column.type) else column
            self._group = (group, content.to_pylist())
        return self._group[1][row - int(self._starts[group])]


def _holds_images(kind: pyarrow.DataType) -> bool:
    if pyarrow.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_images(kind.field(place).type)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))
