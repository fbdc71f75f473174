"""What a scale of a study needs: what to fetch, how large it is, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from xaibench import registry
from xaibench.cards import StudyCard, StudyScale
from xaibench.cards.study import Scale
from xaibench.errors import XaibenchError


def cost(one: StudyScale) -> str:
    """Such as `about 1.5e+08 forward-equivalents, 11 hours of an H200 GPU`; "" where the card does not say."""
    parts = [f"about {one.forward_equivalents:.2g} forward-equivalents"] if one.forward_equivalents else []
    parts += [f"{one.gpu_hours:g} hours of an H200 GPU"] if one.gpu_hours else []
    return ", ".join(parts)


def needed(one: StudyScale) -> str:
    """What to fetch with sizes and places, and the cost, in one line; "" where nothing is needed."""
    fetch = [f"{it.what} ({it.gigabytes:g} GB{it.url and f', {it.url}'})" for it in one.fetch]
    return "; ".join(filter(None, [f"fetch {', '.join(fetch)}" if fetch else "", cost(one)]))


def scale_of(card: StudyCard, scale: Scale) -> StudyScale:
    """The scale of a study that can run; raises XaibenchError that says why it cannot."""
    one = card.scales.get(scale)
    runs = [name for name, other in card.scales.items() if other.runs_something]
    elsewhere = f"; it runs at the scale {', '.join(runs)}" if runs else ""
    if one is None:
        raise XaibenchError(f"study {card.name} ({card.item}) has nothing to run: {card.shows}")
    if not one.runs_something:
        raise XaibenchError(f"study {card.name} cannot run at the scale {scale}: {one.missing}{elsewhere}")
    return one


def chosen(asked: Sequence[str], scale: Scale) -> list[str]:
    """The names of studies, each once and in the order asked; a pattern such as `rao*` stands for those of its studies
    that run something at a scale. Raises XaibenchError for a pattern that none matches, and as `scale_of` does."""
    names: list[str] = []
    for pattern in asked:
        if not set(pattern) & set("*?["):
            scale_of(registry.card("study", pattern), scale)
            names.append(pattern)
            continue
        cards = [registry.card("study", name) for name in registry.names("study", pattern)]
        running = [card.name for card in cards if scale in card.scales and card.scales[scale].runs_something]
        if not running:
            why = f"that runs at the scale {scale} " if cards else ""
            raise XaibenchError(f"no study {why}matches {pattern!r}; `xaibench study ls` lists them")
        names += running
    return list(dict.fromkeys(names))


def check_data(card: StudyCard, scale: Scale, data_root: object) -> None:
    """Raises XaibenchError with what to fetch where a scale needs data and no folder is named."""
    one = scale_of(card, scale)
    if one.fetch and data_root is None:
        raise XaibenchError(f"study {card.name} at the scale {scale} needs --data-root DIR: {needed(one)}")
