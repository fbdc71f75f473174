"""What all pictures are held to."""

from __future__ import annotations

import pytest


def _clean(figure) -> None:
    """No text leaves the page, and none covers another."""
    figure.draw_without_rendering()
    ticks = [text for axes in figure.axes for text in axes.get_xticklabels()]
    boxes = [text.get_window_extent() for text in [*figure.texts, *ticks] if text.get_text()]
    page = figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.fixture
def assert_clean():
    """assert_clean(figure): no text leaves the page or covers another."""
    return _clean
