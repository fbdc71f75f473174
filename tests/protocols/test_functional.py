"""`xaibench.functional`: every function has an example that runs, and says what it takes, gives and comes from."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import xaibench
from xaibench import functional, protocols

SCORE = r"_(score|share|difference|similarity|gain|iou|hit)$"  # how names of scores end
FUNCTIONS = [name for name in functional.__all__ if callable(getattr(functional, name))]


def examples(name: str) -> list[doctest.DocTest]:
    """The examples in the docstring of a function, which see no names but those that they import."""
    finder = doctest.DocTestFinder(recurse=False)
    return [test for test in finder.find(getattr(functional, name), name, globs={}) if test.examples]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(name):
    (example,) = examples(name)
    assert f"import {name}\n" in example.docstring or f"import box_masks, {name}\n" in example.docstring
    printed: list[str] = []
    assert doctest.DocTestRunner().run(example, out=printed.append).failed == 0, "".join(printed)


def test_the_example_of_the_module_runs():
    assert doctest.testmod(functional).failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_its_arguments_result_and_source(name):
    function = getattr(functional, name)
    text, arguments = inspect.getdoc(function), inspect.signature(function).parameters
    if name != "removal_counts":  # two numbers that its first sentence names
        described = text.split("Args:\n")[1].split("\n\n")[0]
        assert all(re.search(rf"^    {argument}: ", described, re.MULTILINE) for argument in arguments), name
        assert "Returns:\n" in text
    if (
        name.endswith(("_score", "_share", "_difference", "_gain", "_similarity", "_iou", "_hit"))
        and name != "tied_share"
    ):
        assert "Source: " in text, name
        assert re.search(r"(higher|lower) is (better|more alike)|the lower, the more|higher is sparser|FFid", text), (
            name
        )


def test_every_function_is_in_one_group_and_in_all():
    grouped = [function.__name__ for group in functional.GROUPS.values() for function in group]
    assert sorted(grouped) == sorted(FUNCTIONS)


def test_every_score_of_a_protocol_file_is_in_functional():
    """Whatever a protocol's file, or a helper, names a score is offered."""
    folder = Path(protocols.__file__).parent
    defined = {
        node.name
        for path in folder.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and re.search(r"^[a-z].*_(score|share|difference|similarity|iou|hit)$", node.name)
    }
    assert defined <= set(FUNCTIONS) and len(defined) >= 18


@pytest.mark.process
def test_import_xaibench_is_light_and_functional_is_found_from_it():
    code = (
        "import sys, xaibench; assert 'torch' not in sys.modules; assert 'functional' in dir(xaibench); "
        "import xaibench.protocols; assert 'torch' not in sys.modules; "
        "from math import isnan; spearman = xaibench.functional.spearman; import torch; "
        "assert float(spearman(torch.tensor([1., 2.]), torch.tensor([5., 9.]))) == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(xaibench.__file__).parents[1], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_functions_are_those_that_protocols_call(net, images, labels, maps, evidence):
    """Scores of `xaibench.score` are those of the function on what the protocol prepares."""
    from xaibench.protocols.single_deletion import deletion_drops

    drops = deletion_drops(evidence(net, images, labels), 4, "zero", "logit")
    expected = xaibench.score("sds", net, images, labels, maps)
    assert torch.equal(functional.single_deletion_score(drops, maps), expected)
    assert torch.equal(functional.sparseness_score(maps), xaibench.score("sparseness", net, images, labels, maps))


def test_f_fidelity_is_the_mean_fall_over_sizes_and_draws():
    intact, removed = torch.rand(5, dtype=torch.float64), torch.rand(5, 3, 2, 4, dtype=torch.float64)
    both = functional.f_fidelity_score(intact, removed)
    for pair in range(5):
        for side in range(2):
            falls = [float(intact[pair] - removed[pair, size, side, draw]) for size in range(3) for draw in range(4)]
            assert float(both[pair, side]) == pytest.approx(sum(falls) / 12, abs=1e-12)
    assert torch.allclose(functional.f_fidelity_score(intact, removed[:, :, 0]), both[:, 0])


def test_f_fidelity_of_a_batch_of_no_pairs():
    assert functional.f_fidelity_score(torch.zeros(0), torch.zeros(0, 2, 3)).shape == (0,)
