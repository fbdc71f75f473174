"""Which result `xaibench leaderboard` shows: one board, or what is made of it or of several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError


@dataclass(frozen=True)
class View:
    """What was asked for; the fields are the options of the command. selection: model, dataset, board and metric."""

    protocol: str | None
    out: Path
    selection: dict[str, str | None]
    by: str | None = None
    classes: str = "*"
    sort: str = "name"
    correlate: str | None = None
    pairs: bool = False
    agree: bool = False
    across: str | None = None
    pareto: bool = False
    cost: str | None = None
    meta_rank: bool = False

    def check(self) -> None:
        """Raises XaibenchError for options that do not go together."""
        given = {
            "--by": self.by and not (self.pareto and self.by == "model"), "--correlate": self.correlate,
            "--pairs": self.pairs, "--agree": self.agree, "--pareto": self.pareto, "--meta-rank": self.meta_rank,
        }  # fmt: skip
        tables = [option for option, used in given.items() if used]
        if len(tables) > 1:
            raise XaibenchError(f"{' and '.join(tables)} make different tables; give one of them")
        if self.by != "class" and (self.classes, self.sort) != ("*", "name"):
            raise XaibenchError("--class and --sort choose among classes; they need --by class")
        if self.across and not self.agree:
            raise XaibenchError("--across says what boards differ in; it needs --agree")
        if self.cost and (not self.pareto or self.by):
            raise XaibenchError("--cost is the x-axis of --pareto; of models (--by model) that is the accuracy")
        if self.protocol is None and not self.agree:
            raise XaibenchError("name a protocol; only --agree takes boards of several")
        if (self.agree or self.meta_rank) and (self.selection["board"] or self.selection["metric"]):
            option = "--agree" if self.agree else "--meta-rank"
            raise XaibenchError(
                f"{option} compares several boards by their main metrics; leave out --board and --metric"
            )

    def result(self) -> Any:
        """The result that was asked for; raises XaibenchError where the folder has none."""
        from xaibench import registry
        from xaibench.analysis.leaderboard import open_leaderboard

        chosen = {name: self.selection[name] for name in ("model", "dataset")}
        if self.meta_rank:
            from xaibench.analysis.alike import meta_rank_of_boards

            return meta_rank_of_boards(self.out, self.protocol, newest=registry.shipped_version, **chosen)
        if self.agree:
            from xaibench.analysis.alike import agreement_of_boards

            return agreement_of_boards(
                self.out, self.across or "protocol", self.protocol, newest=registry.shipped_version, **chosen
            )
        if self.by == "model":
            found = self._across_models()
            if self.pareto:
                from xaibench.analysis.pareto import pareto_of_models

                return pareto_of_models(found)
            return found
        found = open_leaderboard(self.out, self.protocol, newest=registry.shipped_version, **self.selection)
        if self.by:
            return found.breakdown(self.by, self.classes, self.sort)
        if self.correlate:
            return found.correlation(self.correlate)
        if self.pairs:
            return found.pairwise()
        if self.pareto:
            from xaibench.analysis.pareto import pareto_of_costs

            return pareto_of_costs(found, self.cost or "passes", found.surely_better)
        return found

    def _across_models(self) -> Any:
        from xaibench import registry
        from xaibench.analysis.across_models import across_models

        # a plug-in's protocol is not known, as this command does not load it
        known = self.protocol in registry.names("protocol")
        comparable = known and registry.card("protocol", self.protocol).comparable_across_models
        return across_models(
            self.out, self.protocol, comparable=comparable, newest=registry.shipped_version, **self.selection
        )
