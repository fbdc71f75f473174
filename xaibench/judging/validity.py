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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xaibench import registry
from xaibench.attribution.api import attribute
from xaibench.cards import MethodCard, ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, read_json, write_atomic, write_json
from xaibench.hashing import content_hash
from xaibench.judging import badges
from xaibench.judging.prediction import mean_of_defined, prediction
from xaibench.judging.reader import area_with_interval, held_out_scores, reading_features
from xaibench.judging.suspects import ENCODING, NOISE, Suspect, folds, scenes, suspects
from xaibench.models.state import save_state
from xaibench.protocols.api import score

VERSION = 1  # raise with every change of the numbers that are stored
METHODS: Mapping[str, Mapping[str, Any]] = {
    "saliency": {}, "ixg": {}, "ig": {"steps": 16}, "grad-cam": {}, "occlusion": {"stride": 0.125},
    "rise": {"masks": 100, "keep": 0.5}, "edges": {}, "random": {},
}  # fmt: skip
CONTROLS = ("edges", "random", "centre", "constant")  # maps that are the same for every network
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {"deletion": {}, "insertion": {}, "sds": {}, "sparseness": {}}


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
    """methods: for each method `auc`, `low`, `high`. protocols: for each protocol `tau`, `low`, `high`, the same
    `_without_controls`, which nearly every protocol puts last, and the share of scores that are `undefined`. Intervals
    are of 95 %, over networks."""

    methods: pd.DataFrame
    protocols: pd.DataFrame


def external_validity(folder: Path, setting: Setting, tell: Callable[[str], None] = lambda line: None) -> Validity:
    """Computes what is missing in a folder, which keeps each network's weights, maps and scores, and reads it all.

    An interrupted computation continues where it stopped. tell gets a line per network. Raises XaibenchError for
    unknown methods and protocols, and for protocols that need what these scenes do not have, such as boxes.
    """
    dataset = scenes(seed=setting.seed)
    ids = dataset.image_list(setting.images)
    inputs = ENCODING(np.stack([dataset.load(i).image for i in ids])).contiguous()
    chosen = suspects(dataset, setting.networks, setting.seed, setting.noise)
    maps: dict[str, list[np.ndarray]] = {name: [] for name in setting.methods}
    scores: dict[str, list[list[list[float]]]] = {name: [] for name in setting.protocols}
    for suspect in chosen:
        targets = _Targets(suspect, inputs)
        own = _maps_of(folder, setting, suspect, inputs, ids, targets)
        for name, found in own.items():
            maps[name].append(found)
        for name in setting.protocols:
            try:
                scores[name].append(_scores_of(folder, setting, suspect, inputs, ids, targets, own, name))
            except XaibenchError as error:
                raise XaibenchError(f"protocol {name} cannot score maps of these networks: {error}") from error
        tell(suspect.name)
    cheats, halves = np.array([s.cheats for s in chosen]), folds(len(chosen))
    read = {name: held_out_scores(reading_features(np.stack(m)), cheats, halves) for name, m in maps.items()}
    areas = {name: area_with_interval(r, cheats, halves)._asdict() for name, r in read.items()}
    readers = np.stack(list(read.values()))
    real = [i for i, name in enumerate(maps) if name not in CONTROLS]
    rows = {}
    for name, values in scores.items():
        better = 1 if registry.card("protocol", name).higher_is_better else -1
        array = np.array(values, dtype=np.float64)  # (networks, methods, images)
        quality = better * mean_of_defined(array)
        rows[name] = prediction(quality, readers, cheats, halves, setting.seed)
        rest = prediction(quality[:, real], readers[real], cheats, halves, setting.seed)
        rows[name] |= {f"{column}_without_controls": value for column, value in rest.items()}
        rows[name]["undefined"] = float(np.isnan(array).mean())
    return Validity(pd.DataFrame(areas).T, pd.DataFrame(rows).T)


def _maps_of(
    folder: Path, setting: Setting, suspect: Suspect, inputs: torch.Tensor, ids: Sequence[str], targets: _Targets
) -> dict[str, np.ndarray]:
    """The maps (images, H, W) float32 of each method about a suspect, about the class that it predicts."""
    found: dict[str, np.ndarray] = {}
    for name, overrides in setting.methods.items():
        card = registry.card("method", name)
        key = setting.key(name, card.version, sorted((card.parameters | dict(overrides)).items()), *_code(card))
        path = folder / "maps" / f"{name}-{key}" / f"{suspect.name}.npy"
        if not path.is_file():
            made = attribute(
                suspect.network, inputs, targets.predicted, name, image_ids=ids, seed=setting.seed, **overrides
            )
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
    targets: _Targets, maps: Mapping[str, np.ndarray], protocol: str,
) -> list[list[float]]:  # fmt: skip
    """The scores of each method's maps about a suspect on the first images, NaN where undefined."""
    settings, few = setting.protocols[protocol], setting.scored_images
    card = registry.card("protocol", protocol)
    used = {m: registry.card("method", m) for m in setting.methods}
    methods = [(m, used[m].version, sorted(o.items()), *_code(used[m])) for m, o in setting.methods.items()]
    key = setting.key(card.version, sorted((card.parameters | dict(settings)).items()), few, methods, *_code(card))
    path = folder / "scores" / f"{protocol}-{key}" / f"{suspect.name}.json"
    if not path.is_file():
        classes = targets.predicted[:few]
        given = [torch.from_numpy(maps[name][:few, None]) for name in setting.methods]
        values = [
            score(
                protocol, suspect.network, inputs[:few], classes, m, image_ids=ids[:few], seed=setting.seed, **settings
            )
            for m in given
        ]
        make_folder(path.parent)
        write_json(path, [[None if np.isnan(v) else v for v in row.tolist()] for row in values])
    return [[np.nan if v is None else v for v in row] for row in read_json(path)]


def _code(card: MethodCard | ProtocolCard) -> tuple[str, ...]:
    """What keys say of code of other people, which may change without a version; nothing for code of xaibench."""
    return (source,) if (source := registry.source(card)) else ()


@dataclass
class _Targets:
    """The classes that a suspect predicts, which are explained: computed when something needs them, and once."""

    suspect: Suspect
    inputs: torch.Tensor

    @cached_property
    def predicted(self) -> list[int]:
        with torch.no_grad():
            return self.suspect.network(self.inputs).argmax(1).tolist()


def record(validity: Validity) -> str:
    """The numbers as JSON text."""
    return json.dumps({"methods": validity.methods.to_dict("index"), "protocols": validity.protocols.to_dict("index")})
