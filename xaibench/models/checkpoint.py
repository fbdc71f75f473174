"""What torch.save has written, read so that nothing in it is executed: tensors, and the records that lie beside them.

Records of settings are of classes that torch does not make by itself. Those below are harmless, and nobody needs their
content: a stand-in takes the place of each, so that neither the class nor its package is imported.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import XaibenchError, one_line
from xaibench.models.file_kinds import RESAVE, damaged_part

EXTRACT = "save its weights alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net")
ATTRIBUTE_DICTS = {
    "lightning.fabric.utilities.data": "AttributeDict", "lightning_fabric.utilities.data": "AttributeDict",
    "lightning.pytorch.utilities.parsing": "AttributeDict", "pytorch_lightning.utilities.parsing": "AttributeDict",
    "easydict": "EasyDict", "addict.addict": "Dict", "munch": "Munch", "box.box": "Box", "box.box_list": "BoxList",
    "ml_collections.config_dict.config_dict": "ConfigDict", "mmengine.config.config": "Config ConfigDict",
    "mmcv.utils.config": "Config ConfigDict", "yacs.config": "CfgNode", "fvcore.common.config": "CfgNode",
    "detectron2.config.config": "CfgNode",
}  # fmt: skip
PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
OMEGACONF = {
    "omegaconf.dictconfig": "DictConfig", "omegaconf.listconfig": "ListConfig",
    "omegaconf.base": "ContainerMetadata Metadata UnionNode",
    "omegaconf.nodes": "AnyNode StringNode IntegerNode FloatNode BooleanNode BytesNode PathNode EnumNode",
    "typing": "Any", "builtins": "dict list tuple str int float bool bytes",
}  # fmt: skip
MAPPINGS = {
    "argparse": "Namespace", "types": "SimpleNamespace", "collections": "defaultdict", **ATTRIBUTE_DICTS,
    "pathlib": PATHS, "pathlib._local": PATHS, **OMEGACONF,
}  # fmt: skip
VALUES = {
    "numpy": "dtype ndarray", "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct", "datetime": "datetime date time timedelta timezone",
    "uuid": "UUID", "torch.torch_version": "TorchVersion",
}  # fmt: skip
_ONE_AT_A_TIME = threading.Lock()  # torch keeps the classes that it may make in one list for all threads


class _Mapping:
    """In place of a class of settings: an OrderedDict, the one mapping that torch fills and gives attributes."""

    def __new__(cls, *content: Any) -> Any:
        return OrderedDict()


class _Value:
    """In place of a class of values: an object that knows nothing."""

    def __new__(cls, *content: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *content: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _stand_ins() -> list[type]:
    """A class for each of those above, with its name, by which torch finds it."""
    return [
        type(name, (base,), {"__module__": module})
        for base, harmless in ((_Mapping, MAPPINGS), (_Value, VALUES))
        for module, names in harmless.items()
        for name in names.split()
    ]


STAND_INS = _stand_ins()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file of torch.save by name, on the CPU, and the names of further state dicts that are in it.

    The tensors are those of the mapping that is called as checkpoints call their state dict (`WRAPPERS`); where there
    is none, all in the file, with the names of the mappings that they lie in (`student.conv1.weight`). Raises
    XaibenchError where the file is damaged, where it refers to classes or functions that are not harmless, and where it
    holds no tensors.
    """
    if part := damaged_part(path):
        raise XaibenchError(f"weights {path} are damaged: {part} in it has another checksum; copy or download it again")
    loaded = _load(path)
    if not isinstance(loaded, dict):
        raise XaibenchError(f"weights {path} contain no state dict, but a thing of type {type(loaded).__name__}")
    for wrapper in WRAPPERS:
        if isinstance(loaded.get(wrapper), dict) and (tensors := _tensors(loaded[wrapper])):
            others = {name: _tensors(value) for name, value in loaded.items() if name != wrapper}
            return tensors, [str(name) for name, found in others.items() if any(t.ndim for t in found.values())]
    if tensors := _tensors(loaded):
        return tensors, []
    if any(isinstance(value, _Value) for value in loaded.values()):
        raise XaibenchError(f"weights {path} contain no state dict of tensors, but NumPy arrays: save them as tensors")
    if "param_groups" in loaded or any(str(name).startswith("optim") for name in loaded):
        raise XaibenchError(f"weights {path} contain no state dict of a network, but the state of an optimizer")
    names = ", ".join(str(name) for name in list(loaded)[:5])
    raise XaibenchError(f"weights {path} contain no state dict{f', but: {names}' if names else ''}")


def _tensors(mapping: Any, depth: int = 4) -> dict[str, Tensor]:
    """The tensors in mappings with text for keys, at most `depth` deep; names are joined by dots."""
    found: dict[str, Tensor] = {}
    for name, value in mapping.items() if isinstance(mapping, dict) else ():
        if not isinstance(name, str):  # the state of an optimizer, by number
            continue
        if isinstance(value, Tensor) and not value.is_nested:  # which have no shape
            found[name] = value
        elif depth > 1:
            found |= {f"{name}.{rest}": tensor for rest, tensor in _tensors(value, depth - 1).items()}
    return found


def _load(path: Path) -> Any:
    quiet = warnings.catch_warnings(action="ignore")  # of torch about other pickle protocols
    try:
        # a file, since torch goes by the names of paths
        with path.open("rb") as file, _ONE_AT_A_TIME, torch.serialization.safe_globals(STAND_INS), quiet:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise XaibenchError(f"weights {path} cannot be loaded as weights only: {_reason(path, error)}") from error


def _reason(path: Path, error: Exception) -> str:
    """Why torch did not read a file, in one line; torch itself says it in many."""
    text = one_line(error)
    if refused := _refused(path, text):
        own = [name for name in refused if not name.startswith("torch.")]
        names = f"{(own or refused)[0]}{f' and {len(refused) - 1} more' if len(refused) > 1 else ''}"
        if any(name.startswith("torch.nn.modules.") for name in refused):
            return f"it holds a network itself ({names}), which only its code can make; {RESAVE}"
        return f"it refers to {names}, which reading it would make or run; if you trust it, {EXTRACT}"
    if "Unsupported operand" in text:
        return "it is saved with another pickle_protocol than torch's own; save it without that option"
    if (mark := "WeightsUnpickler error:") in text:
        return f"{text.partition(mark)[2].partition('Check the documentation')[0].strip()}; {RESAVE}"
    return f"it is damaged or cut short ({text.split('. ')[0].strip()}); copy or download it again"


def _refused(path: Path, text: str) -> list[str]:
    """The classes and functions that a file names and that are not harmless; only the first where a file is not a zip
    archive, from what torch says."""
    try:
        with path.open("rb") as file, _ONE_AT_A_TIME, torch.serialization.safe_globals(STAND_INS):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # another pickle protocol, the older format, or a damaged file
        return re.findall(r"GLOBAL (\S+) (?:was not|whose module)", text)
