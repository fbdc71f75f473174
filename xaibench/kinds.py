"""The kinds of cards, and the plural of each: what folders, entry points and `xaibench ls` call them."""

from __future__ import annotations

PLURALS = {
    "method": "methods",
    "model": "models",
    "dataset": "datasets",
    "protocol": "protocols",
    "comparison": "comparisons",
    "loss": "losses",
    "schedule": "schedules",
    "recipe": "recipes",
    "study": "studies",
}
"""Of each kind; the names of folders in `registry/`, of entry-point groups and of what `xaibench ls` lists."""
