"""Training tasks by name, against the objects that they stand for."""

from __future__ import annotations

import re

import pytest

from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.training.adversarial import Adversarial
from xaibench.training.cgc import Cgc
from xaibench.training.classifier import Classification
from xaibench.training.fit_level import FitLevel
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.targets import Annotations
from xaibench.training.lico.task import Lico
from xaibench.training.tasks import TASKS, alignment_fields, make_task


@pytest.mark.parametrize(
    ("name", "options", "task"),
    [
        ("guided", {}, Guided()),
        (
            "guided",
            {"loss": "l1", "layer": "Mid2", "lambda": 0.2, "fraction": 0.1, "dilate": 0.5, "subset": 3,
             "over": "batch"},
            Guided("l1", stage="Mid2", weight=0.2, annotations=Annotations("boxes", 0.1, 0.5, 3), over="batch"),
        ),
        ("guided", {"layer": "input", "annotations": "mixture", "share_masks": 0.3},
         Guided(annotations=Annotations("mixture", share_masks=0.3))),
        ("guided", {"loss": "energy-star", "alpha": 1.0, "match": "energy", "attribution": "b-cos"},
         Guided("energy-star", "b-cos", alpha=1.0, match="energy")),
        ("cgc", {"lambda": 0.0}, Cgc(weight=0.0)),
        ("lico", {"terms": ["ot"], "prompt": "label-first", "text_encoder": "words"}, Lico(("ot",), "label-first")),
        ("adversarial", {"norm": "l2", "epsilon": 0.3, "steps": 4}, Adversarial("l2", 0.3, 4)),
        ("classifier", {"fit": "over"}, FitLevel("over")),
        ("classifier", {}, Classification()),
        ("lico", {"terms": "mm, ot", "text_encoder": "words"}, Lico()),
        ("adversarial", {"epsilon": "4/255", "step_size": "1/255"}, Adversarial(epsilon=4 / 255, step_size=1 / 255)),
        ("patch-deletion", {"grid": 8}, Classification(Alignment(grid=8, baseline="zero", probability=0.5))),
        ("random-masks", {"share": 0.3}, Classification(Alignment(kind="pixels", baseline="zero", probability=0.3))),
        ("part-deletion", {}, Classification(Alignment(kind="parts", probability=0.2))),
    ],
)  # fmt: skip
def test_options_make_the_task(name, options, task):
    assert make_task(name, options) == task and make_task(name, options).key_fields == task.key_fields


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("guide", {}, "no training task is called 'guide'; did you mean guided"),
        ("xyz", {}, "no training task is called 'xyz'; take classifier, patch-deletion"),
        ("guided", {"lamda": 1.0}, "no option 'lamda'; did you mean lambda"),
        ("guided", {"weight": 1.0}, "no option 'weight'"),
        ("guided", {"lambdas": 1.0}, "no option 'lambdas'; did you mean lambda"),
        ("guided", {"lambda": "much"}, "training task guided: --lambda 'much' is not a list of numbers"),
        ("guided", {"lambda": [0.1, 0.2]}, "2 lambdas are several trainings"),
        ("adversarial", {"lambda": 1.0}, "no option 'lambda'"),
        ("adversarial", {"name": "x"}, "no option 'name'"),
        ("adversarial", {"epsilon": "1/0"}, "--epsilon '1/0' is no number"),
        ("classifier", {"fit": "mostly"}, "--fit mostly is none of normal, over, under"),
        ("random-masks", {"share": 2.0}, "--share: "),
        ("patch-deletion", {"grid": 1}, "grid is at least 2"),
    ],
)
def test_mistakes_are_one_line(name, options, message):
    with pytest.raises(XaibenchError, match=re.escape(message)) as error:
        make_task(name, options)
    assert "\n" not in str(error.value)


def test_every_task_is_a_verb_of_the_command():
    from xaibench.cli.train import app

    assert set(TASKS) == {command.name for command in app.registered_commands}


@pytest.mark.parametrize(
    "alignment",
    [
        None,
        Alignment(grid=2, baseline="blur", probability=0.25),
        Alignment(kind="pixels", baseline="random", probability=0.1),
        Alignment(kind="parts", probability=0.3),
    ],
)
def test_an_alignment_is_a_task_with_options(alignment):
    fields = alignment_fields(alignment)
    assert make_task(fields["task"], fields.get("task_options", {})) == Classification(alignment)
