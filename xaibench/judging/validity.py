"""External validity: do methods that a protocol ranks high help a reader to find out which networks cheat?

Half of some networks use a planted shortcut (`suspects`). A fixed reader sees maps of one method, of half of the
networks, and learns which of them cheat; the area under its ROC curve on the other half says what the method's maps are
worth to somebody who looks for cheats (`reader`). A protocol never sees who cheats: it scores the same methods on the
networks that the reader learned from, and Kendall's tau-b says whether it puts methods in the order of their AUC on the
others.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xaibench import registry
from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.attribution.api import attribute
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, read_json, write_atomic, write_json
from xaibench.hashing import content_hash
from xaibench.judging import badges
from xaibench.judging.reader import area_with_interval, held_out_scores, reading_features
from xaibench.judging.suspects import ENCODING, NOISE, Suspect, folds, scenes, suspects
from xaibench.models.state import save_state
from xaibench.protocols.api import score

VERSION = 1  # raise with every change of the numbers that are stored
METHODS: Mapping[str, Mapping[str, Any]] = {
    "saliency": {}, "ixg": {}, "ig": {"steps": 16}, "grad-cam": {}, "occlusion": {"stride": 0.125},
    "rise": {"masks": 100, "keep": 0.5}, "edges": {}, "random": {},
}  # fmt: skip
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {"deletion": {}, "insertion": {}, "sds": {}, "sparseness": {}}
LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """What is computed: how many networks (half of them cheat; at least 8, a multiple of 4), images of which the reader
    sees maps, images on which protocols score, the noise of networks, and methods and protocols with what overrides
    their cards."""

    networks: int = 40
    images: int = 8
    scored_images: int = 2
    noise: float = NOISE
    seed: int = 0
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: METHODS)
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PROTOCOLS)

    def __post_init__(self) -> None:
        if self.networks < 8 or self.networks % 4:
            raise XaibenchError(f"{self.networks} networks make no two halves; give a multiple of 4, at least 8")
        if not 1 <= self.scored_images <= self.images:
            raise XaibenchError(f"{self.scored_images} scored images of {self.images}; give 1 to as many as there are")

    def key(self, *about: object) -> str:
        """A hash of what decides stored maps or scores: also versions of drawings, and of cards."""
        fields = VERSION, badges.VERSION, self.seed, self.images, self.noise
        return content_hash(repr((fields, about)).encode())[:16]


@dataclass(frozen=True)
class Validity:
    """methods: for each method `auc`, `low`, `high`. protocols: for each protocol `tau`, `low`, `high`, and the share
    of scores that are `undefined`. Intervals are of 95 %, over networks."""

    methods: pd.DataFrame
    protocols: pd.DataFrame


def external_validity(folder: Path, setting: Setting, tell: Callable[[str], None] = lambda line: None) -> Validity:
    """Computes what is missing in a folder, which keeps each network's weights, maps and scores, and reads it all.

    An interrupted computation continues where it stopped. tell gets a line per network. Raises XaibenchError for
    unknown methods and protocols.
    """
    dataset = scenes(seed=setting.seed)
    ids = dataset.image_list(setting.images)
    inputs = ENCODING(np.stack([dataset.load(i).image for i in ids])).contiguous()
    chosen = suspects(dataset, setting.networks, setting.seed, setting.noise)
    maps: dict[str, list[np.ndarray]] = {name: [] for name in setting.methods}
    scores: dict[str, list[list[list[float]]]] = {name: [] for name in setting.protocols}
    for suspect in chosen:
        own = _maps_of(folder, setting, suspect, inputs, ids)
        for name, found in own.items():
            maps[name].append(found)
        for name in setting.protocols:
            scores[name].append(_scores_of(folder, setting, suspect, inputs, ids, own, name))
        tell(suspect.name)
    cheats, halves = np.array([s.cheats for s in chosen]), folds(len(chosen))
    read = {name: held_out_scores(reading_features(np.stack(m)), cheats, halves) for name, m in maps.items()}
    areas = {name: area_with_interval(r, cheats, halves)._asdict() for name, r in read.items()}
    readers = np.stack(list(read.values()))
    rows = {}
    for name, values in scores.items():
        better = 1 if registry.card("protocol", name).higher_is_better else -1
        array = np.array(values, dtype=np.float64)  # (networks, methods, images)
        rows[name] = prediction(better * mean_of_defined(array), readers, cheats, halves, setting.seed)
        rows[name]["undefined"] = float(np.isnan(array).mean())
    return Validity(pd.DataFrame(areas).T, pd.DataFrame(rows).T)


def _maps_of(
    folder: Path, setting: Setting, suspect: Suspect, inputs: torch.Tensor, ids: Sequence[str]
) -> dict[str, np.ndarray]:
    """The maps (images, H, W) float32 of each method about a suspect, about the class that it predicts."""
    found: dict[str, np.ndarray] = {}
    targets = _predictions(suspect, inputs)
    for name, overrides in setting.methods.items():
        card = registry.card("method", name)
        key = setting.key(name, card.version, sorted((card.parameters | dict(overrides)).items()))
        path = folder / "maps" / f"{name}-{key}" / f"{suspect.name}.npy"
        if not path.is_file():
            made = attribute(suspect.network, inputs, targets, name, image_ids=ids, seed=setting.seed, **overrides)
            _store(folder, setting, suspect, path, made[:, 0].numpy())
        found[name] = np.load(path, allow_pickle=False)
    return found


def _store(folder: Path, setting: Setting, suspect: Suspect, path: Path, maps: np.ndarray) -> None:
    weights = folder / "networks" / setting.key() / f"{suspect.name}.safetensors"
    if not weights.is_file():
        make_folder(weights.parent)
        save_state(suspect.network, weights, {"name": suspect.name, "cheats": suspect.cheats, "mark": suspect.mark})
    buffer = io.BytesIO()
    np.save(buffer, maps.astype(np.float32))
    make_folder(path.parent)
    write_atomic(path, buffer.getvalue(), durable=False)


def _scores_of(
    folder: Path, setting: Setting, suspect: Suspect, inputs: torch.Tensor, ids: Sequence[str],
    maps: Mapping[str, np.ndarray], protocol: str,
) -> list[list[float]]:  # fmt: skip
    """The scores of each method's maps about a suspect on the first images, NaN where undefined."""
    settings, few = setting.protocols[protocol], setting.scored_images
    card = registry.card("protocol", protocol)
    methods = [(m, registry.card("method", m).version, sorted(o.items())) for m, o in setting.methods.items()]
    key = setting.key(card.version, sorted((card.parameters | dict(settings)).items()), few, methods)
    path = folder / "scores" / f"{protocol}-{key}" / f"{suspect.name}.json"
    if not path.is_file():
        targets = _predictions(suspect, inputs)[:few]
        given = [torch.from_numpy(maps[name][:few, None]) for name in setting.methods]
        values = [
            score(
                protocol, suspect.network, inputs[:few], targets, m, image_ids=ids[:few], seed=setting.seed, **settings
            )
            for m in given
        ]
        make_folder(path.parent)
        write_json(path, [[None if np.isnan(v) else v for v in row.tolist()] for row in values])
    return [[np.nan if v is None else v for v in row] for row in read_json(path)]


