"""The finding of a board in sentences: what its intervals decide, and what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gahbench._util.readable import pluralize
from gahbench.board.board import DatasetBoard, Entry
from gahbench.board.facts import base_entrants
from gahbench.board.ranks import PRACTICAL_KINDS
from gahbench.report.cells import format_interval, number
from gahbench.report.heat_map import Distance, distance_lines, gain_of

if TYPE_CHECKING:
    from gahbench.board.display_names import DisplayNames
    from gahbench.board.results import Results

#: A sentence names a trained entrant as first only if it was trained with at least this number of seeds.
MIN_SEEDS = 2
_MAX_NAMES = 2  # of entrants that share first place
#: The longest name in a sentence, in characters.
LONGEST = 60
#: Below this distance in dB from the optimum, the title does not say "still".
_NEAR = 0.5


@dataclass(frozen=True)
class Finding:
    """The title of a board, and sentences that give its numbers."""

    title: str
    sentences: Sequence[str] = ()


@dataclass(frozen=True)
class _Decision:
    """What the intervals decide on a dataset: which entrants lead, and which is nearest to the optimum."""

    board: DatasetBoard
    phrase: str
    ranked: int
    leaders: Sequence[Entry]
    nearest: Distance | None
    is_bound: bool

    @property
    def is_fixed_set(self) -> bool:
        return bool(self.board.source_parts)

    @property
    def first(self) -> Entry | None:
        """The only entrant of rank 1, if its interval holds no other rank and its scores are not flagged."""
        first = self.leaders[0]
        return first if len(self.leaders) == 1 and first.rank_high == 1 and not first.flags else None

    @property
    def is_repeated(self) -> bool:
        """Whether no entrant of rank 1 owes its rank to a single training; weights from a file have no seeds."""
        return all(entry.seeds is None or entry.seeds >= MIN_SEEDS for entry in self.leaders)

    def distance(self) -> str:
        """Return the distance of the first entrant from the optimum, if no entrant is nearer."""
        is_first = self.nearest is not None and self.first is not None and self.nearest.entrant == self.first.entrant
        return self.distance_of_nearest() if is_first else ""

    def distance_of_nearest(self) -> str:
        """Return the smallest distance from the optimum, if it is known."""
        if self.nearest is None:
            return ""
        digits = 2 if self.nearest.high < 0.1 else 1
        return f"{'at most ' if self.is_bound else ''}{number(self.nearest.high, digits)} dB"


def finding(results: Results, own_title: str = "") -> Finding:
    """Return what the intervals of a board decide.

    Parameters
    ----------
    results
        The results of a suite.
    own_title
        The title of the page about these results, which is used if no ranks are known.
    """
    names = results.names
    decisions = [_decide(results, board) for board in results.board.datasets]
    ranked = [decision for decision in decisions if decision.ranked > 1]
    # Intervals of images from a few sources say nothing about other images.
    counted = [decision for decision in ranked if not decision.is_fixed_set] or ranked
    if not counted:
        entrants, datasets = pluralize(len(base_entrants(results)), "entrant"), pluralize(len(decisions), "dataset")
        return Finding(own_title or f"{entrants} on {datasets}, without ranks")
    winners = _winners(counted)
    title = _title_of_winners(winners, len(counted), names) if winners else _title_without_winner(counted, names)
    return Finding(title, _sentences(results, ranked, counted, winners))


def _decide(results: Results, board: DatasetBoard) -> _Decision:
    ranked = [entry for entry in board.entries if entry.rank is not None]
    line = next((line for line in distance_lines(results) if line.dataset == board.dataset), None)
    nearest = next((item for item in line.distances if item.kind in PRACTICAL_KINDS), None) if line else None
    return _Decision(
        board,
        shorten(results.names.dataset_phrase(board.dataset)),
        len(ranked),
        [entry for entry in ranked if entry.rank == 1],
        nearest,
        line is not None and line.is_bound,
    )


def _winners(decisions: Sequence[_Decision]) -> dict[str, list[_Decision]]:
    """Return the datasets on which entrants are first, by entrant, without entrants that were trained once."""
    winners: dict[str, list[_Decision]] = {}
    for decision in decisions:
        if decision.first is not None and decision.is_repeated:
            winners.setdefault(decision.first.entrant, []).append(decision)
    return dict(sorted(winners.items(), key=lambda item: -len(item[1])))


def _title_of_winners(winners: dict[str, list[_Decision]], count: int, names: DisplayNames) -> str:
    (winner, won), *others = winners.items()
    if others and len(others[0][1]) == len(won) == 1:
        firsts = [f"{as_subject(names.entrant(label))} on {led[0].phrase}" for label, led in winners.items()]
        title = f"First are {join(firsts[:3])}"
        return title if len(firsts) <= 3 else f"{len(firsts)} denoisers are first, each on one of {count} datasets"
    where = won[0].phrase if len(won) == 1 else _share(len(won), count)
    title = f"{as_subject(names.entrant(winner))} is first on {where}"
    if len(won) == 1 and count > 1 and not others:
        return f"{title}, and first place is open on {pluralize(count - 1, 'other dataset')}"
    measured = [decision for decision in won if decision.distance()]
    exact = [decision for decision in measured if not decision.is_bound] or measured
    if not exact:
        return title
    farthest = max(exact, key=lambda decision: decision.nearest.high if decision.nearest else 0.0)
    still = "still " if farthest.nearest and farthest.nearest.high >= _NEAR and not farthest.is_bound else ""
    on = "" if len(won) == 1 else f" on {farthest.phrase}"
    return f"{title}, and {still}{farthest.distance()} from optimal{on}"


def _title_without_winner(decisions: Sequence[_Decision], names: DisplayNames) -> str:
    count = len(decisions)
    led = [decision for decision in decisions if decision.first is not None]
    if led:
        is_same = len({decision.leaders[0].entrant for decision in led}) == 1
        leads = (
            f"One entrant leads on {_share(len(led), count)}"
            if is_same
            else f"{len(led)} of {count} datasets have a leader"
        )
        return f"{leads}, but a single training does not show a winner"
    if count > 1:
        return f"No denoiser is first alone on any of {count} datasets"
    (decision,) = decisions
    if len(decision.leaders) == 2 and decision.is_repeated:
        subjects = join([as_subject(names.entrant(entry.entrant)) for entry in decision.leaders])
        return f"{subjects} share first place on {decision.phrase}, ahead of {decision.ranked - 2} others"
    return f"{len(decision.leaders)} of {decision.ranked} denoisers share first place on {decision.phrase}"


def _sentences(
    results: Results, ranked: Sequence[_Decision], counted: Sequence[_Decision], winners: dict[str, list[_Decision]]
) -> list[str]:
    """Return the gains of the winners, the datasets without a winner, and the datasets with few sources of images."""
    names, sentences = results.names, []
    baseline = results.baseline if results.board.is_known("gain_over_baseline") else None
    prefix = "gain "
    for label, won in list(winners.items())[:3]:
        parts = []
        for decision in won:
            gain = format_interval(gain_of(decision.board, label, baseline), sign=True, digits=1)
            parts.append(f"{decision.phrase} ({prefix}{gain} dB)")
            prefix = ""
        distances = [f"{item.distance()} from the optimum" for item in won if item.distance()]
        tail = f", {distances[0]}" if len(won) == 1 and distances else ""
        sentences.append(f"{as_subject(names.entrant(label))} is alone at rank 1 on {join(parts)}{tail}.")
    single: dict[str, list[str]] = {}
    for decision in counted:
        if decision.first is not None and not decision.is_repeated:
            single.setdefault(decision.first.entrant, []).append(decision.phrase)
    for label, phrases in single.items():
        sentences.append(f"{as_subject(names.entrant(label))} leads on {join(phrases)} after a single training.")
    shared = [decision for decision in counted if decision.first is None]
    if shared and len(counted) > 1:
        sentences.append(f"First place is undecided between {join([_leaders(item, names) for item in shared])}.")
    distances = [
        f"{item.distance_of_nearest()} on {item.phrase}"
        for item in counted
        if item.nearest is not None and not (item.is_repeated and item.distance())
    ]
    if distances:
        sentences.append(f"The smallest distance from the optimum is {join(distances[:3])}.")
    if fixed := [decision for decision in ranked if decision.is_fixed_set]:
        parts = [f"{item.phrase} ({pluralize(len(item.board.source_parts), 'source')})" for item in fixed]
        sentences.append(f"Ranks on {join(parts)} hold for these images only, so they are not counted.")
    return sentences


def _leaders(decision: _Decision, names: DisplayNames) -> str:
    """Return the entrants that may be first on a dataset by name, or their number if there are many."""
    count = len(decision.leaders)
    if count > _MAX_NAMES:
        return f"{count} of {decision.ranked} denoisers on {decision.phrase}"
    return (
        f"{join([as_subject(names.entrant_phrase(entry.entrant)) for entry in decision.leaders])} on {decision.phrase}"
    )


def _share(part: int, count: int) -> str:
    if part == count:
        return {1: "the only dataset", 2: "both datasets"}.get(count, f"all {count} datasets")
    return f"{part} of {count} datasets"


def as_subject(name: str) -> str:
    """Return a name as the subject of a sentence: a name with a comma is closed by another comma."""
    name = shorten(name)
    return f"{name}," if "," in name else name


def shorten(name: str, longest: int = LONGEST) -> str:
    """Return a name with at most a number of characters, of which the last is an ellipsis if the name is longer."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def join(parts: Sequence[str]) -> str:
    """Join phrases with ``and``, and with commas, or with semicolons between phrases that have commas."""
    if len(parts) < 2:
        return "".join(parts)
    if len(parts) > 2 and any(", " in part for part in parts):
        return "; ".join(part.rstrip(",") for part in parts[:-1]) + f"; and {parts[-1]}"
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"
