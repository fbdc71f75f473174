"""What the golden tests run: cases of result keys, of trainings, and of rows; and how keys are read from a folder.

Only `xaibench.run`, the command line and the files of a results folder are used here; see `internals.py` for the rest.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import internals
import numpy as np
from PIL import Image
from weights import facts_of, write_weights

import xaibench

HERE = Path(__file__).parent
MATERIAL = HERE / "material"
CARDS, METHOD, STOP = MATERIAL / "cards", MATERIAL / "golden_method.py", MATERIAL / "golden_stop.py"
STOPPED = "0-stop"
"""The method of `golden_stop.py`, whose name comes before all others: a run has registered its cells by then."""
SMALL = {"model": "golden_tiny", "weights": "tiny", "image_size": 32, "cards": [CARDS]}
PHOTO_CLASSES = ("ape", "bee", "cat", "dog")


def make_home(home: Path) -> None:
    """Fills a folder for XAIBENCH_HOME: fixed weights, the card of a guided model, and eight photos in four folders."""
    files = home / "weights"
    for model in ("critters_cnn", "bcos_critters_cnn", "vit_tiny_patch8_64"):
        write_weights(files / f"{model}.safetensors", model, facts_of(model, "critters"))
    tiny = "golden_tiny"
    write_weights(files / "tiny.safetensors", tiny, facts_of(tiny, "critters"))
    write_weights(files / "tiny-other.safetensors", tiny, facts_of(tiny, "critters"), variant=" other")
    write_weights(files / "photos.safetensors", tiny, facts_of(tiny, "imagefolder"), len(PHOTO_CLASSES))
    aligned = {"cells": internals.CELLS, "pixels": {"kind": "pixels", "baseline": "zero", "probability": 0.1}}
    aligned["grid8"] = {"grid": 8, "baseline": "blur", "probability": 0.5}
    for name, alignment in aligned.items():
        write_weights(files / f"tiny-{name}.safetensors", tiny, facts_of(tiny, "critters", alignment))
    guided = facts_of("critters_cnn", "critters", task="guided")
    write_weights(home / "models" / "critters_cnn-critters-guided-0" / "weights.safetensors", "critters_cnn", guided)
    card = home / "cards" / "models" / "golden_guided.toml"
    card.parent.mkdir(parents=True)
    card.write_text(GUIDED_CARD)
    for number in range(8):
        pixels = (np.arange(40 * 48 * 3).reshape(40, 48, 3) * (7 + number) // 5 % 256).astype(np.uint8)
        path = home / "photos" / PHOTO_CLASSES[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


GUIDED_CARD = """title = "guided critters_cnn on critters"
target = "xaibench.models.critters_cnn:vanilla"
cam_layer = "features"
tags = ["trained"]
plain = { dataset = "critters", file = "models/critters_cnn-critters-guided-0/weights.safetensors" }
stages = { Mid1 = "features.stage1", Mid2 = "features.stage2", Mid3 = "features.stage3", Final = "features" }
"""
"""As `xaibench train guided --name` writes it."""


def main_weights(home: Path) -> Path:
    """The weights of the main job; large, so they are made for the tests that need them alone."""
    path = home / "weights" / "resnet50.safetensors"
    if not path.is_file():
        write_weights(path, "resnet50", facts_of("resnet50", "critters", internals.CELLS))
    return path


# Keys of results --------------------------------------------------------------------------------------------------

JUDGES = (
    "box-iou,combined,deletion,difull,epg,grid-pg,ids,infidelity,insertion,insertion-gaussian,max-sensitivity,mosu,obey,"
    "part-deletion,pointing-game,randomization,road,sch,sds,sds-accuracy,seg-epg,sensitivity-n,ses,sparseness,srg,x-seg-epg,"
    "average-drop,average-gain,adcc,arcc,saco,efficient-mprt,random-logit"
)
"""Every protocol that judges plain weights, and one model alone."""

KEYS: dict[str, dict[str, Any]] = {
    "main job": {
        "protocols": "idsds", "model": "resnet50", "weights": "resnet50", "methods": None,
    },
    "several protocols": SMALL | {
        "protocols": "sds,epg,pointing-game,insertion", "methods": "ixg,grad-cam,oracle,random",
    },
    "every protocol": SMALL | {"protocols": f"{JUDGES},border-energy", "methods": "ixg"},
    "f-fidelity": SMALL | {"protocols": "f-fidelity", "weights": "tiny-pixels", "methods": "ixg"},
    "aligned, grid 8 blurred": SMALL | {
        "protocols": "idsds", "weights": "tiny-grid8", "settings": {"grid": 8, "baseline": "blur"}, "methods": "ixg",
        "image_size": 64,
    },
    "settings": SMALL | {
        "protocols": "sds", "methods": "ixg,random",
        "settings": {
            "grid": 2, "baseline": "random", "target": "prediction", "attribution_output": "probability",
            "drop_output": "probability",
        },
    },
    "plug-in method": SMALL | {"protocols": "sds", "methods": "golden-method", "plugins": [METHOD]},
    "plug-in protocol": SMALL | {
        "protocols": "golden-mass", "methods": "ixg", "plugins": [MATERIAL / "golden_protocol.py"],
        "settings": {"wide": True},
    },
    "network in a file": SMALL | {
        "protocols": "sds", "methods": "ixg,grad-cam", "model": f"{MATERIAL / 'golden_network.py'}:build",
    },
    "cards of one's own": SMALL | {
        "protocols": "sds", "methods": "golden-own,golden-ig,rise", "dataset": "golden-critters", "image_size": None,
    },
    "stage Final": {
        "protocols": "epg", "model": "critters_cnn", "weights": "critters_cnn", "layer": "Final",
        "methods": "ixg,grad-cam,ig",
    },
    "stage Mid1 of a small network": SMALL | {"protocols": "sds", "layer": "Mid1", "methods": "ixg"},
    "masks": SMALL | {"protocols": "obey", "masks": "masks", "settings": {"level": "annotations"}, "methods": "ixg"},
    "fitted threshold": SMALL | {
        "protocols": "box-iou", "settings": {"threshold": "fit", "held_out": 6}, "methods": "ixg,centre",
    },
    "guided, by its card": {"protocols": "epg", "model": "golden_guided", "methods": "ixg"},
    "guided, by its path": {"protocols": "epg", "model": "critters_cnn", "weights": "guided", "methods": "ixg"},
    "B-cos": {
        "protocols": "sds", "model": "bcos_critters_cnn", "weights": "bcos_critters_cnn",
        "methods": "b-cos,ixg,ig-u,rise-u",
    },
    "ViT": {
        "protocols": "sds", "model": "vit_tiny_patch8_64", "weights": "vit_tiny_patch8_64",
        "methods": "rollout,chefer-lrp,vit-grad-cam,ixg",
    },
    "two models": {
        "protocols": "model-similarity,sds", "model": "critters_cnn", "weights": "critters_cnn",
        "reference_model": "golden_tiny", "reference_weights": "tiny", "cards": [CARDS], "methods": "ixg",
    },
    "image size": SMALL | {"protocols": "sds", "image_size": 48, "methods": "ixg"},
    "data set options": SMALL | {
        "protocols": "sds", "dataset_options": {"rule": "one:beak", "background_correlation": 0.5}, "methods": "ixg",
    },
    "light profile": SMALL | {"protocols": "sds", "profile": "quick", "methods": "ig-sg,rise"},
    "paper profile": SMALL | {"protocols": "sds", "profile": "paper", "methods": "ig-sg,rise"},
    "float64": SMALL | {"protocols": "sds", "precision": "float64", "methods": "ixg"},
    "deleted to a blurred image": SMALL | {
        "protocols": "deletion", "settings": {"baseline": "blur"}, "methods": "ixg",
    },
    "masks clamped at the border": SMALL | {"protocols": "sds", "methods": "rise-clamped"},
    "seed 7": SMALL | {"protocols": "sds", "seed": 7, "methods": "rise"},
    "methods of other packages": SMALL | {
        "protocols": "sds", "methods": "occlusion,lime,deeplift,hires-cam,ablation-cam",
    },
    "photos": SMALL | {
        "protocols": "sds,grid-pg", "dataset": "imagefolder", "data_root": "photos", "weights": "photos",
        "methods": "ixg",
    },
}  # fmt: skip
"""Words of `xaibench.run` by the name of a case; weights, masks and data_root are names of files of the home."""


def words_of(case: str, home: Path) -> dict[str, Any]:
    """The words of `xaibench.run` of a case, with paths in the place of names."""
    words = dict(KEYS[case])
    if (name := words.get("weights")) is not None:
        guided = home / "models" / "critters_cnn-critters-guided-0" / "weights.safetensors"
        words["weights"] = str({"guided": guided}.get(name, home / "weights" / f"{name}.safetensors"))
    if name := words.get("reference_weights"):
        words["reference_weights"] = str(home / "weights" / f"{name}.safetensors")
    if name := words.get("data_root"):
        words["data_root"] = home / name
    if name := words.get("masks"):
        words["masks"] = home / name
        if not words["masks"].is_dir():
            cli("masks", "make", "--dataset", "critters", "--with", "annotations", "--images", 4, "--image-size", 32,
                "--out", words["masks"], "--quiet")  # fmt: skip
    return words


def cells_of(case: str, home: Path, out: Path) -> dict[str, dict[str, Any]]:
    """The cells that a case registers in a results folder, by `protocol/method`, as their files have them."""
    words = words_of(case, home)
    if case == "main job":
        main_weights(home)
    methods, protocols, plugins = words.pop("methods"), words.pop("protocols"), list(words.pop("plugins", ()))
    stopped = "layer" not in words  # at a stage plug-ins are not defined
    if stopped:
        methods, plugins = methods and f"{STOPPED},{methods}", [STOP, *plugins]
    try:
        xaibench.run(
            protocols, **words, methods=methods, plugins=plugins, images=1, out=out, device="cpu", quiet=True,
            batch_size=1, chunk_size=16,
        )  # fmt: skip
    except KeyboardInterrupt:
        return registered(out)
    assert not stopped, f"{case}: the run was not interrupted by its method {STOPPED}"
    return registered(out)


def registered(out: Path) -> dict[str, dict[str, Any]]:
    """The cells of the one run of a results folder, by `protocol/method`, without that of `golden_stop.py`."""
    (record,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    cells = [json.loads((out / "cells" / f"{key}.json").read_text()) for key in record["cells"]]
    named = {f"{cell['context']['protocol']['name']}/{method_label(cell['method'])}": cell for cell in cells}
    return {name: cell for name, cell in named.items() if not name.endswith(f"/{STOPPED}")}


def method_label(method: dict[str, Any] | None) -> str:
    """What boards call a method."""
    return "(none)" if method is None else method.get("label") or method["name"]


def pinned(cell: dict[str, Any]) -> dict[str, str]:
    """What keys.json has of a cell: its key and its board, and the source of a method of an installed package, which
    holds the version of that package."""
    source = (cell["method"] or {}).get("source", "")
    return {"cell": cell["key"], "board": cell["board"]} | ({"source": source} if len(source.split()) == 4 else {})


def key_by_hand(cell: dict[str, Any], source: str | None = None) -> str:
    """The key of a cell, from its file: 16 hex digits of BLAKE2b over canonical JSON without words for titles.

    source replaces that of its method, so that keys of methods of other packages can be compared between versions.
    """
    context = {name: without(part, ("label",)) for name, part in cell["context"].items()}
    method = without(cell["method"], ("label", "kind"))
    if source is not None:
        method = method | {"source": source}
    return hashed({"context": context, "method": method})


def board_by_hand(cell: dict[str, Any]) -> str:
    """The key of a cell's board: that of the context alone."""
    return hashed({"context": {name: without(part, ("label",)) for name, part in cell["context"].items()}})


