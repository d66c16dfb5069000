"""All tokens of an answer at once, beside one after another: what it spoils, and what it saves.

Where a question has two right answers, slots that are written at once answer for different ones: counted, beside the
closed form of the product of the marginals, questions with one right answer as control. Then the time of one reading
beside that of as many steps as there are tokens, with the operations of both counted.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import several, timing
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, judge, mean, over_seeds

if TYPE_CHECKING:
    from jielong.nets.config import TransformerConfig
    from jielong.units.codec import Tokenizer

CLAIM = {
    "en": "Writing all tokens of a text at once takes about as many operations as one after another and less time; "
    "but where several answers are right, it mixes them into what is none.",
    "zh": "一次寫出所有標記，總運算量與一個接一個差不多，時間卻較少；但有好幾個正確答案時，會把它們混成四不像。",
}
SOURCE = {
    "en": "Lecture 15 (2024): AR and NAR; Gu et al. 2018 (arXiv 1711.02281)",
    "zh": "第 15 講（2024）：按部就班與齊頭並進；Gu et al. 2018（arXiv 1711.02281）",
}
EXPECT = {
    "en": "Mixed answers about as often as the marginals say where two are right, none where one is, none one after "
    "another; one step in place of as many as tokens, less time for a text, operations within a sixth. Of several "
    "texts at a time the steps are shared anyway, and less is to be saved.",
    "zh": "有兩個正確答案時，混雜的比例約等於邊際機率的乘積所說；只有一個答案、或一個接一個寫時沒有混雜。"
    "步數從標記數降為一步，寫一篇的時間變少，運算量相差不到六分之一。同時寫好幾篇時，步數本來就由大家分攤，省得較少。",
}
MINUTES, SEEDS = 5.0, 3
QUESTIONS, DRAWS = 100, 4
WIDE, DEEP, VOCAB = 256, 8, 1024  # of the model that is timed
PROMPT, WRITTEN, ROUNDS = 32, 64, 9
BATCHES = (1, 8)


def run(budget: Budget) -> Result:
    """Every seed trains a model of each kind, and times random weights; rounds are pooled."""
    answers = max(several.BATCH, round(several.ANSWERS * (budget.minutes or MINUTES) / MINUTES))
    parts = [part(budget, ("answers", seed), partial(measure, budget, seed, answers)) for seed in budget.seeds]
    times = [part(budget, ("times", seed), partial(timed, budget, seed)) for seed in budget.seeds]
    columns = {name: [one["figures"][name] for one in parts] for name in parts[0]["figures"]}
    means = {name: mean(values) for name, values in columns.items()}
    n = QUESTIONS * DRAWS * len(parts)
    pooled = {name: [ratio for one in times for ratio in one[name]] for name in times[0]}
    rows = [
        over_seeds("mixed, two right answers, all at once", columns["mixed, two, at-once"], "above",
                   means["mixed, two, next-token"], several.ONE, n, unit="share"),
        over_seeds("mixed, two right answers less one, all at once", columns["lead"], "above", 0.0, "no more", n,
                   unit="share"),
    ]  # fmt: skip
    one, many = (pooled[f"time, {batch}"] for batch in BATCHES)
    name = f"time for {WRITTEN} tokens, all at once, times {several.ONE}"
    shrunk = _ratio("that ratio for several texts, times that for one", [b / a for a, b in zip(one, many)], "one text")
    rows += [judge(_ratio(f"{name}, one text", one), "below"), judge(shrunk, "above")]
    rows.append(_ratio(f"{name}, {BATCHES[1]} texts together", many))
    rows += _context(means, n) + _controls(means, n)
    return Result("all_at_once", "All at once, or one after another", tuple(rows),
                  meta={"mode": "temperature 1, float32; times: fast, float32", "seen": parts[0]["seen"]})  # fmt: skip


def _ratio(name: str, values: list[float], control: str = several.ONE) -> Row:
    """The median of ratios, each of times in one round."""
    value, interval = timing.middle(values)
    return Row(name, value, interval, len(values), 1.0, control, unit="times", note=f"1 step in place of {WRITTEN}")


def _context(means: dict[str, float], n: int) -> list[Row]:
    """Rows that explain, without a verdict."""
    rows = []
    for name, group in ((several.AFTER, several.ONE), ("at-once", "all at once")):
        for kind in ("right", "mixed", "wrong"):
            truth = means["product"] if (name, kind) == ("at-once", "right") else None
            rows.append(Row(f"{kind}, two right answers", means[f"{kind}, two, {name}"], None, n, truth=truth,
                            unit="share", group=group))  # fmt: skip
    steps = Row("steps that wait for each other, mean", means["steps"], None, n, control=1.0,
                control_name="all at once", unit="steps", group=several.ONE)  # fmt: skip
    return [*rows, steps]


def _controls(means: dict[str, float], n: int) -> list[Row]:
    """Who is asked about things with one answer knows it, both ways; operations are about as many."""
    rows = [
        check(Row("right, one right answer", means[f"right, one, {name}"], None, n, unit="share", group=group), low=0.8)
        for name, group in ((several.AFTER, several.ONE), ("at-once", "all at once"))
    ]
    config = _config()
    ratio = operations(config, PROMPT, WRITTEN, False) / operations(config, PROMPT, WRITTEN, True)
    counted = Row("operations, all at once, times one after another", ratio, None, 1, unit="times")
    return [*rows, check(counted, low=0.9, high=1.16)]


def measure(budget: Budget, seed: int, answers: int) -> dict[str, Any]:
    """Shares of what both models write, for questions with two right answers and with one."""
    from jielong.infer.parallel import Passes

    world = several.world_of(seed)
    found: dict[str, float] = {}
    seen: dict[str, str] = {}
    for name in (several.AFTER, "at-once"):
        loaded = several.model(budget, name, seed, answers)
        end = loaded.codec.end
        for count in ("two", "one"):
            some = several.questions(world, loaded.codec, "asked", count == "two", QUESTIONS)
            if name == several.AFTER:
                drawn = several.one_by_one(loaded, some, DRAWS, seed)
            else:
                drawn = several.in_passes(loaded, some, DRAWS, seed, Passes())
            found |= {f"{kind}, {count}, {name}": share for kind, share in several.shares(drawn, end).items()}
            if (name, count) == (several.AFTER, "two"):
                found["steps"] = sum(each.reads for each in drawn) / len(drawn)
            if (name, count) == ("at-once", "two"):
                found["product"] = sum(map(several.product_right, some)) / len(some)
                seen = _seen(drawn, loaded.codec)
    found["lead"] = found["mixed, two, at-once"] - found["mixed, one, at-once"]
    return {"figures": found, "seen": seen}


def _seen(drawn: list[several.Drawn], codec: Tokenizer) -> dict[str, str]:
    """A few mixed answers, to be looked at."""
    texts: dict[str, str] = {}
    for each in drawn:
        if several.kind(each, codec.end) == "mixed" and len(texts) < 6:
            right = " / ".join(codec.decode(answer[:-1]) for answer in each.asked.answers)
            texts[each.asked.text] = f"{codec.decode(several.cut(each.ids, codec.end), skip_special=True)} ({right})"
    return texts


def _config() -> TransformerConfig:
    from jielong.nets.config import shape

    return shape(WIDE, VOCAB, PROMPT + WRITTEN + 1, DEEP)


def operations(config: TransformerConfig, prompt: int, written: int, causal: bool) -> float:
    """Multiply-adds times two for one text. One after another, every token but the last is read once, each against
    the keys before it, and the head runs once a token written; at once, all slots are read against all."""
    blocks = config.parameters - config.vocab * config.dim
    read = prompt + written - (1 if causal else 0)
    keys = read * (read + 1) / 2 if causal else read * read
    scores = 2 * config.layers * config.heads * config.head_dim * keys
    return 2 * (blocks * read + scores + config.dim * config.vocab * written)


def timed(budget: Budget, seed: int) -> dict[str, list[float]]:
    """Round by round the time all at once over that one after another, for one text and for several together."""
    from jielong.base import noise
    from jielong.infer.core import Core
    from jielong.infer.generate import generate
    from jielong.infer.parallel import Passes, seeded, write
    from jielong.infer.sampling import Sampling
    from jielong.infer.slots import Marks

    config, marks = _config(), Marks(VOCAB, WRITTEN)
    left = timing.random_model(config, seed)
    both = timing.random_model(replace(config, causal=False, vocab=marks.vocab), seed)
    plain = Sampling(temperature=1.0, max_tokens=WRITTEN, seed=seed)
    core = Core(left, streams=max(BATCHES), length=PROMPT + WRITTEN + 1)

    def seconds(number: int, batch: int, once: bool) -> float:
        """Every round has prompts that were never read before."""
        n = batch * PROMPT
        ids = noise.integers(seed, "once", batch, number + 1, below=VOCAB, n=n).reshape(batch, PROMPT).tolist()
        began = time.perf_counter()
        if once:
            found = [each.ids for each in write(both, marks, ids, Passes(), seeded(plain, batch))]
        else:
            found = [each.ids for each in generate(core, ids, seeded(plain, batch))]
        took = time.perf_counter() - began
        assert all(len(each) == WRITTEN for each in found)
        return took

    out = {}
    for batch in BATCHES:
        runs = [partial(seconds, batch=batch, once=once) for once in (True, False)]
        once, after = timing.rounds(runs, timing.count(ROUNDS, budget, MINUTES))
        out[f"time, {batch}"] = [a / b for a, b in zip(once, after)]
    return out
