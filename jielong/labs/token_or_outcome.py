"""Learning token by token against learning by how it ends, where a locally bad step wins.

A number pyramid has two rows under its top, of two and three digits; one goes down to the left or to the right twice
and adds what one meets. Won is only who reaches the greatest sum there is. The players who are imitated see one row
ahead and take its larger digit, nine times of ten; in half of the pyramids that first step is wrong. All pyramids, all
paths and so the model's true chance of winning are enumerated; what is measured are pyramids that no training used.

Imitation of won games only is a rival, not a control: in so small a game a won one shows all that is to be known of it.
On the seed that settings were chosen with it won more than GRPO, so which of the two wins is told and not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import learning, playing
from jielong.labs.lab import Budget, part
from jielong.labs.playing import Floats
from jielong.labs.verdict import check, context, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.nets.transformer import Transformer
    from jielong.train.run import Work
    from jielong.units.codec import Tokenizer

CLAIM = {
    "en": "Learning token by token predicts the next step better and wins less; learning by the outcome takes the "
    "step that looks worse and wins.",
    "zh": "逐字學習比較會預測下一步，卻贏得比較少；按最後結果學習的模型，肯走眼前較差的一步，反而贏。",
}
SOURCE = {
    "en": "Lecture 8 (2024): supervised learning sees the next token, RL the whole; Shao et al. 2024, arXiv 2402.03300",
    "zh": "第 8 講（2024）：監督式學習只看下一個 token，RL 看整體結果；Shao et al. 2024（arXiv 2402.03300）",
}
EXPECT = {
    "en": "After the same start and the same operations: imitation foretells the players' steps best and wins as they "
    "do; GRPO, and imitation of won games only, which knows the outcomes too, win more; outcomes given to the wrong "
    "games teach nothing.",
    "zh": "起點與計算量相同：模仿最能猜中示範者的步子，贏得和示範者一樣多；GRPO 贏得更多，"
    "只模仿贏局（也知道結果）亦然；把結果發給別局就學不到東西。",
}
MINUTES, SEEDS = 5.0, 3
# Of seeds that are not measured (90 and above): these rates and sizes were chosen there.
STARTED, ITEMS = 30_000, 60_000  # games that the start has imitated, and that each way then imitates or plays
GENTLE, GOES_ON = 1 / 4, 1 / 4  # of the usual rates: GRPO's, and those of imitation that goes on
HEAT = 1.5  # of GRPO's draws: at 1 the rare first step that wins was sharpened away before it was learnt when it wins
RIGHT = 0.9  # of the players' steps go to the larger digit
UPPER, LOWER = 3, 9  # digits of each row
PATHS = ("<<", "<>", "><", ">>")
START, MORE, WON, GRPO, MIXED = "start", "imitation goes on", "won games imitated", "GRPO", "GRPO, mixed outcomes"
PLAYERS = "the players themselves"


def run(budget: Budget) -> Result:
    """Games won beside those of other ways, and how well the players' steps are foretold, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(split(0)[1])

    def of(name: str, figure: str) -> list[float]:
        return [one[name][figure] for one in found]

    def beyond(figure: str, one: str, other: str) -> list[float]:
        return [a - b for a, b in zip(of(one, figure), of(other, figure))]

    rows = [
        *(over_seeds(f"games won beyond {MORE}, {name}", beyond("won", name, MORE), "above", 0.0, MORE, n, "share")
          for name in (GRPO, WON)),
        over_seeds("GRPO's where the first step misleads", beyond("won, misleading", GRPO, MORE), "above", 0.0, MORE,
                   n, "share"),
        over_seeds("players' steps foretold by imitation beyond GRPO", beyond("accuracy", MORE, GRPO), "above", 0.0,
                   GRPO, n, "share"),
        _row("games won by GRPO beyond won games imitated", beyond("won", GRPO, WON), n),
        check(_row("games won by imitation beyond the players", beyond("won", MORE, PLAYERS), n), -0.05, 0.05),
        check(_row("games gained by GRPO with mixed outcomes", beyond("won", MIXED, START), n), high=0.03),
    ]  # fmt: skip
    for name in found[0]:
        rows += [_row(shown, of(name, figure), n, name) for figure, shown in FIGURES.items()]
    ways = {MORE: Words("imitation goes on", "繼續模仿"), WON: Words("won games imitated", "只模仿贏局"),
            GRPO: Words("GRPO", "GRPO"), MIXED: Words("mixed outcomes", "打亂結果")}  # fmt: skip
    spots = [Series(shown, of(name, "accuracy"), of(name, "won"), dots=True) for name, shown in ways.items()]
    axes = Axes(x=Words("players' steps foretold", "猜中示範者步子的比例"), y=Words("games won", "贏局的比例"))
    picture = lines(Words("Foretelling the next step, and winning", "猜中下一步與贏得整局"), spots, axes=axes)
    meta = {"mode": "float32, temperature 1", "headline": rows[0].name}
    return Result("token_or_outcome", "Token by token, or by the outcome", tuple(rows), series={"both": picture},
                  meta=meta)  # fmt: skip