@torch.no_grad()
def _predictions(suspect: Suspect, inputs: torch.Tensor) -> list[int]:
    return suspect.network(inputs).argmax(1).tolist()


def mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Means (...,) over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(scores)
    count = defined.sum(-1)
    return np.where(count > 0, np.where(defined, scores, 0).sum(-1) / np.maximum(count, 1), np.nan)


def prediction(
    quality: np.ndarray, readers: np.ndarray, cheats: np.ndarray, halves: np.ndarray, seed: int, resamples: int = 1000
) -> dict[str, float]:
    """Kendall's tau-b between a protocol's order of methods and that of the reader's AUCs, and its 95 % interval.

    quality (networks, methods), higher is better; readers (methods, networks) are the reader's held-out scores. For
    each half the protocol's means are over the other half. The interval is the percentile bootstrap over networks,
    cheats and others apart; it does not cover that other methods might have been chosen. NaN where an order is a tie of
    all, or the protocol is undefined on all networks of a half for a method.
    """
    pairs = [(np.flatnonzero((halves == h) & cheats), np.flatnonzero((halves == h) & ~cheats)) for h in (0, 1)]
    ones = np.ones(len(cheats))
    value = float(_tau(quality, readers, pairs, [ones, ones]))
    dice = np.random.default_rng([seed, VERSION])
    drawn = np.array([_tau(quality, readers, pairs, [_counts(dice, pairs, len(cheats)) for _ in (0, 1)])
                      for _ in range(resamples)])  # fmt: skip
    if np.isnan(drawn).any():
        return {"tau": value, "low": np.nan, "high": np.nan}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"tau": value, "low": float(low), "high": float(high)}


def _counts(dice: np.random.Generator, pairs: Sequence[tuple[np.ndarray, ...]], networks: int) -> np.ndarray:
    """How often each network is drawn where each group of networks is resampled, float64 (networks,)."""
    counts = np.zeros(networks)
    for group in (group for pair in pairs for group in pair):
        counts += np.bincount(dice.choice(group, len(group)), minlength=networks)
    return counts


def _tau(quality: np.ndarray, readers: np.ndarray, pairs: Sequence[tuple[np.ndarray, ...]], counts: list) -> float:
    """The mean over both halves; counts: of each network where AUCs, and where the protocol's means are taken."""
    found = []
    for half, (cheating, honest) in enumerate(pairs):
        difference = readers[:, cheating, None] - readers[:, None, honest]
        wins = (difference > 0) + 0.5 * (difference == 0)
        areas = np.einsum("mij,i,j->m", wins, counts[0][cheating], counts[0][honest]) / (len(cheating) * len(honest))
        other = np.concatenate(pairs[1 - half])
        values = quality[other]
        weights = counts[1][other, None] * ~np.isnan(values)
        if (weights.sum(0) == 0).any():
            return np.nan
        means = np.where(np.isnan(values), 0, values * weights).sum(0) / weights.sum(0)
        found.append(float(rank_correlation(order_of(means), order_of(areas)).tau))
    return float(np.mean(found))


def record(validity: Validity) -> str:
    """The numbers as JSON text."""
    return json.dumps({"methods": validity.methods.to_dict("index"), "protocols": validity.protocols.to_dict("index")})
