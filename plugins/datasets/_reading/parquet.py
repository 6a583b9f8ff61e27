"""Image files in a Parquet table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from gahbench import DataError
from gahbench._util.readable import brief

from .encoded import MAX_FILE_BYTES, Encoded, stamp_of

#: Number of rows that are read at a time.
ROWS = 16
#: Maximum number of rows of a table.
MAX_ROWS = 1 << 22


class Parquet(Encoded):
    """The images of a Parquet table as the Hugging Face hub keeps them: a column of bytes, or of ``{bytes, path}``."""

    def __init__(self, path: Path) -> None:
        try:
            self._table = pyarrow.parquet.ParquetFile(path)
            schema, rows = self._table.schema_arrow, self._table.metadata.num_rows
        except Exception as error:
            # Damaged tables may raise any exception.
            raise DataError(f"{path}: cannot be read as a Parquet table: {brief(error)}") from error
        columns = sorted((field.name for field in schema if _has_images(field.type)), key=lambda name: name != "image")
        if not columns:
            raise DataError(
                f"{path}: no column of images; its columns: {', '.join(map(brief, schema.names)) or 'none'}; "
                "accepted: a column of bytes, or of structures with a field 'bytes'"
            )
        if rows > MAX_ROWS:
            raise DataError(f"{path}: it declares {rows:,} rows; accepted: up to {MAX_ROWS:,}")
        self._column = columns[0]
        self._people = next((name for name in ("identity", "celeb_id") if name in schema.names), None)
        self._next = 0
        self._rows: Iterator[bytes | None] = self._read()
        super().__init__(path, [f"row {row}" for row in range(rows)])

    def content(self, index: int) -> bytes:
        content = self._row(index)
        if content is None:
            raise DataError(f"{self.path}: row {index} has no bytes; accepted: images within the table")
        if len(content) > MAX_FILE_BYTES:
            raise DataError(f"{self.path}: row {index} has {len(content):,} bytes; accepted: up to {MAX_FILE_BYTES:,}")
        return content

    def stamp(self) -> list[Any]:
        return stamp_of(self.path)

    def identity(self) -> NDArray[np.int64] | None:
        """Return the number of the person in each image, if the table has such a column."""
        if self._people is None:
            return None
        try:
            column = self._table.read(columns=[self._people]).column(0)
        except Exception as error:
            raise DataError(f"{self.path}: {self._people} cannot be read: {brief(error)}") from error
        if not pyarrow.types.is_integer(column.type) or column.null_count:
            return None
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def _row(self, row: int) -> bytes | None:
        if row < self._next:
            self._next, self._rows = 0, self._read()
        try:
            while self._next <= row:
                content = next(self._rows)
                self._next += 1
        except Exception as error:
            raise DataError(f"{self.path}: row {row} cannot be read: {brief(error)}") from error
        return content

    def _read(self) -> Iterator[bytes | None]:
        """Yield the rows, reading a few at a time, since groups of rows may exceed the memory."""
        for batch in self._table.iter_batches(batch_size=ROWS, columns=[self._column], use_threads=False):
            column = batch.column(0)
            content = column.field("bytes") if pyarrow.types.is_struct(column.type) else column
            for value in content:
                yield value.as_py()


def _has_images(kind: pyarrow.DataType) -> bool:
    if pyarrow.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _has_images(kind.field(index).type)
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))
