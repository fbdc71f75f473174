"""The card of a board folder, `README.md`: for people, and for the Hub, whose viewer reads its front matter."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from xaibench.publication.index import Index, WithdrawnEntry
from xaibench.publication.rows import CELLS, SCORES
from xaibench.report.text import count, markdown

TAGS = ("xaibench", "explainable-ai", "attribution", "saliency", "benchmark", "leaderboard")
READING = """```python
import pandas as pd

scores = pd.read_parquet("scores.parquet")
print(scores.groupby(["protocol", "model", "method"])["score"].mean())  # the means of the boards

rows = pd.read_parquet("rows")  # everything that was measured
results = pd.read_parquet("cells.parquet")  # what each key in its column `cell` is
print(rows.merge(results, on="cell", suffixes=("", "_of_result")))
```

```sql
-- DuckDB
SELECT protocol, model, method, avg(score) AS mean FROM 'scores.parquet' GROUP BY ALL ORDER BY mean DESC;
SELECT * FROM 'rows/*/*/*.parquet' JOIN 'cells.parquet' USING (cell);
SELECT decode(key) AS column, decode(value) AS meaning FROM parquet_kv_metadata('scores.parquet');
```

```bash
xaibench validate .
xaibench leaderboard PROTOCOL --model MODEL --out .
```"""


def card_text(index: Index, root: Path) -> str:
    """The card of a folder whose files are written already."""
    parts = [_front_matter(index, root), f"# {markdown(index.title)}", _summary(index)]
    if index.boards:
        parts += ["## Boards", _boards(index)]
    if index.comparisons:
        parts += ["## Comparisons of designs", _comparisons(index)]
    if index.withdrawn or index.withdrawn_comparisons:
        parts += ["## Withdrawn", _withdrawn(index)]
    parts += ["## Reading the rows", _reading(), READING]
    if index.versions:
        parts += ["## Earlier versions", _versions(index)]
    return "\n\n".join(parts) + "\n"


def _front_matter(index: Index, root: Path) -> str:
    """YAML whose texts are written as JSON, which YAML contains."""
    lines = ["---", f"license: {_text(index.license)}", f"pretty_name: {_text(index.title)}", "tags:"]
    lines += [f"- {tag}" for tag in TAGS]
    configs = [("leaderboard", "leaderboard.csv"), ("scores", SCORES), ("results", CELLS)] if index.boards else []
    configs += [("rows", "rows/*/*/*.parquet")] if index.boards else []
    lines += ["configs:"] if configs else []
    for name, files in configs:
        lines += [f"- config_name: {name}", "  data_files:", "  - split: all", f"    path: {files}"]
        lines += ["  default: true"] if name == "leaderboard" else []
    return "\n".join([*lines, "---"])


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _summary(index: Index) -> str:
    results = sum(len(one.cells) for one in index.boards)
    models = len({one.model for one in index.boards})
    return (
        f"Version {index.version}: {count(results, 'result')} on {count(len(index.boards), 'board')} of "
        f"{count(models, 'model')}, made with xaibench {markdown(index.xaibench)}. A board compares attribution "
        "methods on one model, over one frozen list of images, under one protocol; scores of different boards have "
        "no common scale unless the protocol says so."
    )


def _boards(index: Index) -> str:
    lines = ["| protocol | model | data set | methods | images | board |", "| :-- | :-- | :-- | --: | --: | :-- |"]
    for one in index.boards:
        links = f"[table]({one.markdown}), [CSV]({one.csv}), [figure]({one.figure})"
        names = " | ".join(markdown(text) for text in (one.protocol, one.model, one.dataset))
        lines.append(f"| {names} | {len(one.cells)} | {one.images} | {links} |")
    return "\n".join(lines)


def _comparisons(index: Index) -> str:
    return "\n".join(f"- [{markdown(one.title)}]({one.json_})" for one in index.comparisons)


def _withdrawn(index: Index) -> str:
    lines = []
    for one in (*index.withdrawn, *index.withdrawn_comparisons):
        method = one.method if isinstance(one, WithdrawnEntry) else None
        what = f"{markdown(method)} on " if method else ""
        lines.append(
            f"- {what}{markdown(one.title)}: {markdown(one.reason)} (last in version {one.last}, see "
            f"[versions/{one.last}](versions/{one.last}))"
        )
    return "\n".join(lines)


def _reading() -> str:
    return (
        f"`{SCORES}` has a line per image and method: the score that enters the board's mean. `rows/` has all that was "
        "measured, a file per result, with a line per image, class and metric; undefined maps have no score and a "
        f"status, and boards count them at the protocol's cost. `{CELLS}` says what each result is; `lists/` has the "
        "image lists, `runs/` the record of each run (command, versions, device), `cells/` all that each key hashes. "
        "The folder is a results folder of xaibench."
    )


def _versions(index: Index) -> str:
    counted = Counter(one.last for one in (*index.withdrawn, *index.withdrawn_comparisons))
    return "\n".join(
        f"- [version {one.version}](versions/{one.version}): {count(one.boards, 'board')}, "
        f"{count(one.results, 'result')}"
        + (f"; {counted[one.version]} withdrawn since" if counted[one.version] else "")
        for one in reversed(index.versions)
    )
