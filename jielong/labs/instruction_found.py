"""Which instruction a search finds, against a person's list, at equal evaluations.

A small model was taught to add up rows of numbers as instructions ask: in steps, at once, or as it happens. Three
searches (`random_search`, `ape`, `opro`) try as many instructions as a person has written down, each on the same
development problems, and all are judged on others. What proposes is a script: for a first proposal it takes sentences
by lot; for a variation it puts another sentence of the same meaning; shown what was tried, it changes one sentence of
the best. So what a search gains is its own doing. A control chooses among instructions that are all alike, where how
much the best looks too good is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jielong.base import noise
from jielong.base.result import Result, Row
from jielong.labs import instructions, thinking
from jielong.labs.instructions import BRIEF, FILL, PERSON, SMALL, STEPS, STOCK, asks, some
from jielong.labs.lab import Budget, part
from jielong.labs.thinking_chats import Lot
from jielong.labs.verdict import check, context, over_seeds
from jielong.lm.noisy import NoisyOracle
from jielong.lm.prompts import Prompt, text_of
from jielong.lm.protocol import LM, Draw, Usage
from jielong.lm.scripted import Scripted
from jielong.lm.sync import run as waited
from jielong.prompting import ape, opro, random_search
from jielong.prompting.instructed import Found, accuracy, chosen, scored
from jielong.prompting.strategy import Example, Problem, having

CLAIM = {
    "en": "A search finds better instructions than a person writes; and one that learns from scores finds better ones "
    "than drawing by lot, at equal evaluations.",
    "zh": "自動搜尋找到的指示比人寫的好；而且在相同的評估次數下，會參考分數的搜尋比隨機抽取更好。",
}
SOURCE = {
    "en": "Lectures 3 and 4 (2024); Zhou et al. 2022 (arXiv 2211.01910); Yang et al. 2023 (arXiv 2309.03409)",
    "zh": "第 3、4 講（2024）；Zhou et al. 2022（arXiv 2211.01910）；Yang et al. 2023（arXiv 2309.03409）",
}
EXPECT = {
    "en": "Each search far above the plain instruction and above the best of the person's list; no difference between "
    "the searches that a few problems could show; the chosen one looks better than it is.",
    "zh": "每種搜尋都遠勝最普通的指示，也勝過人寫的清單中最好的；各種搜尋之間的差別小到少數題目看不出來；"
    "被選中的指示看起來比實際好。",
}
MINUTES, SEEDS = 6.0, 5
DEV, ASKED = 30, 300  # problems that choose, and those that judge
TRIED = len(PERSON)  # instructions of each search
ALIKE, TIMES = 0.5, 10  # the control's share right, and how often it chooses
SEARCHES: Mapping[str, Callable[..., Coroutine[Any, Any, Found]]] = {
    "random": partial(random_search.search, candidates=TRIED),
    "ape": partial(ape.search, candidates=TRIED // 2, rounds=1, keep=3),
    "opro": partial(opro.search, steps=5, each=3, shows=4),
}


def run(budget: Budget) -> Result:
    """Shares of right answers on problems that chose nothing, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = ASKED * len(found)

    def gain(name: str, other: str, control: str) -> Row:
        values = [one[name]["test"] - one[other]["test"] for one in found]
        return over_seeds(f"{name} over {control}", values, "above", 0.0, "as often right", n, unit="share")

    over = [one["random"]["dev"] - one["random"]["test"] for one in found]
    evaluated = [one[name]["evaluations"] / one["person"]["evaluations"] for one in found for name in SEARCHES]
    rows = [
        *(gain(name, "plain", "the plain instruction") for name in SEARCHES),
        *(gain(name, "person", "the best of a person's list") for name in SEARCHES),
        gain("ape", "random", "random"),
        gain("opro", "random", "random"),
        over_seeds("what random's choice looks too good by", over, "above", 0.0, "nothing", n, unit="share"),
        check(context("evaluations, times the person's", evaluated, len(evaluated), "times"), low=0.75, high=1.1),
        alike([one["alike"] for one in found]),
        *(context(f"right, {name}", [one[name]["test"] for one in found], n, "share") for name in (*SEARCHES, "person",
                                                                                                    "plain")),
        *(context(f"chosen asks for steps, {name}", [one[name]["steps"] for one in found], len(found), "share")
          for name in SEARCHES),
    ]  # fmt: skip
    said = {f"{name}, seed {seed}": one[name]["instruction"] for seed, one in zip(budget.seeds, found) for name in
            (*SEARCHES, "person")}  # fmt: skip
    return Result("instruction_found", "Which instruction a search finds", tuple(rows),
                  meta={"mode": "greedy, float32", "instructions": said})  # fmt: skip


