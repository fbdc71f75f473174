"""Ways of training by name, against the tasks that they stand for."""

from __future__ import annotations

import pytest

from xaibench.errors import XaibenchError
from xaibench.training.adversarial import Adversarial
from xaibench.training.cgc import Cgc
from xaibench.training.fit_level import FitLevel
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.targets import Annotations
from xaibench.training.lico.task import Lico
from xaibench.training.tasks import WAYS, task_of


@pytest.mark.parametrize(
    ("way", "options", "task"),
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
    ],
)  # fmt: skip
def test_options_make_the_task(way, options, task):
    assert task_of(way, options) == task and task_of(way, options).key_fields == task.key_fields


@pytest.mark.parametrize(
    ("way", "options", "words"),
    [
        ("guide", {}, "no way of training is called 'guide'; take guided"),
        ("guided", {"lamda": 1.0}, "no option 'lamda'; did you mean lambda"),
        ("guided", {"weight": 1.0}, "no option 'weight'"),
        ("guided", {"lambda": "much"}, "training guided with"),
        ("adversarial", {"lambda": 1.0}, "no option 'lambda'"),
        ("adversarial", {"name": "x"}, "no option 'name'"),
        ("classifier", {}, "training classifier with"),
    ],
)
def test_mistakes_are_one_line(way, options, words):
    with pytest.raises(XaibenchError, match=words) as error:
        task_of(way, options)
    assert "\n" not in str(error.value)


def test_every_way_is_a_verb_of_the_command():
    from xaibench.cli.train.options import app

    assert set(WAYS) <= {command.name for command in app.registered_commands}
