"""Which tensors of a file are those of a network: names without the names of wrappers, and the one prefix that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

TRANSPARENT = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names of modules that only hold another one: of DataParallel, torch.compile, FSDP and activation checkpointing."""
USUAL = TRANSPARENT | {"model", "net"}
LOSSES = ("criterion.", "loss.", "loss_fn.", "loss_func.", "loss_function.")  # of a LightningModule
COUNTERS = ("num_batches_tracked", "n_averaged")  # of a BatchNorm and an average of weights; no prediction needs them


@dataclass(frozen=True)
class Match:
    """What lies below a prefix in a file.

    tensors: those of the network, by its own names. missing: names of the network that have none; extra: names that it
    does not have; both without counters of batches. left: names in the file that do not lie below the prefix. rivals:
    other prefixes below which the network is complete, too.
    """

    prefix: str
    tensors: dict[str, Tensor]
    missing: list[str]
    extra: list[str]
    left: list[str]
    rivals: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether the prefix is one that wrappers of the whole network add, and nothing lies beside it."""
        return not self.left and USUAL.issuperset(self.prefix.split(".")[:-1])


def match_names(net: nn.Module, tensors: Mapping[str, Tensor]) -> Match:
    """The tensors of a file that are those of a network, as far as names tell.

    Names are compared without those of wrappers. The prefix is that below which the network is complete and nothing
    else lies; of several, that whose tensors have the network's shapes; where several have, they are rivals. Where none
    is, the prefix is that below which most of the network lies.
    """
    expected = net.state_dict()
    hidden = TRANSPARENT | ({"linear"} if _is_bcos(net) else frozenset())
    own, given = _without(hidden, expected), _without(hidden, tensors)
    counts = Counter(prefix for name in given for prefix in _prefixes(name, own)) or Counter({"": 0})
    needed = {name for name in own if not name.endswith(COUNTERS)}
    whole = [prefix for prefix in counts if all(prefix + name in given for name in needed)]
    matches = [_below(prefix, own, given, tensors, whole) for prefix in whole or [counts.most_common(1)[0][0]]]
    complete = [match for match in matches if not match.missing and not match.extra]
    alike = [match for match in complete if all(t.shape == expected[k].shape for k, t in match.tensors.items())]
    best, *others = alike or complete or matches
    return replace(best, rivals=tuple(match.prefix for match in others if not match.missing and not match.extra))


def _below(
    prefix: str, own: Mapping[str, str], given: Mapping[str, str], tensors: Mapping[str, Tensor], whole: Collection[str]
) -> Match:
    """What lies below a prefix; names below a longer one of `whole` lie there, not here."""
    longer = tuple(other for other in whole if len(other) > len(prefix) and other.startswith(prefix))
    losses = () if prefix or any(name.startswith(LOSSES) for name in own) else LOSSES
    here = [n for n in given if n.startswith(prefix) and not n.startswith((*longer, *losses))]
    rest = {name.removeprefix(prefix): name for name in here}
    return Match(
        prefix,
        {own[name]: tensors[given[full]] for name, full in rest.items() if name in own},
        [own[name] for name in own if name not in rest and not name.endswith(COUNTERS)],
        [name for name in rest if name not in own and not name.endswith(COUNTERS)],
        [given[name] for name in given.keys() - set(here)],
    )


def _without(hidden: Collection[str], names: Collection[str]) -> dict[str, str]:
    """Names by themselves without the parts that are hidden; by themselves as they are where two would be one."""
    plain = {".".join(part for part in name.split(".") if part not in hidden): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def _prefixes(name: str, own: Collection[str]) -> Iterator[str]:
    """The beginnings of a name that leave a name of the network."""
    rest = name
    while True:
        if rest in own:
            yield name.removesuffix(rest)
        _, dot, rest = rest.partition(".")
        if not dot:
            return


def _is_bcos(net: nn.Module) -> bool:
    """Whether a network has B-cos layers, in whichever of the published classes (see `models/bcos_nets.py`)."""
    classes = {kind.__name__ for module in net.modules() for kind in type(module).__mro__}
    return not classes.isdisjoint({"BcosConv2d", "BcosLinear"})
