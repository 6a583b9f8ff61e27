"""Draw faults of one line, and count how many of them the tests of two checkouts catch.

Faults of five kinds are drawn in equal numbers, with a seed, in lines of functions that both checkouts have with the
same neighbours. The tests that cover a line, by coverage's contexts, run until the first fails, those that cover the
fewest lines of its file first. A fault is missed if all pass or none covers the line, and late if none fails in time.
Which test covers which line is kept in ``.venv/contexts`` of the checkout: delete it after a change.
"""

import ast
import copy
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from checkouts import Checkout, open_checkouts

KINDS = ("operator", "constant", "sign", "off by one", "dropped line")
_PAIRS: list[Any] = [
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
]
_PAIRS += [(ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div)]
SWAPS = dict(_PAIRS) | {new: old for old, new in _PAIRS}
Site = tuple[str, int]  # file, and index of the line
Fault = tuple[str, str, list[Site]]  # kind, faulty line, and its site in each checkout


def faulty_nodes(node: Any, is_index: bool) -> Iterator[tuple[str, ast.AST]]:
    """Yield faulty versions of a node of a syntax tree, with their kinds."""
    match node:
        case ast.Compare(ops=[operator, *others]) if type(operator) in SWAPS:
            yield "operator", ast.Compare(node.left, [SWAPS[type(operator)](), *others], node.comparators)
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in SWAPS:
            changed = copy.copy(node)
            changed.op = SWAPS[type(operator)]()
            yield "operator", changed
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield "sign" if isinstance(node.op, ast.USub) else "operator", node.operand
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)) if is_index:
            yield from (("off by one", ast.Constant(value + step)) for step in (1, -1))
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", ast.Constant(1.5 * value if isinstance(value, float) and value else 2 * value + 1)
        case ast.Return(value=ast.BinOp()):
            yield "sign", ast.Return(ast.UnaryOp(ast.USub(), node.value))
        case ast.Assign() | ast.AugAssign() | ast.Raise() | ast.Expr(value=ast.Call()):
            yield "dropped line", ast.Pass()


def faults(path: Path, indices: set[int]) -> Iterator[tuple[str, int, str]]:
    """Yield the faults in the given lines of functions in a file: kind, index of the line, and faulty line."""
    lines = path.read_text("utf-8").splitlines()
    nodes = list(ast.walk(ast.parse("\n".join(lines))))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    inside = {index for node in functions for index in range(node.body[0].lineno - 1, node.end_lineno or 0)}
    parts = {id(part) for node in nodes if isinstance(node, ast.Subscript) for part in ast.walk(node.slice)}
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "range"]
    parts |= {id(part) for call in calls for part in call.args}
    # Positions in f-strings are unreliable before Python 3.12.
    texts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in (node for node in nodes if getattr(node, "end_lineno", 0) and id(node) not in texts):
        index = node.lineno - 1  # type: ignore[attr-defined]
        if index not in inside & indices or node.end_lineno != node.lineno:  # type: ignore[attr-defined]
            continue
        line = lines[index].encode()
        for kind, changed in faulty_nodes(node, id(node) in parts):
            text = ast.unparse(ast.fix_missing_locations(changed))
            if isinstance(changed, ast.expr) and not isinstance(changed, ast.Constant):
                text = f"({text})"
            start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
            yield kind, index, (line[:start] + text.encode() + line[end:]).decode()


def unique_lines(folder: Path) -> dict[tuple[str, ...], Site]:
    """Return the sites of all lines of the product that are unique, together with their neighbours."""
    sites: dict[tuple[str, ...], list[Site]] = {}
    for file in sorted(file for package in ("gahbench", "plugins") for file in (folder / package).rglob("*.py")):
        lines = ["", *map(str.strip, file.read_text("utf-8").splitlines()), ""]
        for index in range(len(lines) - 2):
            sites.setdefault(tuple(lines[index : index + 3]), []).append((str(file.relative_to(folder)), index))
    return {key: found[0] for key, found in sites.items() if len(found) == 1}