FIGURES = {
    "won": "games won", "won, likeliest": "games won by always the likeliest path",
    "won, misleading": "games won where the first step misleads", "accuracy": "players' steps foretold",
    "loss": "nats of a player's step",
}  # fmt: skip


def _row(name: str, values: Sequence[float], n: int, group: str = "") -> Row:
    return context(name, values, n, "nats" if "nats" in name else "share", group)


@dataclass(frozen=True)
class Pyramid:
    """Two digits, and three below them."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]

    @property
    def text(self) -> str:
        """As a model reads it."""
        return f"{''.join(map(str, self.upper))}/{''.join(map(str, self.lower))}:"

    def sum(self, path: str) -> int:
        """What one meets on a path."""
        first, second = ((step == ">") * 1 for step in path)
        return self.upper[first] + self.lower[first + second]

    def wins(self, path: str) -> bool:
        """Whether no path has more."""
        return path in PATHS and self.sum(path) == max(map(self.sum, PATHS))

    def near(self, path: str) -> float:
        """The probability that a player who sees one row ahead goes this way; of equals the coin decides."""
        first = (path[0] == ">") * 1
        return _step(self.upper, path[0]) * _step(self.lower[first : first + 2], path[1])

    @property
    def misleading(self) -> bool:
        """Whether every best path begins with the smaller digit."""
        better = "<" if self.upper[0] > self.upper[1] else ">"
        return self.upper[0] != self.upper[1] and not any(self.wins(p) for p in PATHS if p[0] == better)


def _step(two: Sequence[int], way: str) -> float:
    if two[0] == two[1]:
        return 0.5
    return RIGHT if (two[1] > two[0]) == (way == ">") else 1 - RIGHT


def pyramids() -> list[Pyramid]:
    """All that mislead, and as many of the others, evenly chosen of all: who looks one row ahead is right as often as
    not about the first step."""
    every = [Pyramid(upper, lower) for upper in product(range(UPPER), repeat=2) if upper[0] != upper[1]
             for lower in product(range(LOWER), repeat=3)]  # fmt: skip
    traps, others = ([one for one in every if one.misleading is kind] for kind in (True, False))
    return traps + [others[i * len(others) // len(traps)] for i in range(len(traps))]


def split(seed: int) -> tuple[list[Pyramid], list[Pyramid]]:
    """Four fifths to learn from, and the others."""
    every = pyramids()
    order = noise.permutation(seed, len(every), "pyramids")
    return [every[i] for i in order if i % 5], [every[i] for i in order if i % 5 == 0]


def demonstrations(some: Sequence[Pyramid], n: int, seed: int) -> list[tuple[Pyramid, str]]:
    """`n` games of the players, the pyramids in turn."""
    heights = np.cumsum([[one.near(path) for path in PATHS[:-1]] for one in some], axis=1)
    chances = noise.uniform(noise.seed_of("players", seed), n=n)
    return [(some[i % len(some)], PATHS[int((heights[i % len(some)] <= u).sum())]) for i, u in enumerate(chances)]


def paths_of(model: Transformer, codec: Tokenizer, some: Sequence[Pyramid]) -> Floats:
    """(P, 4) the model's probability of each path."""
    texts = [one.text for one in some]
    first = playing.law(model, codec, texts, "<>")
    second = [playing.law(model, codec, [text + step for text in texts], "<>") for step in "<>"]
    return np.concatenate([first[:, :1] * second[0], first[:, 1:] * second[1]], axis=1)


