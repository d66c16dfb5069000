"""Masking what a grammar forbids, token by token, is not drawing from what the model believes given the grammar.

An assistant is asked for facts and held to the bare value ("Hesk.") or to JSON ('"Hesk"'), where by itself it writes a
sentence; and, as control, to the value where its own sentence has it ("Sam Sand was born in" ...). All texts of these
forms, in all ways to cut them into tokens, are enumerated with the model, so that both laws, masked and given the
grammar, and their divergence are exact; drawing by rejection is tested against the second.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base import stats
from jielong.base.result import Result, Row
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import Side, check, context, mean, over_seeds

if TYPE_CHECKING:
    from jielong.infer.grammar.truth import Space
    from jielong.lm.local import Local
    from jielong.world.text import Question
    from jielong.world.world import World

CLAIM = {
    "en": "Masking a grammar token by token does not give the model's own law over the texts of the grammar: a form "
    "that the model would not have chosen hides what it knows. Rejection that learns draws from that law exactly.",
    "zh": "逐個標記遮住文法不允許的選項，得到的並不是模型在該文法下本來的機率；若格式不合模型的習慣，"
    "它知道的事會被遮住。會學習的拒絕取樣則完全照本來的機率。",
}
SOURCE = {
    "en": "Lecture 10; Park et al. 2024 (arXiv 2405.21047); Parys et al. 2025 (arXiv 2510.01902)",
    "zh": "第 10 講；Park et al. 2024（arXiv 2405.21047）；Parys et al. 2025（arXiv 2510.01902）",
}
EXPECT = {
    "en": "Nats of divergence in a foreign form, hardly any in the model's own; masked, the right value is less likely "
    "than it should be; draws by rejection pass a G-test that masked draws fail.",
    "zh": "不合習慣的格式有數個 nat 的差異，模型自己的格式幾乎沒有；遮住後，正確答案的機率偏低；"
    "拒絕取樣通過 G 檢定，遮蔽取樣則通不過。",
}
MINUTES, SEEDS = 6.0, 3
QUESTIONS, DRAWS = 20, 300
SHORT = 6  # letters: the ways to cut a longer word into tokens are too many
FORMS = {"value": r"({})\.", "JSON": '"({})"'}
SENTENCE = r"([A-Za-z]+ )*[a-z]+\."


def run(budget: Budget) -> Result:
    """Every seed trains its own assistant; divergences are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    columns = {name: [one[name] for one in found] for name in found[0]}
    own = mean(columns["KL, sentence"])
    n = len(found) * QUESTIONS

    def row(name: str, title: str, side: Side, control: float, control_name: str, unit: str) -> Row:
        return over_seeds(title, columns[name], side, control, control_name, n, unit=unit)

    rows = [
        row(f"KL, {form}", f"KL(masked || given), {form} alone", "above", own, "in its own sentence", "nats")
        for form in FORMS
    ]
    for form in FORMS:
        given = mean(columns[f"right given, {form}"])
        title = f"probability of the right value, masked, {form} alone"
        rows.append(row(f"right masked, {form}", title, "below", given, "given the grammar", "share"))
    rows += _context(columns, n) + _controls(columns)
    return Result("masking_distorts", "What masking a grammar does to probabilities", tuple(rows),
                  meta={"mode": "temperature 1, float32; laws in float64"})  # fmt: skip


def _context(columns: dict[str, list[float]], n: int) -> list[Row]:
    """Rows that explain, without a verdict."""
    titles = {
        "KL, sentence": ("KL(masked || given), in its own sentence", "nats"),
        "TV, value": ("total variation, value alone", "share"),
        "right given, sentence": ("probability of the right value, in its own sentence", "share"),
        "log10 mass, value": ("log10 of the model's mass on the grammar, value alone", ""),
        "first attempts": ("attempts for the first text by rejection", "attempts"),
        "later attempts": ("attempts for a text by rejection, after a hundred", "attempts"),
        "KL, any sentence": ("KL(masked || given), any English sentence, bigram model in closed form", "nats"),
    }
    return [context(title, columns[name], n, unit) for name, (title, unit) in titles.items()]


def _controls(columns: dict[str, list[float]]) -> list[Row]:
    """G-tests: the smallest p over seeds, Holm-adjusted, of what must pass; the largest of what must not."""
    n = len(columns["p, rejection"]) * DRAWS
    rows = []
    for name, title in (("rejection", "p, draws by rejection, law given the grammar"),
                        ("masked", "p, masked draws, masked law")):  # fmt: skip
        rows.append(check(Row(title, min(stats.holm(columns[f"p, {name}"])), None, n), low=0.005))
    crossed = Row("p, masked draws, law given the grammar", max(columns["p, crossed"]), None, n)
    return [*rows, check(crossed, high=0.001)]


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Means over the questions of one seed's world."""
    from jielong.labs import stages
    from jielong.lm.local import load

    plan = stages.curriculum(seed)
    lm = load(stages.assistant(budget, seed))
    texts = [text.text for text in plan.world.texts("facts", 4000, lang="en")]
    return {
        **compared(lm, plan.world, QUESTIONS),
        **drawn(lm, plan.world, seed),
        "KL, any sentence": sentence(lm, texts),
    }


