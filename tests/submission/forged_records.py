"""Forged `submission.json`, image lists, records of runs, and code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forging import Forge, Forger, relisting

from xaibench.hashing import digest


def listed(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """What is wrong in `submission.json`, and against it."""
    content = json.loads((folder / "submission.json").read_text())

    def with_manifest(change: Callable[[dict], Any]) -> Forge:
        def forge(root: Path, relist: Callable[[Path], None]) -> Path:
            value = json.loads(json.dumps(content))
            value = change(value) or value
            (root / "submission.json").write_text(value if isinstance(value, str) else json.dumps(value))
            return root

        return forge

    for field in content:
        yield "submission.json", f"without {field}", with_manifest(lambda value, f=field: value.pop(f) and None)
        for odd in (None, 7, [], {}, "\x1b[2J", True, ["../x"], {"../x": "0"}):
            yield "submission.json", f"{field} = {odd!r}", with_manifest(lambda v, f=field, o=odd: v | {f: o})
    for text in ("", "[]", "null", "{", "[" * 100_000, '{"format": NaN}', "{" * 50):
        yield "submission.json", text[:20], with_manifest(lambda value, t=text: t or " ")
    yield "submission.json", "more fields", with_manifest(lambda value: value | {"rank": 1})
    yield "submission.json", "a method of xaibench", with_manifest(lambda value: value | {"methods": ["ixg"]})
    yield "submission.json", "another method", with_manifest(lambda value: value | {"methods": ["theirs"]})
    yield "submission.json", "one method more", with_manifest(lambda value: value | {"methods": ["mine", "theirs"]})
    yield "submission.json", "a card elsewhere", with_manifest(lambda value: value | {"card": "source/../../x.py"})
    for name in content["files"]:

        def changed(root: Path, relist: Callable[[Path], None], name: str = name) -> Path:
            (root / name).write_bytes((root / name).read_bytes() + b" ")
            return root

        def removed(root: Path, relist: Callable[[Path], None], name: str = name) -> Path:
            (root / name).unlink()
            return root

        yield "files and their sums", f"{name} changed", changed
        yield "files and their sums", f"{name} removed", removed


def records(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """Records of runs."""
    images = json.loads(next(folder.glob("lists/*.json")).read_text())
    for name, fields in {
        "no list": {"images": {"list": None, "count": 8}}, "a list that is missing": {"images": {"list": "0" * 16,
        "count": 8}}, "another count": {"images": {"list": digest(images), "count": 9}}, "not complete":
        {"status": "partial"}, "failed": {"status": "failed"}, "no cells": {"cells": []}, "odd status":
        {"status": "perfect"}, "odd cells": {"cells": ["../../x"]}, "cells that are missing": {"cells": ["0" * 16]},
        "odd costs": {"costs": {"mine": {"seconds": -1}}}, "odd accuracy": {"cells": 3},
    }.items():  # fmt: skip
        yield "records of runs", name, relisting(lambda f, v=fields: f.run(lambda run: run.update(v)))


def code(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """The code of the methods, and their card."""

    def written(text: str) -> Callable[[Forger], None]:
        return lambda f: (f.root / "source" / "plugin_mine.py").write_text(text)

    mark = "import pathlib\npathlib.Path({mark!r}).write_text('run')\n"
    for name, text in {"other code": mark, "no Python": "\x00", "empty": "", "nested": "(" * 5000, "deep": "-" * 50_000
                       + "1"}.items():  # fmt: skip
        yield "other code", name, relisting(written(text))
    for name in ("more.py", "torch.py", "methods/more.toml"):

        def more(f: Forger, name: str = name) -> None:
            (f.root / "source" / name).parent.mkdir(exist_ok=True)
            (f.root / "source" / name).write_text(mark)

        yield "other code", f"also {name}", relisting(more)
    for target in ("os:system", "subprocess:call", "xaibench.attribution.gradients:ixg", "../../../x.py:f",
                   "/etc/x.py:f",
                   "builtins:eval", "nothing:here", "captum.attr:Saliency"):  # fmt: skip
        yield "other code", f"a card of {target}", _card(target)
    for text in ("", "title = ", "[" * 5000, "\x00", 'target = "a\\u0000:b"', 'source = "x"'):
        yield "other code", f"a card {text[:20]!a}", _card("plugin_mine.py:mine", text)


def _card(target: str, text: str | None = None) -> Forge:
    """The methods by a card in place of the plug-in."""

    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        (root / "source" / "methods").mkdir()
        card = root / "source" / "methods" / "mine.toml"
        card.write_text(f'title = "x"\ntarget = "{target}"\n' if text is None else text)
        relist(root)
        value = json.loads((root / "submission.json").read_text())
        (root / "submission.json").write_text(json.dumps(value | {"card": "source/methods/mine.toml"}))
        return root

    return forge
