"""How many inputs the fuzzers try, by kind."""

from __future__ import annotations

import test_options
import test_readers
import test_results_folder


def test_there_are_three_thousand_inputs():
    kinds = {
        "files": test_readers.EXAMPLES, "options": test_options.EXAMPLES,
        "results folders": test_results_folder.EXAMPLES,
        "no files": {(what, name): 1 for what in test_results_folder.ODD for name in test_results_folder.PLACES},
    }  # fmt: skip
    counts = {kind: sum(examples.values()) for kind, examples in kinds.items()}
    print(counts, sum(counts.values()))
    assert sum(counts.values()) >= 3000