def asked(world: World, n: int) -> list[tuple[Question, str, str, list[str]]]:
    """Questions about values of few letters, which the answer has behind other words: with these, with what follows,
    and with all values that might stand there."""
    from jielong.world.values import FIELDS

    found: list[tuple[Question, str, str, list[str]]] = []
    for question in world.questions("facts", 8 * n, split="test", lang="en"):
        before, _, after = question.answer.partition(question.accept[0])
        values = [english for english, _ in FIELDS[dict(question.origin.extra)["field"]]]
        if before.strip() and max(map(len, values)) <= SHORT and len(found) < n:
            found.append((question, before.rstrip(), after, values))
    return found


def space(lm: Local, ids: tuple[int, ...], expression: str) -> Space:
    """All texts of an expression after a prompt, with the model's laws."""
    from jielong.infer.grammar.teach import Teach
    from jielong.infer.grammar.truth import explore, model_laws
    from jielong.infer.grammar.vocabulary import vocabulary

    return explore(model_laws(lm.model), Teach(expression, vocabulary(lm.codec)), ids)


def compared(lm: Local, world: World, n: int) -> dict[str, float]:
    """Both laws over the values: how far apart, and how likely the right one is in each."""
    import numpy as np

    from jielong.infer.grammar.truth import distances

    sums: dict[str, list[float]] = {}
    for question, before, after, values in asked(world, n):
        ids, either = lm.ids([{"role": "user", "content": question.prompt}]), "|".join(values)
        told = (*ids, *lm.codec.encode(before))
        forms = {name: (ids, form.format(either)) for name, form in FORMS.items()}
        forms["sentence"] = (told, f" ({either}){re.escape(after)}")
        for name, (prompt, expression) in forms.items():
            found = space(lm, prompt, expression)
            texts = found.texts()
            there, _, apart = distances(texts)
            right = [pair for text, pair in texts.items() if question.accept[0].encode() in text]
            given, masked = (sum(pair[column] for pair in right) for column in (0, 1))
            measured = {"KL": there, "TV": apart, "log10 mass": np.log10(found.mass)}
            for key, value in {**measured, "right given": given, "right masked": masked}.items():
                sums.setdefault(f"{key}, {name}", []).append(float(value))
    return {name: sum(several) / len(several) for name, several in sums.items()}


def drawn(lm: Local, world: World, seed: int) -> dict[str, float]:
    """G-tests of draws for one question and the bare value, by rejection and by the engine under a mask."""
    from jielong.base import noise
    from jielong.infer.grammar.rejection import Reading, Rejection
    from jielong.infer.sampling import Sampling

    question, _, _, values = asked(world, 1)[0]
    chat: Any = [{"role": "user", "content": question.prompt}]
    expression = FORMS["value"].format("|".join(values))
    found = space(lm, lm.ids(chat), expression)
    laws = [{text.decode(): pair[column] for text, pair in found.texts().items()} for column in (0, 1)]
    sampler = Rejection(Reading(lm.model, Sampling()), found.rule, found.prompt, longest=64)
    source = noise.RandomSource(noise.seed_of("masking", seed))
    by_rejection = [sampler.draw(source, number) for number in range(DRAWS)]
    masked = lm.sample(chat, DRAWS, grammar=("regex", expression), max_tokens=64, temperature=1.0)
    said = [lm.codec.decode(each.ids) for each in by_rejection]
    counts = [{text: each.count(text) for text in laws[0]} for each in (said, [draw.text for draw in masked])]
    assert all(sum(each.values()) == DRAWS for each in counts)
    later = [each.attempts for each in by_rejection[100:]]
    return {
        "p, rejection": stats.g_test(counts[0], laws[0]),
        "p, masked": stats.g_test(counts[1], laws[1]),
        "p, crossed": stats.g_test(counts[1], laws[0]),
        "first attempts": float(by_rejection[0].attempts),
        "later attempts": sum(later) / len(later),
    }


def sentence(lm: Local, texts: list[str]) -> float:
    """A bigram model of those texts and any sentence whatever: infinitely many, so in closed form."""
    import numpy as np

    from jielong.infer.grammar.teach import Teach
    from jielong.infer.grammar.truth import explore, model_laws
    from jielong.infer.grammar.vocabulary import vocabulary
    from jielong.nets import ngram

    documents = [[*ids, lm.codec.end] for ids in lm.codec.encode_batch(texts)]
    starts = np.cumsum([0, *(len(each) for each in documents)])
    pairs = ngram.fit(ngram.NGramConfig(lm.codec.size, order=2), np.concatenate(documents), starts)
    rule = Teach(SENTENCE, vocabulary(lm.codec))
    return explore(model_laws(pairs), rule, (lm.codec.end,), memory=1).divergences()[0]
