"""Imitation first, then self-play: a tiny Transformer learns Nim from mediocre players, and then from itself.

Three heaps; a move takes one piece or more from one heap, and who takes the last piece wins. The players who are
imitated know how to end: with two heaps left they play perfectly, before that they take what they like. In self-play
the model draws moves in a position, plays each out against a copy of itself some times, and a move is worth the share
that it wins. The game is solved, and every strength is enumerated: no game is drawn to measure with. Whoever breaks
the rules has lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import learning, playing
from jielong.labs.lab import Budget, part
from jielong.labs.playing import Floats
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Level, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.nets.transformer import Transformer
    from jielong.units.codec import Tokenizer

CLAIM = {
    "en": "A model that imitates mediocre players and then plays against itself beats those it imitated, and imitation "
    "first makes self-play far quicker than from nothing.",
    "zh": "先模仿平庸的棋手、再與自己對弈的模型，會勝過它模仿的人；先模仿也讓自我對弈比從零開始快得多。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Silver et al. 2016 (AlphaGo), Nature 529, sections 1 and 2",
    "zh": "第 8 講（2024）；Silver et al. 2016（AlphaGo），Nature 529，第 1、2 節",
}
EXPECT = {
    "en": "Imitation is as strong as those it imitates, more imitation no stronger; self-play after it wins most games "
    "against them; self-play from nothing, or from the rules alone, lags behind. To win is not to play perfectly: the "
    "share of perfect moves may rise much later.",
    "zh": "模仿的模型和被模仿者一樣強，再多模仿也不更強；之後自我對弈就能贏他們多數的局；"
    "從零開始或只懂規則的自我對弈則落後。"
    "會贏不等於下得完美：最佳著法的比例可能晚得多才上升。",
}
MINUTES, SEEDS = 6.0, 3
# Of seeds that are not measured (90 and above): these rates and sizes were chosen there.
HEAPS, MOST = 3, 5  # heaps, and pieces that one may have
STARTED, ITEMS = 40_000, 50_000  # moves that are imitated first, and moves that are then drawn in self-play
GENTLE, GOES_ON = 1 / 10, 1 / 4  # of the usual rates: self-play's, and those of imitation that goes on
GAMES = 8  # that a drawn move is played out in
Heaps = tuple[int, ...]
MOVES = tuple(f"{heap}{n}" for heap in "abc"[:HEAPS] for n in range(1, MOST + 1))  # "b3": three from the second heap
IMITATION, MORE, PLAYED = "imitation", "imitation goes on", "imitation, then self-play"
RULES, NOTHING, MIXED = "rules only, then self-play", "self-play from nothing", "self-play, mixed outcomes"
IMITATED = "against the imitated"


def run(budget: Budget) -> Result:
    """Games won against those who were imitated, beside those of other ways, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(positions())

    def of(name: str, figure: str) -> list[float]:
        return [one["players"][name][figure] for one in found]

    def gained(one: str, other: str, figure: str) -> list[float]:
        return [a - b for a, b in zip(of(one, figure), of(other, figure))]

    rows = [
        over_seeds("games won against those imitated", of(PLAYED, IMITATED), "above", 0.5, "as strong", n, "share"),
        *(over_seeds(f"the same beyond {name}", gained(PLAYED, name, IMITATED), "above", 0.0, name, n, "share")
          for name in (MORE, RULES, NOTHING)),
        context("perfect moves gained by self-play", gained(PLAYED, MORE, "perfect"), n, "share"),
        check(context("games won by imitation against those imitated", of(IMITATION, IMITATED), n, "share"), 0.43,
              0.53),
        check(context("games gained by self-play with mixed outcomes", gained(MIXED, IMITATION, IMITATED), n, "share"),
              high=0.05),
        check(Row("games won by the perfect player against itself", games_won(table(perfect), table(perfect)), None, n,
                  truth=0.5, unit="share")),
    ]  # fmt: skip
    for name in found[0]["players"]:
        rows += [context(FIGURES[figure], of(name, figure), n, "share", name) for figure in FIGURES]
    for name, player in (("those imitated", mediocre), ("any move", rules)):
        rows += [Row(FIGURES[figure], value, None, n, unit="share", group=name)
                 for figure, value in strength(table(player)).items()]  # fmt: skip
    for name in (PLAYED, RULES, NOTHING):
        needed = [next((drawn for drawn, _, won in one["course"][name] if won > 0.6), None) for one in found]
        there = [drawn for drawn in needed if drawn is not None]
        rows.append(Row("seeds that came to win 60 % against those imitated", len(there) / len(needed), None,
                        len(needed), unit="share", group=name))  # fmt: skip
        if there:
            rows.append(Row("moves that this took", mean(there), None, len(there), group=name))
    meta = {"mode": "float32", "headline": rows[0].name}
    return Result("imitation_selfplay", "Imitation first, then self-play", tuple(rows), series=_picture(found),
                  meta=meta)  # fmt: skip


