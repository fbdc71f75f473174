"""What rows say of the image's own class and of the model's answer, against the data set and the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaibench
from xaibench.analysis.leaderboard import open_leaderboard
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.evaluation.rows import Predictions

SEVERAL = """
import numpy as np
import xaibench

@xaibench.dataset("several", geometry={"resize": 32, "crop": 32}, needs_root=False,
                  train_parameters={"count": 32}, validation_parameters={"count": 16},
                  recipe={"start": "scratch", "epochs": 1, "batch_size": 16, "learning_rate": 0.01})
class Several(xaibench.Dataset):
    name, classes = "several", ("a", "b", "c")
    def __init__(self, size, count=9):
        self.size, self.ids = size, [str(n) for n in range(count)]
    def load(self, image_id):
        pixels = np.random.default_rng(int(image_id)).integers(0, 255, (self.size, self.size, 3), dtype=np.uint8)
        return xaibench.Sample(image_id, pixels, self.labels(image_id)[0], image_id)
    def digest(self, image_id):
        return image_id
    def label(self, image_id):
        return self.labels(image_id)[0]
    def labels(self, image_id):
        return (int(image_id) % 3, (int(image_id) + 1) % 3)
"""


def run(protocols, **changes):
    arguments = {"model": "tiny", "dataset": "mini", "methods": "ixg,random", "images": 12, "quiet": True}
    return xaibench.run(protocols, **(arguments | changes))


def test_rows_say_the_label_and_whether_the_model_is_right(home):
    results = run("sds,obey,epg")
    rows, data = results.rows, Critters("test", 40, 32)
    assert rows["label"].tolist() == [data.label(image_id) for image_id in rows["image_id"]]
    assert rows["correct"].tolist() == (rows["prediction"] == rows["label"]).tolist()
    right = rows.drop_duplicates("image_id")["correct"].sum()
    assert right == results.manifest.accuracy["correct"]
    assert 0 < right < 12, "a model that is always right proves nothing"
    assert results.manifest.classes == list(data.classes)
    for protocol in ("sds", "obey", "epg"):
        found = results.leaderboard(protocol).breakdown("correctness").groups
        assert found["n_images"].tolist() == [12, right, 12 - right]


def test_any_of_several_labels_is_right(home, tmp_path):
    (tmp_path / "several.py").write_text(SEVERAL)
    rows = run("sds", dataset="several", plugins=[tmp_path / "several.py"], methods="ixg", images=9).rows
    labels = {str(n): (n % 3, (n + 1) % 3) for n in range(9)}
    expected = [said in labels[i] for said, i in zip(rows["prediction"], rows["image_id"], strict=True)]
    assert rows["correct"].tolist() == expected
    second = [said == labels[i][1] for said, i in zip(rows["prediction"], rows["image_id"], strict=True)]
    assert any(second), "the second label must be predicted somewhere, or this proves nothing"


def test_answers_of_predicted_classes_are_judged_one_by_one():
    answers = Predictions([0, 2], [frozenset({0, 1}), None])
    assert [answers.correct(0, target, True) for target in (0, 1, 2, None)] == [True, True, False, None]
    assert answers.correct(0, 2, False) is True, "a labelled class that is explained: the highest logit counts"
    assert answers.correct(1, 2, True) is answers.correct(1, 2, False) is None


def test_a_model_of_other_classes_has_no_right_answers(home, photos):
    from xaibench.models.state import save_state

    torch.manual_seed(0)
    from xaibench_test_network import build

    save_state(build(9), home / "nine.safetensors", {})
    results = run("sds", dataset="imagefolder", data_root=photos, weights=str(home / "nine.safetensors"),
                  settings={"target": "prediction"}, methods="ixg", images=4)  # fmt: skip
    assert results.rows["correct"].isna().all() and set(results.rows["label"]) <= {0, 1}
    with pytest.raises(XaibenchError, match="the model's classes are not those of the data"):
        results.leaderboard().breakdown("correctness")
    groups = open_leaderboard("results", "sds").breakdown("class").groups["group"].tolist()
    assert groups[0] == "all" and set(groups[1:]) <= {"ape", "bee"} and not np.array_equal(groups, ["all"])
