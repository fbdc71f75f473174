"""From what is stored to one row for each judged protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from xaibench.analysis.intervals import mean_intervals
from xaibench.hashing import digest
from xaibench.judging.attacks import attack_gap
from xaibench.judging.bench import NO_ORDER, NO_TRUTH, open_bench
from xaibench.judging.config import TRUTHS, VERSION, JudgeConfig
from xaibench.judging.metaquantus import consistency
from xaibench.judging.response import REACHED, discordant_pairs, steps_needed
from xaibench.judging.stability import halves, kendall, mean_of_known, meta_rank_tau
from xaibench.judging.store import JudgedFolder
from xaibench.protocols.base import UNDEFINED_MAP, UNDEFINED_REFERENCE

VARIANTS = ("seed", "baseline", "grid", "training")


@dataclass
class Stored:
    """All that is stored of one protocol: its identity, and by network the rows and the cost."""

    label: str
    identity: Mapping[str, Any]
    rows: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    costs: list[Mapping[str, float]] = field(default_factory=list)

    def of(self, network: str, what: str) -> pd.DataFrame:
        """The rows of a network of one kind."""
        parts = (table[table["what"] == what] for table in self.rows[network])
        return pd.concat([part for part in parts if len(part)] or [self.rows[network][0].head(0)], ignore_index=True)


def stored_protocols(config: JudgeConfig) -> list[Stored]:
    """Every protocol that was judged in the folder of a request with its images and seed, and on its networks alone.

    Rows of networks and images as earlier versions made them are left out.
    """
    folder, found = JudgedFolder(config.out), {}
    networks = [open_bench(name, config).identity for name in config.chosen_networks]
    for key, record in folder.records().items():
        identity = record["identity"]
        network = identity["network"]
        if identity["version"] == VERSION and identity["seed"] == config.seed and network in networks:
            name = digest(identity["protocol"])
            each = found.setdefault(name, Stored(identity["label"], identity["protocol"]))
            each.rows.setdefault(network["name"], []).append(folder.rows(key))
            if record["cost"]:
                each.costs.append(record["cost"])
    return sorted(found.values(), key=lambda each: each.label)


def ladders(stored: Stored, truth: str) -> dict[tuple[str, str], pd.DataFrame]:
    """Qualities of the ladders of a truth, by network and kind of degradation: images x doses, doses rising."""
    found = {}
    for network in stored.rows:
        rows = stored.of(network, "ladder")
        rows = rows[(rows["truth"] == truth) & ~rows["status"].isin((NO_TRUTH, NO_ORDER))]
        for kind, part in rows.groupby("name"):
            found[network, kind] = part.pivot(index="image_id", columns="dose", values="quality").astype(np.float64)
    return found


def of_truth(stored: Stored, truth: str) -> dict[str, float]:
    """What the ladders of a truth say of a protocol.

    discordant with its interval over (network, image), tied; images: the median over kinds and steps of the images
    needed to tell two neighbouring steps apart, from the mean effect over networks; unreached: the share of steps that
    are never told apart; ladders: how many there are. NaN where there is none.
    """
    found = ladders(stored, truth)
    each = []
    for (network, _), table in found.items():
        pairs = discordant_pairs(table.to_numpy())
        each.append(pd.DataFrame({"unit": network + " " + table.index, **pairs._asdict()}))
    kinds = sorted({kind for _, kind in found})
    needed = [
        step
        for kind in kinds
        for step in steps_needed([table.to_numpy() for (_, other), table in found.items() if other == kind])
    ]
    numbers = dict.fromkeys(("discordant", "low", "high", "tied", "images", "unreached"), math.nan)
    known = pd.concat(each).dropna().groupby("unit").mean() if each else pd.DataFrame()
    if len(known):
        low, high = mean_intervals(known[["discordant"]].to_numpy(), None, (0.0, 1.0))
        numbers |= {
            "discordant": known["discordant"].mean(), "low": low[0], "high": high[0], "tied": known["tied"].mean(),
            "images": float(np.median([step.images for step in needed])),
            "unreached": float(np.mean([step.status != REACHED for step in needed])),
        }  # fmt: skip
    return numbers | {"ladders": sum(len(table) for table in found.values())}


def worth(stored: Stored, network: str, truth: str) -> pd.DataFrame:
    """Qualities of the attacks, of a random map and of the true map (column `true`), all on the same images: those that
    were attacked and have this truth."""
    attacked, steps = stored.of(network, "attack"), stored.of(network, "ladder")
    true = steps[(steps["truth"] == truth) & (steps["dose"] == 0)].groupby("image_id")["quality"].mean().dropna()
    table = attacked.pivot(index="image_id", columns="name", values="quality").astype(np.float64)
    return table.join(true.rename("true"), how="inner")


def attacks(stored: Stored, truth: str) -> dict[str, float]:
    """The attack gap of each attack, the median over networks where the true map is worth more than a random one."""
    gaps: dict[str, list[float]] = {}
    for network in stored.rows:
        means = worth(stored, network, truth).mean()
        for name in means.index.difference(["true", "random"]) if "random" in means else ():
            gaps.setdefault(name, []).append(attack_gap(means["true"], means[name], means["random"]))
    known = {name: [gap for gap in values if math.isfinite(gap)] for name, values in gaps.items()}
    return {name: float(np.median(values)) if values else math.nan for name, values in known.items()}


def board(stored: Stored, network: str, what: str) -> pd.DataFrame:
    """Qualities of the methods of a variant: images x methods."""
    rows = stored.of(network, what)
    return rows.pivot(index="image_id", columns="name", values="quality").astype(np.float64)


def stability(stored: Stored) -> dict[str, float]:
    """Kendall's tau of the ranking of methods, mean over networks: under each variant, between halves of the images, of
    all (`stable`); Meta-Rank (`meta_rank`) and MetaQuantus' mean consistency (`metaquantus`)."""
    taus: dict[str, list[float]] = {name: [] for name in (*VARIANTS, "images", "meta_rank", "metaquantus")}
    for network in stored.rows:
        boards = {what: board(stored, network, what) for what in ("methods", *VARIANTS)}
        boards = {what: table for what, table in boards.items() if len(table)}
        if "methods" not in boards:
            continue
        whole = boards["methods"]
        for what in VARIANTS:
            if what in boards:
                pair = (mean_of_known(each[whole.columns].to_numpy().T) for each in (whole, boards[what]))
                taus[what].append(kendall(*pair))
        taus["images"].append(kendall(*halves(whole.to_numpy().T)))
        same_images = {what: table for what, table in boards.items() if what != "training"}
        taus["meta_rank"].append(meta_rank_tau(same_images))
        small, disruptive = (board(stored, network, what) for what in ("small-noise", "disruptive-noise"))
        found = consistency(*(each[whole.columns].to_numpy().T for each in (whole, small, disruptive)))
        taus["metaquantus"].append(math.nan if found is None else found.score)
    means = {name: _mean(values) for name, values in taus.items()}
    return means | {"stable": _mean([means[name] for name in (*VARIANTS, "images")])}


