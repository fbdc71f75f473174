"""A group of commands whose help has the whole first sentence of each command, on several lines where it is long."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperGroup

SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z])")  # and not that of "et al. 2023"


class Commands(TyperGroup):
    """A group of commands; see above."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the names of the commands and what they do into the help."""
        lines = [(name, self.line_of(ctx, name)) for name in self.commands]
        if lines:
            with formatter.section("Commands"):
                formatter.write_dl(lines)

    def line_of(self, ctx: Any, name: str) -> str:
        """What a command does, in one sentence."""
        text = self.get_command(ctx, name).help.split("\n\n")[0]
        return SENTENCE_END.split(" ".join(text.split()))[0]