def told(laws: Floats, some: Sequence[Pyramid]) -> dict[str, float]:
    """Figures of laws (P, 4), exact: shares of games won, at temperature 1 and by always the likeliest path, the first
    also where the larger digit misleads; and of the players' steps, how many are the likeliest ones, and their loss in
    nats."""
    won = np.array([[one.wins(path) for path in PATHS] for one in some], dtype=float)
    near = np.array([[one.near(path) for path in PATHS] for one in some])
    trap = np.array([one.misleading for one in some])
    first = np.stack([laws[:, :2].sum(1), laws[:, 2:].sum(1)], 1)  # (P, 2)
    right = 0.0
    for i in (0, 1):
        after = laws[:, 2 * i : 2 * i + 2]
        right += (near[:, 2 * i : 2 * i + 2].sum(1) * (first.argmax(1) == i)).mean() / 2
        right += near[np.arange(len(some)), 2 * i + after.argmax(1)].mean() / 2
    chances = (laws * won).sum(1)
    return {
        "won": float(chances.mean()), "won, likeliest": float(won[np.arange(len(some)), laws.argmax(1)].mean()),
        "won, misleading": float(chances[trap].mean()), "accuracy": float(right),
        "loss": float(-(near * np.log(np.maximum(laws, 1e-30))).sum(1).mean() / 2),
    }  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, dict[str, float]]:
    """Of every way, on pyramids that nobody learnt from; and of the players themselves."""
    train, kept = split(seed)
    codec = playing.codec_of("0123456789/:<>")
    size = budget.tokens / ITEMS if budget.tokens else (budget.minutes or MINUTES) / MINUTES
    items = ITEMS * size
    seen = demonstrations(train, 20_000, seed)
    start = learnt(playing.fresh(codec, seed), codec, seen, STARTED * size, seed, 1.0, budget)
    # The same operations: an answer that is drawn, read beside the start and learnt from costs five passes, one that
    # is imitated three.
    more = items * playing.ANSWER / playing.LEARN
    won = [(one, path) for one, path in seen if one.wins(path)]
    models = {
        START: start,
        MORE: learnt(start, codec, seen, more, seed, GOES_ON, budget),
        WON: learnt(start, codec, won, more, seed, GOES_ON, budget),
        GRPO: learning.learnt(by_outcome(start, codec, train, items, seed), budget.talk),
        MIXED: learning.learnt(by_outcome(start, codec, train, items, seed, mixed=True), budget.talk),
    }
    found = {name: told(paths_of(model, codec, kept), kept) for name, model in models.items()}
    return {**found, PLAYERS: told(np.array([[one.near(path) for path in PATHS] for one in kept]), kept)}


def learnt(
    model: Transformer, codec: Tokenizer, games: Sequence[tuple[Pyramid, str]], items: float, seed: int, gentle: float,
    budget: Budget,
) -> Transformer:  # fmt: skip
    """A copy that has imitated so many of these games."""
    said = [(one.text, path) for one, path in games]
    model = learning.learnt(playing.imitating(model, codec, said, items, seed, gentle), budget.talk)
    return model


def by_outcome(
    model: Transformer, codec: Tokenizer, some: Sequence[Pyramid], items: float, seed: int, mixed: bool = False,
    gentle: float = GENTLE,
) -> Work:  # fmt: skip
    """Won is 1, all else 0. `mixed`: each rollout's outcomes are given to answers drawn by lot."""
    from jielong.train.preferences.rollout_plan import Drawing

    known, rollout = {one.text: one for one in some}, [0]

    def won(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        found = [float(known[prompt].wins(path)) for prompt, path in zip(prompts, completions, strict=True)]
        rollout[0] += 1
        return [found[i] for i in noise.permutation(seed, len(found), "mixed", rollout[0])] if mixed else found

    drawing = Drawing(prompts=32, group=16, length=2, temperature=HEAT, epochs=1, minibatches=1, unfinished=0.0)
    return playing.rewarded(model, codec, [one.text for one in some], lambda _: won, drawing, items,
                            seed, gentle)  # fmt: skip