FIGURES = {
    "perfect": "perfect moves where it matters", "perfect, likeliest": "the same, always the likeliest move",
    "against the imitated": "games won against those imitated",
    "against the perfect": "games won against the perfect player",
}  # fmt: skip


def _picture(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = {PLAYED: Words("imitation first", "先模仿"), RULES: Words("rules first", "先學規則"),
             NOTHING: Words("from nothing", "從零開始"), MIXED: Words("mixed outcomes", "打亂結果")}  # fmt: skip
    curves = []
    for name, shown in names.items():
        every = [one["course"][name] for one in found]
        points = range(min(map(len, every)))
        curves.append(Series(shown, [every[0][i][0] for i in points],
                             [mean([one[i][2] for one in every]) for i in points]))  # fmt: skip
    axes = Axes(x=Words("operations, in moves of self-play", "計算量（以自我對弈的著數計）"),
                y=Words("games won", "贏局的比例"), y_range=(0.0, 1.0))  # fmt: skip
    levels = [Level(Words("as strong", "一樣強"), 0.5)]
    return {"course": lines(Words("Games won against those imitated", "贏過被模仿者的局"), curves, axes=axes,
                            levels=levels)}  # fmt: skip


@cache
def positions() -> tuple[Heaps, ...]:
    """All in which there is something to take."""
    return tuple(heaps for heaps in product(range(MOST + 1), repeat=HEAPS) if any(heaps))


def text(heaps: Heaps) -> str:
    """As a model reads it."""
    return "".join(map(str, heaps)) + ":"


def after(heaps: Heaps, move: str) -> Heaps | None:
    """What is left; None for what the rules forbid."""
    if move not in MOVES:
        return None
    heap, taken = "abc".index(move[0]), int(move[1:])
    return (*heaps[:heap], heaps[heap] - taken, *heaps[heap + 1 :]) if taken <= heaps[heap] else None


@cache
def solved() -> dict[Heaps, bool]:
    """By minimax, smaller positions first: whether who is to move can win. Nothing left: the other took the last."""
    wins: dict[Heaps, bool] = {(0,) * HEAPS: False}
    for heaps in positions():  # in the order of `product` every move leads to an earlier one
        wins[heaps] = any(not wins[left] for _, left in allowed(heaps))
    return wins


def table(choose: Callable[[Heaps], Mapping[str, float]]) -> Floats:
    """(P, M): a player's law in every position, uniform over the moves that `choose` weighs."""
    found = np.zeros((len(positions()), len(MOVES)))
    for row, heaps in zip(found, positions()):
        for move, weight in choose(heaps).items():
            row[MOVES.index(move)] = weight
    return found / found.sum(1, keepdims=True)


@cache
def allowed(heaps: Heaps) -> tuple[tuple[int, Heaps], ...]:
    """The number of each move that the rules allow, and what it leaves."""
    return tuple((i, left) for i, move in enumerate(MOVES) if (left := after(heaps, move)) is not None)


def rules(heaps: Heaps) -> dict[str, float]:
    """Any move that is allowed."""
    return {MOVES[i]: 1.0 for i, _ in allowed(heaps)}


def perfect(heaps: Heaps) -> dict[str, float]:
    """Those that win; any where none does."""
    return {MOVES[i]: 1.0 for i, left in allowed(heaps) if not solved()[left]} or rules(heaps)


def mediocre(heaps: Heaps) -> dict[str, float]:
    """With two heaps or fewer perfect; before, any."""
    return perfect(heaps) if sum(heap > 0 for heap in heaps) < HEAPS else rules(heaps)


def perfect_share(law: Floats) -> float:
    """Where it matters (some moves win and others do not): the probability of a move that wins, over positions."""
    best = table(perfect)
    matters = [solved()[heaps] and 0 < (best[i] > 0).sum() < len(allowed(heaps)) for i, heaps in enumerate(positions())]
    return float((law * (best > 0)).sum(1)[matters].mean())


def games_won(one: Floats, other: Floats) -> float:
    """The share that `one` wins against `other`, from all positions of three heaps, each once as the first to move and
    once as the second: by the recursion V(s) = sum_m p(m|s) (1 - V'(s after m)), V' the other's to move."""
    own, its = {(0,) * HEAPS: 0.0}, {(0,) * HEAPS: 0.0}
    for mine, theirs, heaps in zip(one, other, positions()):
        own[heaps] = sum(float(mine[i]) * (1 - its[left]) for i, left in allowed(heaps))
        its[heaps] = sum(float(theirs[i]) * (1 - own[left]) for i, left in allowed(heaps))
    full = [heaps for heaps in positions() if all(heaps)]
    return sum(own[heaps] + 1 - its[heaps] for heaps in full) / (2 * len(full))


def played_out(law: Floats, starts: Sequence[Heaps], *address: int) -> list[bool]:
    """Of each game that both sides play by this law: whether who is to move first wins."""
    heights = dict(zip(positions(), law.cumsum(1)))
    found, going, turn = [False] * len(starts), dict(enumerate(starts)), 0
    while going:
        chances = noise.uniform(noise.seed_of("played out", *address), turn, n=len(starts))
        for game, heaps in list(going.items()):
            chosen = int(np.searchsorted(heights[heaps], chances[game], side="right")) if any(heaps) else len(MOVES)
            left = after(heaps, MOVES[chosen]) if chosen < len(MOVES) else None
            if left is None:  # nothing to take, or nothing that may be taken: who is to move has lost
                found[game] = turn % 2 == 1
                del going[game]
            else:
                going[game] = left
        turn += 1
    return found


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of every way: how it plays in the end, and how it came there."""
    codec = playing.codec_of([*MOVES, *map(str, range(MOST + 1)), ":"])
    size = budget.tokens / ITEMS if budget.tokens else (budget.minutes or MINUTES) / MINUTES
    first, items, fresh = STARTED * size, ITEMS * size, playing.fresh(codec, seed)
    more = items * playing.ANSWER / playing.LEARN  # as many operations
    models, course = dict[str, Any](), dict[str, list[list[float]]]()
    models[IMITATION] = imitated(fresh, codec, mediocre, first, seed, 1.0, budget)
    models[MORE] = imitated(models[IMITATION], codec, mediocre, more, seed + 1, GOES_ON, budget)
    starts = {PLAYED: models[IMITATION], RULES: imitated(fresh, codec, rules, first, seed, 1.0, budget),
              NOTHING: fresh, MIXED: models[IMITATION]}  # fmt: skip
    for name, start in starts.items():
        spent = 0.0 if name == NOTHING else first * playing.LEARN / playing.ANSWER  # in moves of self-play
        drawn = items + (first * playing.LEARN / playing.ANSWER if name == NOTHING else 0.0)
        models[name], course[name] = self_play(start, codec, drawn, spent, seed, budget, name == MIXED)
    return {"players": {name: strength(law_of(model, codec)) for name, model in models.items()}, "course": course}


def strength(law: Floats) -> dict[str, float]:
    """Exact figures of a player's law, and of the same where it always takes its likeliest move."""
    likeliest = np.eye(len(MOVES))[law.argmax(1)]
    others = {"the imitated": table(mediocre), "the perfect": table(perfect)}
    return {"perfect": perfect_share(law), "perfect, likeliest": perfect_share(likeliest),
            **{f"against {name}": games_won(law, other) for name, other in others.items()}}  # fmt: skip


def law_of(model: Transformer, codec: Tokenizer) -> Floats:
    """(P, M) the model's law in every position; what is lacking to 1 are moves that there are not."""
    return playing.law(model, codec, [text(heaps) for heaps in positions()], MOVES)


def imitated(
    model: Transformer, codec: Tokenizer, player: Callable[[Heaps], Mapping[str, float]], items: float, seed: int,
    gentle: float, budget: Budget,
) -> Transformer:  # fmt: skip
    """A copy that has learnt to move as this player does, from 20 moves in every position."""
    chances, said = table(player).cumsum(1), []
    for i, heaps in enumerate(positions()):
        for u in noise.uniform(noise.seed_of("players", seed), i, n=20):
            said.append((text(heaps), MOVES[min(int(np.searchsorted(chances[i], u, side="right")), len(MOVES) - 1)]))
    work = playing.imitating(model, codec, said, items, seed, gentle)
    learnt: Transformer = learning.learnt(work, budget.talk)
    return learnt


def self_play(
    start: Transformer, codec: Tokenizer, items: float, spent: float, seed: int, budget: Budget, mixed: bool = False,
    gentle: float = GENTLE,
) -> tuple[Transformer, list[list[float]]]:  # fmt: skip
    """A copy that has learnt from playing itself; [moves drawn so far, share of perfect moves, won against those that
    are imitated] of every rollout. `mixed`: who has won is told of other games."""
    from jielong.train.preferences.rollout_plan import Drawing

    known, imitated = {text(heaps): heaps for heaps in positions()}, table(mediocre)
    drawing = Drawing(prompts=64, group=8, length=1, epochs=1, minibatches=2, unfinished=0.0)
    course: list[list[float]] = []

    def of(model: Transformer) -> Any:
        def won(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
            law, rollout = law_of(model, codec), len(course)
            course.append([spent + rollout * drawing.answers, perfect_share(law), games_won(law, imitated)])
            left = [after(known[prompt], move) for prompt, move in zip(prompts, completions, strict=True)]
            starts = [heaps or (0,) * HEAPS for heaps in left for _ in range(GAMES)]
            theirs = np.reshape(played_out(law, starts, seed, rollout), (-1, GAMES)).mean(1)  # the other is next
            found = [0.0 if heaps is None else 1.0 - float(share) for heaps, share in zip(left, theirs)]
            return [found[i] for i in noise.permutation(seed, len(found), "mixed", rollout)] if mixed else found

        return won

    work = playing.rewarded(start, codec, [*known], of, drawing, items, seed, gentle)
    model = learning.learnt(work, budget.talk)
    last = law_of(model, codec)
    return model, [*course, [spent + items, perfect_share(last), games_won(last, imitated)]]
