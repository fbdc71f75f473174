"""xaibench: which attribution method explains a vision model best, and which model designs can be explained best?

Public names are imported when they are first used, so that `import xaibench` and `xaibench ls` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xaibench._version import __version__
from xaibench.presentation import lay_out_with

_PUBLIC = {
    "attribute": "xaibench.attribution.api",
    "score": "xaibench.protocols.api",
    "run": "xaibench.evaluation.api",
    "RunConfig": "xaibench.evaluation.config",
    "named": "xaibench.evaluation.objects",
    "explain": "xaibench.explanation.api",
    "RegionLogits": "xaibench.segmentation",
    "predicted_region": "xaibench.segmentation",
    "Results": "xaibench.evaluation.api",
    "Leaderboard": "xaibench.analysis.leaderboard",
    "Explanation": "xaibench.explanation.result",
    "method": "xaibench.plugins",
    "model": "xaibench.plugins",
    "dataset": "xaibench.plugins",
    "protocol": "xaibench.plugins",
    "guidance_loss": "xaibench.plugins",
    "schedule": "xaibench.plugins",
    "recipe": "xaibench.plugins",
    "Dataset": "xaibench.datasets.base",
    "Sample": "xaibench.datasets.base",
    "Annotation": "xaibench.datasets.base",
    "Protocol": "xaibench.protocols.base",
    "Scores": "xaibench.protocols.base",
    "status_of": "xaibench.protocols.base",
    "Evidence": "xaibench.attribution.evidence",
    "XaibenchError": "xaibench.errors",
}

__all__ = [
    "Annotation", "Dataset", "Evidence", "Explanation", "Leaderboard", "Protocol", "RegionLogits", "Results",
    "RunConfig", "Sample", "Scores", "XaibenchError", "__version__", "attribute", "dataset", "explain", "functional",
    "guidance_loss", "method", "model", "named", "predicted_region", "protocol", "recipe", "run", "schedule", "score",
    "status_of",
]  # fmt: skip


def _page_of(result: Any) -> Any:
    return import_module("xaibench.report.pages").page_of(result)


lay_out_with(_page_of)


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("xaibench.functional")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'xaibench' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
