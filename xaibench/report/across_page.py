"""The page of a leaderboard across models."""

from __future__ import annotations

from xaibench.printing import clean
from xaibench.report import columns
from xaibench.report.inputs import AcrossModels
from xaibench.report.page import Bullets, Page
from xaibench.report.table import Column, Table
from xaibench.report.text import count

FIRST = 25  # pairs of model and method that a terminal shows


def across_models_page(found: AcrossModels) -> Page:
    """The models; in a terminal the first pairs of model and method, in a document the means of all methods."""
    rows, models = Table(columns.ACROSS_MODELS, found.table), Table(columns.MODELS, found.models)
    caption = across_models_caption(found)
    titles = [f"{name}: {title}" for name, title in found.titles.items()]
    value = {
        "title": found.title, "metric": found.metric, "higher_is_better": found.higher_is_better,
        "comparable_across_models": found.comparable, "images": found.n_images, "caption": caption,
        "notes": list(found.notes), "boards": found.titles, "models": models.records(), "rows": rows.records(),
    }  # fmt: skip
    document = [models, _matrix(found), caption, Bullets([*found.notes, *titles])]
    return Page(found.title, caption, [models, *_first_pairs(found)], document, rows, value)


def _first_pairs(found: AcrossModels) -> list[Table | str]:
    """The first pairs, without oracles, which would be at the top of every model."""
    pairs = found.table[found.table["kind"] != "oracle"]
    shown = pairs.head(FIRST)
    table = Table(columns.ACROSS_MODELS, shown, quiet=shown["rank"].isna().tolist())
    if len(pairs) <= FIRST:
        return [table]
    return [table, f"... the first {FIRST} of {len(pairs)} pairs; --format csv has all, md all means"]


def _matrix(found: AcrossModels) -> Table:
    """The mean of every method on every model, a column for each model."""
    matrix = found.matrix
    models = (Column(name, "mean score on this model", foreign=True) for name in matrix.columns)
    return Table((columns.METHOD, *models), matrix.reset_index())


def across_models_caption(found: AcrossModels) -> str:
    """What the numbers mean."""
    end = "higher" if found.higher_is_better else "lower"
    text = (
        f"Mean {clean(found.metric)} ({end} is better) over the same {count(found.n_images, 'image')} for every model, "
        "with 95 % intervals by the studentised bootstrap over images, for these fixed models. best: of the ranked "
        "method that is best on these images, which is too high where several are close; mean: over the model's ranked "
        "methods."
    )
    if not found.comparable:
        return text
    return (
        f"{text} Ranks are among all ranked pairs of model and method; ranks: rank sets by one test of all such pairs, "
        "at 95 % for all at once, for the population that the images come from. group: models that share a letter "
        "cannot be told apart; a model is surely better where its best method is better than every method of the "
        "other, by one test of all models."
    )