def without(part: Any, words: Iterable[str]) -> Any:
    """A part of a context or a method without words for titles."""
    return {name: value for name, value in part.items() if name not in words} if isinstance(part, dict) else part


def hashed(value: Any) -> str:
    """16 hex digits of BLAKE2b over JSON with sorted keys, no spaces, and 1.0 written as 1."""
    text = json.dumps(whole(value), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def whole(value: Any) -> Any:
    """A JSON value with floats that are whole numbers as integers."""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def cli(*words: object) -> str:
    """What a command of xaibench prints, in this process."""
    from xaibench.cli import main

    before, printed = sys.argv, StringIO()
    sys.argv = ["xaibench", *map(str, words)]
    try:
        with redirect_stdout(printed):
            main()
    finally:
        sys.argv = before
    return printed.getvalue()


# Trainings --------------------------------------------------------------------------------------------------------

CRITTERS = ("--model", "critters_cnn", "--dataset", "critters")
FROM = ("--weights", "@START@")
TRAININGS: dict[str, tuple[str, ...]] = {
    "plain": ("train", "classifier", *CRITTERS),
    "plain resnet50": ("train", "classifier", "--model", "resnet50", "--dataset", "critters"),
    "plain B-cos": ("train", "classifier", "--model", "bcos_critters_cnn", "--dataset", "critters"),
    "plain ViT": ("train", "classifier", "--model", "vit_tiny_patch8_64", "--dataset", "critters"),
    "spurious": ("train", "classifier", "--model", "critters_cnn", "--dataset", "critters-spurious"),
    "card of one's own": (
        "train", "classifier", "--model", "golden_tiny", "--dataset", "golden-critters", "--cards", str(CARDS),
    ),
    "seed": ("train", "classifier", *CRITTERS, "--seed", "3"),
    "image size": ("train", "classifier", *CRITTERS, "--image-size", "32"),
    "data set option": ("train", "classifier", *CRITTERS, "--dataset-option", "rule=one:beak"),
    "recipe": (
        "train", "classifier", *CRITTERS, "--epochs", "3", "--learning-rate", "0.01", "--batch-size", "8",
        "--recipe", "weight_decay=0", "--recipe", "schedule=lico", "--recipe", "gradient_clip=0.5",
    ),
    "several fields that came later": (
        "train", "classifier", *CRITTERS, "--recipe", "optimizer=sgd", "--recipe", "accumulation=2",
        "--recipe", "schedule=step", "--recipe", "milestones=[1,2]", "--recipe", "class_weights=true",
    ),
    "started from weights": ("train", "classifier", *CRITTERS, "--recipe", "start=plain", *FROM),
    "overfitted": ("train", "classifier", *CRITTERS, "--fit", "over"),
    "underfitted": ("train", "classifier", *CRITTERS, "--fit", "under"),
    "aligned": ("train", "patch-deletion", *CRITTERS),
    "aligned resnet50": ("train", "patch-deletion", "--model", "resnet50", "--dataset", "critters"),
    "aligned, grid 8 blurred": (
        "train", "patch-deletion", *CRITTERS, "--grid", "8", "--baseline", "blur", "--probability", "0.25",
    ),
    "self-aligned": ("train", "patch-deletion", *CRITTERS, *FROM, "--teacher", "self", "--images", "32"),
    "random masks": ("train", "random-masks", *CRITTERS),
    "random masks, other share": ("train", "random-masks", *CRITTERS, "--share", "0.3", "--baseline", "random"),
    "part deletion": ("train", "part-deletion", *CRITTERS),
    "guided": ("train", "guided", *CRITTERS, *FROM),
    "guided by l1 at Final": (
        "train", "guided", *CRITTERS, *FROM, "--loss", "l1", "--layer", "Final", "--fraction", "0.1",
        "--lambda", "5e-3,1e-2", "--dilate", "0.1",
    ),
    "guided by energy-star, matched": (
        "train", "guided", *CRITTERS, *FROM, "--loss", "energy-star", "--match", "energy", "--over", "batch",
        "--annotations", "mixture", "--attribution", "grad-cam", "--layer", "Final", "--seed", "1",
    ),
    "LICO": ("train", "lico", *CRITTERS, "--text-encoder", "words"),
    "LICO by transport alone": (
        "train", "lico", *CRITTERS, "--text-encoder", "words", "--terms", "ot", "--prompt", "label-first",
    ),
    "adversarial": ("train", "adversarial", *CRITTERS, *FROM),
    "adversarial, l2": ("train", "adversarial", *CRITTERS, *FROM, "--norm", "l2", "--epsilon", "0.3", "--steps", "3"),
    "by a run, plain": ("run", "sds", "--model", "critters_cnn", "--methods", "ixg"),
    "by a run, aligned": ("run", "idsds", "--model", "resnet50", "--methods", "ixg"),
    "by a run, for masks": ("run", "f-fidelity", "--model", "critters_cnn", "--methods", "ixg"),
    "by a run, for parts": ("run", "part-deletion", "--model", "critters_cnn", "--methods", "ixg"),
    "by a run, otherwise": (
        "run", "sds", "--model", "critters_cnn", "--methods", "ixg", "--training-seed", "2", "--recipe", "epochs=4",
    ),
}  # fmt: skip
"""Commands by the name of a case; each asks for one training first. @START@ is a file of fixed weights."""
WITHOUT_A_VERB: dict[str, Callable[[str], str]] = {
    "CGC": lambda start: internals.training_folder("cgc", {}),
    "CGC, other settings": lambda start: internals.training_folder("cgc", {"lambda": 0.25, "crop": 0.5}, seed=1),
    "exported guided model": lambda start: internals.search_folder({}, (1e-3, 5e-3), start, choose="score"),
}
"""Trainings that no command names: the folder, given the path of fixed weights."""


def start_of(home: Path) -> str:
    """The fixed weights from which trainings start."""
    return str(home / "weights" / "critters_cnn.safetensors")


def training_by_command(case: str, home: Path) -> str:
    """The folder of the training that a command asks for first; nothing is trained."""
    words = [word.replace("@START@", start_of(home)) for word in TRAININGS[case]]
    with internals.planned_trainings() as found:
        try:
            cli(*words, "--device", "cpu", "--quiet")
        except SystemExit as end:
            if end.code != 130:
                raise AssertionError(f"{case}: the command ended with {end.code} before it trained") from end
    (folder,) = found
    return folder


# Rows -------------------------------------------------------------------------------------------------------------

FEW = "ixg,grad-cam,random"
ROWS: dict[str, dict[str, Any]] = {
    "methods": {
        "protocols": "sds,epg,pointing-game,insertion,insertion-gaussian", "images": 3,
        "methods": "ixg,ixg-sg,grad-cam,saliency,ig,ig-u,rise,rise-clamped,score-cam,full-grad,random,constant,centre,"
        "edges,oracle,occlusion,hires-cam,golden-method",
    },
    "single deletion in-domain": {"protocols": "idsds", "weights": "tiny-cells", "methods": FEW, "images": 6},
    "masked pixels": {"protocols": "f-fidelity", "weights": "tiny-pixels", "methods": FEW, "images": 2},
    "every protocol": {"protocols": JUDGES, "methods": FEW, "images": 2},
    "fitted threshold": {
        "protocols": "box-iou", "settings": {"threshold": "fit", "held_out": 6}, "methods": FEW, "images": 2,
    },
    "stage": {"protocols": "epg", "layer": "Mid1", "methods": "ixg,grad-cam,ig", "images": 2},
    "predictions": {
        "protocols": "sds", "methods": FEW, "images": 2,
        "settings": {"target": "prediction", "attribution_output": "probability", "drop_output": "probability"},
    },
    "two models": {
        "protocols": "model-similarity", "reference_model": "golden_tiny", "reference_weights": "tiny-other",
        "methods": None, "images": 3,
    },
}  # fmt: skip
"""Words of `xaibench.run` by the name of a case, for the small network; in float64, see `test_rows.py`."""
IDENTITY = (
    "case", "protocol", "dataset", "model", "reference_model", "method", "image_id", "image_digest", "target", "unit",
    "metric", "status", "prediction", "label", "correct",
)  # fmt: skip
"""The columns of rows that are pinned exactly."""


def rows_of(case: str, home: Path, out: Path) -> list[dict[str, str]]:
    """The rows of a case as they are pinned, sorted, every value as text ("" for null)."""
    words = SMALL | {"plugins": [METHOD], "precision": "float64"} | ROWS[case]
    for name in ("weights", "reference_weights"):
        if name in words:
            words[name] = str(home / "weights" / f"{words[name]}.safetensors")
    results = xaibench.run(
        words.pop("protocols"), **words, out=out, device="cpu", quiet=True, batch_size=4, chunk_size=64
    )
    assert set(results.rows["cell"]) == set(results.cells)
    found = [{"case": case} | {name: _text(value) for name, value in row.items()} for row in _records(results.rows)]
    return sorted(found, key=lambda row: [row[name] for name in IDENTITY] + [row["score"]])


def _records(rows: Any) -> Iterator[dict[str, Any]]:
    wanted = [*IDENTITY[1:], "score"]
    for values in rows[wanted].itertuples(index=False):
        yield dict(zip(wanted, values, strict=True))


def _text(value: Any) -> str:
    missing = value is None or value != value or str(value) == "<NA>"
    return "" if missing else f"{value:.10g}" if isinstance(value, float) else str(value)


def read_rows() -> dict[str, list[dict[str, str]]]:
    """The pinned rows by case."""
    found: dict[str, list[dict[str, str]]] = {}
    with (HERE / "rows.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["case"], []).append(row)
    return found
