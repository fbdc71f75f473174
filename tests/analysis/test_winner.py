"""The mean of the best method on images that it was not chosen on: by hand, by all splits, and by simulation."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from xaibench.analysis.leaderboard import leaderboard
from xaibench.analysis.winner import held_out_mean


def test_it_is_the_mean_over_all_splits_into_halves():
    """Six images: all 20 choices of the half that chooses, written out."""
    scores = np.random.default_rng(1).normal(size=(6, 4))
    quoted, same = [], []
    for half in combinations(range(6), 3):
        other = [image for image in range(6) if image not in half]
        best = scores[list(half)].mean(axis=0).argmax()
        quoted.append(scores[other, best].mean())
        same.append(best == scores.mean(axis=0).argmax())
    found = held_out_mean(scores, splits=20_000)
    assert found == pytest.approx((np.mean(quoted), np.mean(same)), abs=0.01)
    assert held_out_mean(-scores, higher=False, splits=20_000) == (-found[0], found[1])


def test_a_method_that_always_wins_keeps_its_mean():
    scores = np.random.default_rng(0).random((9, 3))
    scores[:, 1] += 2
    mean, chosen = held_out_mean(scores)
    assert chosen == 1 and mean == pytest.approx(scores[:, 1].mean(), abs=0.02)  # halves of 4 and 5 weigh the same
    assert held_out_mean(scores[:8])[0] == pytest.approx(scores[:8, 1].mean(), abs=1e-12)


def test_identical_methods_count_as_one():
    scores = np.random.default_rng(0).random((10, 1))
    assert held_out_mean(np.hstack([scores, scores + 0.1 - 0.1]))[1] == 1


@pytest.mark.parametrize("wrong", [np.zeros((1, 3)), np.zeros((4, 0)), np.zeros(4), np.full((4, 2), np.nan)])
def test_what_has_no_halves(wrong):
    with pytest.raises(ValueError, match="scores"):
        held_out_mean(wrong)


def board_of(kit, scores: np.ndarray, kinds=("method",) * 9):
    import pandas as pd

    cells = [kit.cell(f"m{number}", kind=kind) for number, kind in zip(range(scores.shape[1]), kinds, strict=False)]
    names = kit.ids(len(scores))
    rows = [pd.DataFrame(kit.rows(cell, dict(zip(names, scores[:, i], strict=True)))) for i, cell in enumerate(cells)]
    return leaderboard(pd.concat(rows).assign(label=1, correct=True), cells, names)


def test_a_board_quotes_it_in_its_caption_and_in_json(kit):
    scores = np.random.default_rng(4).random((8, 3))
    scores[:, 2] += 5  # a control is neither chosen nor quoted
    board = board_of(kit, scores, ("method", "variant", "control"))
    mean, chosen = held_out_mean(scores[:, :2])
    assert board.winner.held_out == pytest.approx(mean, abs=1e-12) and board.winner.chosen == chosen
    best = f"m{scores[:, :2].mean(axis=0).argmax()}"
    assert f"{best} was chosen as the best on these images" in board.caption
    assert f"the best method's mean is {mean:.4f} (one half chooses" in board.caption
    written = json.loads(board.to_json())["winner"]
    assert (written["method"], written["held_out"]) == (best, pytest.approx(mean, abs=1e-12))


def test_boards_without_a_choice_quote_nothing(kit):
    scores = np.random.default_rng(4).random((8, 2))
    for board in (board_of(kit, scores[:7]), board_of(kit, scores[:, :1]), board_of(kit, scores, ("method", "oracle"))):
        assert board.winner is None and "chosen" not in board.caption
        assert json.loads(board.to_json())["winner"] is None


@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 16, 64])
@pytest.mark.parametrize("spread", [0.0, 0.03, 0.6])
def test_it_has_no_bias_upwards(images, spread):
    """Twelve methods whose true means are known: the plain mean of the best is too high where they are close, the
    quoted one is not, and is never much too low."""
    draws, truth = np.random.default_rng(images), np.linspace(0.5, 0.5 + spread, 12)
    errors = []
    for _ in range(400):
        scores = truth + 0.15 * (draws.normal(size=(images, 1)) + draws.normal(size=(images, 12)))
        best = scores.mean(axis=0).argmax()
        errors.append((scores[:, best].mean() - truth[best], held_out_mean(scores, splits=60)[0] - truth[best]))
    plain, honest = np.mean(errors, axis=0)
    deviation = np.std(errors, axis=0)[1] / 20  # of the mean over repetitions
    assert honest <= 3 * deviation, (plain, honest)
    assert honest >= -0.02 * (8 / images) - 3 * deviation, (plain, honest)
    if spread < 0.1:
        assert plain > 0.2 / np.sqrt(images) and abs(honest) < plain / 4, (plain, honest)
