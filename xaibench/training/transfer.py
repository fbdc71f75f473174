"""The weights that a training starts from: those of the same task, or of other classes with a new head (transfer)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.download import address
from xaibench.models.open import load_weights
from xaibench.models.published import named_as_network, obtain
from xaibench.models.state import check_classes, class_count, load_state, read_state
from xaibench.training.find import file_of, named_file


def transferred_weights(card: ModelCard, choice: str, download: bool) -> Path:
    """The file of weights to transfer: those that a model's card has (`plain` or `aligned`), whatever data set they are
    for, or the file that choice names.

    Raises XaibenchError where the card has none, where the file is gone, and where it is not here yet and download does
    not allow to fetch it.
    """
    if choice not in ("plain", "aligned"):
        return named_file(choice)
    published = card.aligned if choice == "aligned" else card.plain
    if published is None:
        raise XaibenchError(
            f"model {card.name} has no published {choice} weights to transfer; name a file by --weights PATH"
        )
    if published.is_local:
        return file_of(card, published)
    if path := obtain(published, download):
        return path
    raise XaibenchError(
        f"the published {choice} weights of {card.name} on {published.dataset} are not here; "
        f"fetch them ({address(published)[0]}) by --download, or name a file by --weights PATH"
    )


def load_start(
    model: Model, path: Path, card: ModelCard, head: Collection[str] | None, classes: Sequence[str], dataset: str
) -> list[str]:
    """Loads weights into a model and returns the names of the tensors that keep their first values.

    These are the tensors of `head` that the weights have for other classes; head None wants weights that fit as they
    are and were trained on the classes of the data set. Raises XaibenchError for any other weights.
    """
    state = named_as_network(read_state(path), model.net, card)
    if head is not None:
        loaded = load_state(model.net, state, model.name, head)
        model.remarks = loaded.remarks
        return loaded.fresh
    if count := class_count(model.net, state):
        raise XaibenchError(
            f"weights {path} are for {count} classes, the data set has {model.classes}; "
            "start from them with a new head by --recipe start=transfer"
        )
    check_classes(state, classes, dataset)
    load_weights(model, state, "plain", card)
    return []
