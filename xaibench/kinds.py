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
}
"""Of each kind: the folder is `registry/<plural>/`, the entry-point group `xaibench.<plural>`, the command `ls <plural>`."""
