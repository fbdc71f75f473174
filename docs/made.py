"""What the site makes from the code: a hook of MkDocs that fills pages with commands, cards, rows and Python names.

A page says `<!-- made: NAME -->`, and the function of that name below gives the Markdown.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

MARK = re.compile(r"<!-- made: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with its marks replaced by what the code says (called by MkDocs)."""
    return MARK.sub(lambda mark: MADE[mark[1]](), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Builds the sites of the published boards (called by MkDocs), unless XAIBENCH_DOCS_BOARDS is false."""
    from xaibench.site.build import build_site

    for folder in _published() if config["extra"]["boards"] else ():
        build_site(folder, Path(config["site_dir"]) / "boards" / folder.name)


def _published() -> list[Path]:
    return sorted(index.parent for index in (Path(__file__).parents[1] / "leaderboards").glob("*/board.json"))


def boards() -> str:
    """Every board folder of `leaderboards/`: a link to its site, and what it holds."""
    from xaibench.publication.index import read_index

    lines = []
    for folder in _published():
        index = read_index(folder)
        models = sorted({board.model for board in index.boards})
        named = f'<a href="{folder.name}/index.html">{folder.name}</a>'
        lines.append(f"| {named} | {_list(sorted({board.protocol for board in index.boards}))} | {_list(models)} |")
    return "\n".join(["| site | protocols | models |", "| --- | --- | --- |", *lines, ""])


def commands() -> str:
    """Every command with its help, options and examples, as `--help` prints them."""
    import typer

    from xaibench.cli.app import app

    return "\n".join(_command(typer.main.get_command(app), "xaibench", 2))


def _command(command: Any, path: str, level: int) -> list[str]:
    """A command and those below it; help texts are shown as they are on a terminal of 100 columns."""
    below = getattr(command, "commands", {})
    lines = [f"{'#' * level} `{path}`\n"] if level > 2 or not below else []
    if not below or level > 2:
        context = command.make_context(path, [], resilient_parsing=True, terminal_width=100, max_content_width=100)
        lines.append(f"```text\n{command.get_help(context).rstrip()}\n```\n")
    for name, child in below.items():
        lines += _command(child, f"{path} {name}", level + 1 if level > 2 else 3)
    return lines


def cards() -> str:
    """The fields of every kind of card: type, default, meaning."""
    from xaibench import cards as module
    from xaibench.cards import CARD_TYPES, Card

    parts = [(Card, "Every card", ())]
    parts += [(made, f"{kind.capitalize()} cards", tuple(Card.model_fields)) for kind, made in CARD_TYPES.items()]
    inner = [module.Paper, module.Geometry, module.Profile, module.PublishedWeights]
    inner += [module.Alignment, module.FurtherMetric, module.ComparisonArm, module.ComparisonProtocol]
    inner += [module.StudyScale, module.Fetched, module.PrintedNumbers, module.Claim]
    parts += [(made, f"`{made.__name__}`", ()) for made in inner]
    return "\n".join(_fields(made, title, without) for made, title, without in parts)


def _fields(made: Any, title: str, without: tuple[str, ...]) -> str:
    rows = [
        f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in made.model_fields.items()
        if name not in without
    ]
    head = "| field | type | default | meaning |\n| --- | --- | --- | --- |"
    return "\n".join([f"## {title}\n", f"{inspect.cleandoc(made.__doc__)}\n", head, *rows, ""])


def _type(annotation: Any) -> str:
    """A type as text, without modules and without what pydantic is told about its limits."""
    return f"`{_type_text(annotation)}`"


def _type_text(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_type_text, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if annotation in (None, NoneType):
        return "None"
    if origin is not None:
        inner = ", ".join("..." if part is Ellipsis else _type_text(part) for part in parts)
        return f"{origin.__name__}[{inner}]"
    return getattr(annotation, "__name__", str(annotation))


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{value!r}`" if not isinstance(value, Path) else f"`{value.as_posix()}`"


def requests() -> str:
    """The fields of every request: a run, a training with the options of each task, a comparison, photos, masks."""
    from xaibench.comparison.config import ComparisonConfig
    from xaibench.evaluation.config import RunConfig
    from xaibench.explanation.config import ExplainConfig
    from xaibench.masks.config import MasksConfig
    from xaibench.training.config import TrainingConfig
    from xaibench.training.tasks import TASKS

    parts = [
        (RunConfig, "`RunConfig`: `xaibench run`, `xaibench.run`"),
        (TrainingConfig, "`TrainingConfig`: `xaibench train`"),
        *((options, f"`task_options` of `{task}`") for task, options in TASKS.items()),
        (ComparisonConfig, "`ComparisonConfig`: `xaibench compare`"),
        (ExplainConfig, "`ExplainConfig`: `xaibench explain`, `xaibench.explain`"),
        (MasksConfig, "`MasksConfig`: `xaibench masks make`"),
    ]
    return "\n".join(_fields(made, title, ()) for made, title in parts)


def rows() -> str:
    """The columns of stored rows."""
    from xaibench.results.schema import IDENTITY, MEANINGS, SCHEMA, SCHEMA_VERSION, STATUSES, UNITS

    lines = [
        f"Schema version {SCHEMA_VERSION}, in each file's metadata as `xaibench.schema`. "
        f"A row is named by {_list(IDENTITY)}.\n",
        "| column | type | may be null | meaning |\n| --- | --- | --- | --- |",
    ]
    for field in SCHEMA:
        null = "yes" if field.nullable else "no"
        lines.append(f"| `{field.name}` | {field.type} | {null} | {MEANINGS[field.name]} |")
    return "\n".join([*lines, f"\n`status` is one of {_list(STATUSES)}; `unit` one of {_list(UNITS)}."])


def names() -> str:
    """Every public Python name with its documentation, by mkdocstrings."""
    import xaibench

    made = []
    for name in sorted(xaibench._PUBLIC, key=lambda name: (name[0].isupper(), name)):
        made.append(f"::: {xaibench._PUBLIC[name]}.{name}\n    options:\n      heading: xaibench.{name}\n")
        if name in ("run", "explain"):
            made.append("The fields are listed in [Requests](requests.md).\n")
    return "\n".join(made)


def methods() -> str:
    """Every method that ships: name, title, paper, how it runs, notes."""
    from xaibench import registry

    groups = {"The paper's list (run by default)": [], "Others (`--methods NAME` or `all`)": [], "Controls": []}
    default, others, controls = groups.values()
    for name in registry.names("method"):
        card = registry.card("method", name)
        group = controls if card.role in ("control", "oracle") else default if "paper" in card.tags else others
        paper = f"[{card.paper.year}]({card.paper.url})" if card.paper and card.paper.url else ""
        group.append(f"| `{name}` | {_cell(card.title)} | {paper} | {_cell(card.notes)} |")
    head = "| name | method | paper | notes |\n| --- | --- | --- | --- |\n"
    return "\n".join(f"## {title}\n\n{head}" + "\n".join(lines) + "\n" for title, lines in groups.items())


def protocols() -> str:
    """Every protocol that ships, by category: name, title, range and direction, paper, the file of its class."""
    from xaibench import registry

    titles = ("category", "name", "protocol", "range", "better", "paper", "file in `xaibench/protocols/`")
    head = f"| {' | '.join(titles)} |\n{'| --- ' * len(titles)}|"
    rows = []
    for name in registry.names("protocol"):
        card = registry.card("protocol", name)
        file = card.target.split(":")[0].removeprefix("xaibench.protocols.").replace(".", "/")
        paper = f"[{card.paper.year}]({card.paper.url})" if card.paper and card.paper.url else ""
        low, high = (f"{end:g}" for end in card.range)
        better = "higher" if card.higher_is_better else "lower"
        cells = [card.category.replace("_", " "), f"`{name}`", _cell(card.title), f"{low} to {high}", better, paper]
        rows.append(f"| {' | '.join(cells)} | `{file}.py` |")
    return "\n".join([head, *sorted(rows), ""])


def functions() -> str:
    """Every function of `xaibench.functional` with its documentation, in groups, by mkdocstrings."""
    from xaibench import functional

    lines = []
    for title, group in functional.GROUPS.items():
        lines.append(f"## {title}\n")
        for function in group:
            heading = f"      heading: {function.__name__}\n      heading_level: 3\n"
            lines.append(f"::: {function.__module__}.{function.__name__}\n    options:\n{heading}")
    return "\n".join(lines)


def notebook() -> str:
    """The cells of `notebook.ipynb` with their stored outputs."""
    content = json.loads((Path(__file__).parent / "notebook.ipynb").read_text())
    parts = []
    for cell in content["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.removeprefix("# xaibench in a notebook\n\n"))
        else:
            parts += [f"```python\n{text}\n```", *map(_output, cell["outputs"])]
    return "\n\n".join(parts)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f'<img alt="output of the cell above" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return re.sub(r"\n\s*", "\n", html).strip()
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


def _list(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


MADE = {
    function.__name__: function
    for function in (boards, commands, cards, requests, rows, names, methods, protocols, functions, notebook)
}
