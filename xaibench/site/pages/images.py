"""The score of every image under every method of a board, as a page, a CSV file and the stored rows."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaibench.report.table import Column, Table
from xaibench.results.schema import IDENTITY, SCHEMA
from xaibench.site.content import Content, SiteBoard
from xaibench.site.gallery import Gallery
from xaibench.site.page import File, Page
from xaibench.site.tables import data_table
from xaibench.site.words import two_decimals

MOST = 1000  # images on a page; the files have all


def pages(content: Content, galleries: list[Gallery]) -> Iterator[Page | File]:
    """The page and the files of each board."""
    shown = {gallery.one.slug: {image.image_id: image for image in gallery.images} for gallery in galleries}
    for one in content.boards:
        scores = _scores(one)
        yield File(f"data/{one.slug}.csv", one.found.to_csv().encode())
        columns = tuple(Column(str(name)) for name in scores.columns)
        yield File(f"data/{one.slug}-images.csv", Table(columns, scores).to_csv().encode())
        yield File(f"data/{one.slug}-rows.parquet", _parquet(content, one))
        yield _page(content, one, scores, shown.get(one.slug, {}))


def _scores(one: SiteBoard) -> pd.DataFrame:
    """One row for each image: its id, whether the model is right, and the score of each method."""
    source = one.found.require_source()
    correct = source.rows.groupby("image_id")["correct"].first()
    scores = one.found.image_scores()
    right = correct.reindex(scores.index).map({True: "yes", False: "no"}).fillna("").astype(str)
    order = {name: place for place, name in enumerate(source.images)}
    frame = pd.concat([right.rename("right"), scores], axis=1).rename_axis("image").reset_index()
    return frame.sort_values("image", key=lambda ids: ids.map(order), kind="stable").reset_index(drop=True)


def _parquet(content: Content, one: SiteBoard) -> bytes:
    """All stored rows of a board as one file, in an order that does not depend on how runs were cut."""
    rows = content.store.rows([cell.key for cell in one.board.cells])
    rows = rows.sort_values(list(IDENTITY), kind="stable").reset_index(drop=True)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()


def _page(content: Content, one: SiteBoard, scores: pd.DataFrame, shown: dict) -> Page:
    methods = [name for name in scores.columns if name not in ("image", "right")]
    columns = (
        Column("image", "id of the image", align="left"), Column("right", "whether the model is right", align="left"),
        *(Column(name, "score of this method", foreign=True, format=two_decimals) for name in methods),
    )  # fmt: skip
    table = data_table(
        "images", Table(columns, scores.head(MOST)), f"Scores of every image under {one.protocol} on {one.model}",
        thing="images", selects=("right",), wide=True,
        links={"image": lambda row: f"../gallery/{one.slug}.html#{shown[row['image']].id}"
               if row["image"] in shown else ""},
    )  # fmt: skip
    values = {"one": one, "table": table, "total": len(scores), "shown": min(len(scores), MOST)}
    return Page(f"images/{one.slug}.html", "images.html", f"Images of {one.protocol} on {one.model}", "boards", values)