def alike(values: Sequence[float]) -> Row:
    """The control: how much the best of instructions that are all alike looks too good, beside the exact value."""
    truth = too_good(TRIED, DEV, ALIKE)
    row = context("looks too good by, where all are alike", values, TIMES * len(values), "share")
    return check(replace(row, truth=truth), truth - 0.02, truth + 0.02)


def too_good(m: int, n: int, p: float) -> float:
    """E[the best of m binomials (n, p)] / n - p."""
    from scipy import stats

    below = stats.binom.cdf(range(n), n, p) ** m  # that the best is at most k, k < n
    return float(n - below.sum()) / n - p


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """What each way chose, its share right on both sets, and the control, of one seed."""
    worker = thinking.load(instructions.model(budget, seed, *SMALL))
    lm = having(Helped(worker, proposer(seed)), temperature=0.0, max_tokens=thinking.REPLY)
    dev, test = (instructions.problems(seed, name, n) for name, n in (("dev", DEV), ("test", ASKED)))
    shown = [Example(each.text, each.gold or "") for each in dev[:3]]

    async def listed(some: Sequence[str]) -> Found:
        return await chosen(lm, await scored(lm, some, dev, accuracy), test, accuracy)

    found = {name: waited(search(lm, shown, dev, test)) for name, search in SEARCHES.items()}
    found |= {"person": waited(listed(PERSON)), "plain": waited(listed(PERSON[:1]))}
    return {name: {"dev": each.dev, "test": each.test, "evaluations": each.evaluations, "instruction": each.instruction,
                   "steps": asks(each.instruction) is True}
            for name, each in found.items()} | {"alike": chosen_of_alike(seed)}  # fmt: skip


def chosen_of_alike(seed: int) -> float:
    """How much the best of as many instructions looks too good where a noisy oracle is right under each alike."""
    lm = NoisyOracle(lambda prompt: "4", 1 - ALIKE, lambda prompt: ["3"], seed=seed)
    problems = [Problem(f"{i}: 2 + 2?", str(i), "4") for i in range(DEV)]

    async def best(time: int) -> float:
        some = [f"Instruction {time}.{i}." for i in range(TRIED)]
        return (await chosen(lm, await scored(lm, some, problems, accuracy), (), accuracy)).dev

    return sum(waited(best(time)) for time in range(TIMES)) / TIMES - ALIKE


class Helped(LM):
    """A model whose requests for instructions are answered by another one."""

    def __init__(self, worker: LM, proposer: LM) -> None:
        self.worker, self.proposer = worker, proposer
        self.name, self.capabilities = worker.name, worker.capabilities
        self.begins = tuple(f"user: {text['en'][:30]}" for text in (random_search.PROPOSE, ape.VARY, opro.META))

    @property
    def usage(self) -> Usage:
        return self.worker.usage

    async def asample(self, prompt: Prompt, n: int = 1, start: int = 0, **sampling: Any) -> list[Draw]:
        asked = self.proposer if text_of(prompt).startswith(self.begins) else self.worker
        return await asked.asample(prompt, n, start, **sampling)


def proposer(seed: int) -> Scripted:
    """Instructions by lot, as the request asks for them."""

    def said(prompt: str, index: int) -> str:
        lot = Lot(noise.seed_of("instruction found", seed, prompt, index), 0)
        if prompt.startswith(f"user: {ape.VARY['en'][:30]}"):
            return changed(prompt.rpartition("\n\n")[2], lot, alike=True)
        if prompt.startswith(f"user: {opro.META['en'][:30]}"):
            tried = prompt.partition("\n\nThey stand above")[0].rpartition("\nscore: ")[0]
            return f"[{changed(tried.rpartition(chr(10))[2], lot, alike=False)}]"
        return some(lot)

    return Scripted(said, name="proposer")


def changed(instruction: str, lot: Lot, alike: bool) -> str:
    """One of its sentences is another now: one of the same meaning, or any; in the latter case one may come or go."""
    sentences = [each for group in STOCK for each in group if each in instruction]
    sentences.sort(key=instruction.find)
    place = lot("place", 0, max(0, len(sentences) - 1))
    own = next((group for group in STOCK if sentences and sentences[place] in group), FILL)
    group = own if alike else (STEPS, BRIEF, FILL)[lot("group", 0, 2)]
    new = group[lot("new", 0, len(group) - 1)]
    how = "change" if alike else ("change", "add", "drop")[lot("how", 0, 2)]
    if how == "drop" and len(sentences) > 1:
        return " ".join(sentences[:place] + sentences[place + 1 :])
    if how == "add" and new not in sentences:
        return " ".join([*sentences[: place + 1], new, *sentences[place + 1 :]])
    return " ".join(dict.fromkeys([*sentences[:place], new, *sentences[place + 1 :]]))