def _mean(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def undefined(stored: Stored) -> dict[str, float]:
    """Shares of scored ladder maps that were undefined by the map's fault, and by nobody's."""
    rows = pd.concat([stored.of(network, "ladder") for network in stored.rows])
    scored = rows[~rows["status"].isin((NO_TRUTH, NO_ORDER))]["status"]
    return {
        "undefined_map": float((scored == UNDEFINED_MAP).mean()),
        "undefined_reference": float((scored == UNDEFINED_REFERENCE).mean()),
    }


def summary(stored: Stored) -> dict[str, Any]:
    """The row of a protocol. Attacks and gaps are of the worst attack, costs means for an image."""
    row: dict[str, Any] = {"protocol": stored.label, "networks": len(stored.rows)}
    for truth in TRUTHS:
        row |= {f"{name}_{truth}": value for name, value in of_truth(stored, truth).items()}
        gaps = {name: gap for name, gap in attacks(stored, truth).items() if math.isfinite(gap)}
        worst = min(gaps, key=gaps.__getitem__) if gaps else ""
        row |= {f"attack_{truth}": worst, f"gap_{truth}": gaps.get(worst, math.nan)}
    row |= stability(stored) | undefined(stored)
    for name in ("shared_passes", "passes", "shared_seconds", "seconds"):
        row[name] = _mean([cost[name] for cost in stored.costs])
    return row