def draw(folders: list[Path], within: str, count: int, seed: int) -> list[Fault]:
    """Return faults in files whose names begin with ``within``, as many of each kind."""
    base, head = map(unique_lines, folders)
    common = {site: head[key] for key, site in base.items() if key in head}
    kinds: dict[str, list[Fault]] = {kind: [] for kind in KINDS}
    for file in sorted({file for file, _ in common if file.startswith(within)}):
        for kind, index, line in faults(folders[0] / file, {index for name, index in common if name == file}):
            kinds[kind].append((kind, line, [(file, index), common[file, index]]))
    generator = random.Random(seed)
    drawn = [generator.sample(kinds[kind], -(-count // len(KINDS))) for kind in KINDS]
    return [fault for group in zip(*drawn, strict=True) for fault in group][:count]


def copy_checkout(checkout: Checkout, folder: Path) -> Path:
    """Copy a checkout, with an environment of its own that sees the packages of the checkout's."""
    shutil.copytree(checkout.folder, folder, ignore=shutil.ignore_patterns(".venv*", ".git", "__pycache__"))
    old, new = checkout.folder / ".venv", folder / ".venv"
    subprocess.run([old / "bin/python", "-m", "venv", "--without-pip", new], check=True)
    pip = [old / "bin/python", "-m", "pip", "--python", new / "bin/python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "-e", folder], check=True)
    (packages,) = old.glob("lib/python3*/site-packages")
    (new / packages.relative_to(old) / "packages.pth").write_text(f"{packages}\n")
    return folder


def pytest(folder: Path, *options: str, limit: float | None = None) -> tuple[str, str]:
    """Run pytest in a copy; return whether a fault is caught, missed or late, and the output."""
    command = [str(folder / ".venv/bin/python"), "-B", "-m", "pytest", *options]
    with (folder / ".venv/log").open("w+") as log:
        run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            status = run.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            return "late", ""
        log.seek(0)
        return "caught" if status else "missed", log.read()


def measure(folder: Path, contexts: Path, *tests: str) -> None:
    """Keep which test covers which line, by paths relative to the copy."""
    settings = folder / ".venv/coverage.ini"
    settings.write_text("[run]\nrelative_files = true\nsource_pkgs = gahbench, gahbench_plugins\n")
    _, output = pytest(folder, "--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report=", *tests)
    print("contexts:", output.strip().splitlines()[-1], flush=True)
    shutil.copy(folder / ".coverage", contexts)


def covering(contexts: Path, site: Site) -> list[str]:
    """Return the tests that cover a line, those that cover the fewest lines of its file first."""
    tables = "line_bits JOIN context ON context_id = context.id JOIN file ON file_id = file.id"
    with sqlite3.connect(contexts) as database:
        rows = database.execute(f"SELECT context, numbits FROM {tables} WHERE context != '' AND path = ?", site[:1])
        lines = [(context, int.from_bytes(blob, "little")) for context, blob in rows]
    found = sorted((bits.bit_count(), context) for context, bits in lines if bits >> (site[1] + 1) & 1)
    # A context is the name of a test, the group of the test, if it has one, and a phase.
    return list(dict.fromkeys(re.sub(r"(@[^\]]*)?\|\w+$", "", context) for _, context in found))


def run(folder: Path, tests: list[str], limit: float) -> tuple[str, str]:
    """Run tests in a copy until the first fails; return the outcome, and the test that failed."""
    names = folder / ".venv/tests.txt"
    names.write_text("\n".join(tests))
    options = ("-n", "0", "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", f"@{names}")
    outcome, output = pytest(folder, *options, limit=limit) if tests else ("missed", "")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", output, flags=re.MULTILINE)
    return "unknown" if outcome == "caught" and not failed else outcome, " ".join([*failed, f"of {len(tests)} tests"])


def try_faults(folder: Path, contexts: Path, faulty: list[tuple[str, Site]], limit: float) -> list[tuple[str, str]]:
    """Write one faulty line after the other into a copy, and run the tests that cover it."""
    outcomes = []
    for line, site in faulty:
        text = (folder / site[0]).read_text("utf-8")
        lines = text.splitlines()
        lines[site[1]] = line
        (folder / site[0]).write_text("\n".join(lines) + "\n", "utf-8")
        outcomes.append(run(folder, covering(contexts, site), limit))
        (folder / site[0]).write_text(text, "utf-8")
        print(".", end="", flush=True)
    return outcomes


def try_all(checkout: Checkout, faulty: list[tuple[str, Site]], limit: float, *tests: str) -> list[tuple[str, str]]:
    """Try all faults on copies of a checkout, and check that the tests that caught faults pass without them."""
    count = min(len(faulty), os.cpu_count() or 1)
    copies = [copy_checkout(checkout, checkout.scratch / f"copy-{number}") for number in range(count)]
    contexts = (checkout.scratch if tests else checkout.folder / ".venv") / "contexts"
    if not contexts.exists():
        measure(copies[0], contexts, *tests)
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(try_faults, copies[n], contexts, faulty[n::count], limit) for n in range(count)]
    outcomes = [futures[index % count].result()[index // count] for index in range(len(faulty))]
    failed = sorted({text.rpartition(" of ")[0] for _, text in outcomes if "::" in text})
    print(f"\n{checkout.name}: without faults, {len(failed)} tests that caught one:", *run(copies[0], failed, 3600))
    return outcomes


def main() -> None:
    with ExitStack() as stack:
        arguments, pair = open_checkouts(stack, __doc__, count=60, seed=0, limit=600.0)
        within, count, *tests = ("gahbench/_util", 2, "tests/_util") if arguments.smoke else ("", arguments.count)
        drawn = draw([checkout.folder for checkout in pair], within, count, arguments.seed)
        outcomes = []
        for side, checkout in enumerate(pair[: 1 if pair[0].folder == pair[1].folder else 2]):
            faulty = [(line, sites[side]) for _, line, sites in drawn]
            outcomes.append(try_all(checkout, faulty, arguments.limit, *tests))
            table = pd.DataFrame({"kind": [kind for kind, *_ in drawn], "outcome": [name for name, _ in outcomes[-1]]})
            print(checkout.name, pd.crosstab(table["kind"], table["outcome"], margins=True), sep="\n")
    for (kind, line, sites), *tried in zip(drawn, *outcomes, strict=True):
        print(" | ".join([kind, f"{sites[0][0]}:{sites[0][1] + 1}", line.strip(), *(": ".join(one) for one in tried)]))


if __name__ == "__main__":
    main()
