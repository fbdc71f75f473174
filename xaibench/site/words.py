"""The two questions of the start page, answered in a sentence each from the numbers of the boards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from xaibench.report.heatmap import number
from xaibench.report.text import count, format_two
from xaibench.site.content import SiteAcross, SiteBoard, leading, leading_models
from xaibench.site.shipped import title_of

NAMED = 4  # methods that a sentence names before it says how many more there are


def listed(names: Sequence[str], most: int | None = NAMED) -> str:
    """`a`, `a and b`, `a, b and c`; of many the first `most`, and how many more.

    >>> listed(["a", "b", "c"]), listed(list("abcdefg"))
    ('a, b and c', 'a, b, c, d and 3 more')
    """
    names = list(names)
    if most is not None and len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def interval(row: dict[str, Any]) -> str:
    """Such as `0.91 (95 % interval 0.86 to 0.94)`."""
    return f"{number(row['mean'])} (95 % interval {number(row['ci_low'])} to {number(row['ci_high'])})"


def two_decimals(value: Any) -> str:
    """A number with two decimals and a true minus sign; text as it is; empty where there is no value."""
    return value if isinstance(value, str) else format_two(value).replace("-", "\u2212")


def best_method(one: SiteBoard) -> str:
    """Which method leads a board, and from which others it cannot be told apart."""
    first = list(leading(one.found.table))
    if not first:
        return f"No method is ranked on {one.model} under {one.protocol}."
    best, others = first[0], [row["method"] for row in first[1:]]
    text = f"On {one.model}, {best['method']} has the best mean, {interval(best)}"
    ranked = int(one.found.table["rank"].notna().sum())
    if others and len(others) == ranked - 1:
        return f"{text}; no other method is told apart from it."
    if others:
        verb = "is" if len(others) == 1 else "are"
        return f"{text}; {listed(others)} {verb} not told apart from the best."
    if ranked == 1:
        return f"{text}; it is the only method that is ranked."
    return f"{text}, and is told apart from the {count(ranked - 1, 'other method')}."


def best_across(one: SiteAcross) -> str:
    """Which method leads on most models, and how many methods may be the best on each."""
    boards = list(one.members.values())
    if len(boards) == 1:
        return best_method(boards[0])
    times = Counter(row["method"] for board in boards for row in leading(board.found.table))
    if not times:
        return f"No method is ranked under {one.protocol}."
    most = max(times.values())
    names = sorted(name for name, number_ in times.items() if number_ == most)
    whole = most == len(boards)
    # Where one method alone is ranked, there is none that it is better than.
    several = [board.found.table for board in boards if board.found.table["rank_low"].count() > 1]
    alone = sum(sum(1 for _ in leading(table)) == 1 for table in several)
    models = "models" if len({board.model for board in boards}) == len(boards) else "trained models"
    every = f"both {models}" if len(boards) == 2 else f"all {len(boards)} {models}"
    text = f"{listed(names)} may be the best on {every if whole else f'{most} of {len(boards)} {models}'}, "
    text += f"no other method on {'as many' if not whole else 'both' if len(boards) == 2 else 'all of them'}"
    settled = "no model" if not alone else "each of them" if alone == len(boards) else f"{alone} of them"
    return f"{text}; on {settled} a single method is surely the best."


def best_models(one: SiteAcross) -> str:
    """Which model has the highest mean, and from which others it cannot be told apart, each by its best method."""
    if not one.found.comparable:
        return f"Scores of {one.protocol} may not be compared across models, so no model is ranked by them."
    models = one.found.models[one.found.models["group"] != ""]
    if models.empty:
        return "No pair of model and method is ranked."
    best = models.iloc[0]
    end = "highest" if one.found.higher_is_better else "lowest and best"
    row = {"mean": best["best"], "ci_low": best["ci_low"], "ci_high": best["ci_high"]}
    text = f"{best['model']}, explained by {best['best_method']}, has the {end} mean, {interval(row)}"
    others = leading_models(one.found)[1:]
    worse = [name for name in models["model"][1:] if name not in others]
    if not others:
        return f"{text}; every other model is told apart from it."
    text = f"{text}; {listed(others)} {'is' if len(others) == 1 else 'are'} not told apart from it"
    if not worse:
        return f"{text}."
    side = "lower" if one.found.higher_is_better else "higher"
    return f"{text}, {listed(worse)} {'is' if len(worse) == 1 else 'are'} surely {side}."


def number_of_images(one: SiteAcross | SiteBoard) -> str:
    """Of a board, or of the boards of several models: `16 images`, `8 to 16 images`."""
    lists = [each.found.n_list for each in (one.members.values() if isinstance(one, SiteAcross) else [one])]
    fewest, most = min(lists), max(lists)
    return count(most, "image") if fewest == most else f"{fewest} to {most} images"


def limits(one: SiteAcross | SiteBoard) -> list[str]:
    """What the numbers of a board cannot say."""
    boards = list(one.members.values()) if isinstance(one, SiteAcross) else [one]
    images = number_of_images(one)
    if isinstance(one, SiteAcross) and any(board.found.n_list != one.found.n_images for board in boards):
        shared = f", and models are compared on the {one.found.n_images} that all have"
    else:
        shared = ""
    several = len(boards) > 1
    dataset = title_of("dataset", boards[0].dataset).partition(":")[0]
    texts = [
        f"All numbers are over {images} of {dataset}{shared}. Intervals are about other images of this kind, "
        f"for {'these trained models' if several else 'this trained model'}: with few images most methods cannot be "
        "told apart, and other data may give another order.",
        f"{title_of('protocol', boards[0].protocol)} ({boards[0].protocol}) measures one property of an explanation. "
        "A method that leads here need not lead under another protocol, or help a person.",
        "The best method was chosen on the images that its mean is over, so that mean is a little too high.",
    ]
    if several:
        texts.append(
            "Models that differ in design differ in their training run too. A claim about a design needs several "
            "trainings of each; these boards compare single networks."
        )
    return texts
