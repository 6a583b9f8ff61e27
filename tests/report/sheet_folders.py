"""Published folders with one sheet of pictures, for tests of reading."""

import hashlib
import json

from gahbench._util.records import seal


def write_sheet(folder, key, sheet, record=None, content=None):
    """Write a sheet and an index that describes it under a key, or another content or description in their place."""
    content = sheet.content if content is None else content
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / sheet.name).write_bytes(content)
    index = {
        "format": "gahbench-results",
        "version": 1,
        "files": {sheet.name: hashlib.sha256(content).hexdigest()},
        key: [sheet.record if record is None else record],
    }
    (folder / "results.json").write_bytes(seal((json.dumps(index, indent=1) + "\n").encode()))
