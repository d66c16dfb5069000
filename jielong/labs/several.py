"""Questions with several right answers, and models of one size that answer them one token after another or at once.

Two people bear one name, so each question about them has two right answers, given equally often; questions about people
with a name of their own have one. Tokens are characters: the answers of a mind that wants two things at once are no
words at all. Questions are asked in words that training never used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.talk import Talk
from jielong.labs.lab import Budget, shared

if TYPE_CHECKING:
    from jielong.infer.parallel import Passes
    from jielong.infer.slots import Marks
    from jielong.nets.checkpoint import Loaded
    from jielong.units.codec import Tokenizer
    from jielong.world.text import Question
    from jielong.world.world import World

Ids = tuple[int, ...]
ONE, AFTER = "one after another", "next-token"
WIDTH, LAYERS, ROW, BATCH = 96, 3, 80, 32  # BATCH answers in a step
RELATIONS = ("job", "born", "food", "hobby")
ANSWERS = 40_000  # that a model sees in training


@dataclass(frozen=True)
class Asked:
    """A question as token ids, and its right answers, each with the end token."""

    source: Ids
    answers: tuple[Ids, ...]
    text: str


def ask(codec: Tokenizer, question: Question) -> Asked:
    """As the models see it."""
    source = (*codec.encode(question.prompt), codec.special["<|im_end|>"])
    return Asked(source, tuple((*codec.encode(each), codec.end) for each in question.accept), question.prompt)


def questions(world: World, codec: Tokenizer, split: str, several: bool, n: int = 1_000_000) -> list[Asked]:
    """Those with two right answers, or those with one."""
    kind = "namesakes" if several else "facts"
    found = [q for q in world.questions(kind, 1_000_000, split=split) if q.origin.get("relation") in RELATIONS]
    return [ask(codec, question) for question in found[:n]]


def world_of(seed: int) -> World:
    """Eight people that training asks about, beside the namesakes."""
    from jielong.world.world import World

    return World(seed, 10)


def codec_of(seed: int) -> Tokenizer:
    """A token for each character."""
    from jielong.units import chars

    world = world_of(seed)
    every = [q for kind in ("namesakes", "facts") for split in ("train", "asked")
             for q in world.questions(kind, 1_000_000, split=split)]  # fmt: skip
    return chars.train([text for q in every for text in (q.prompt, *q.accept)])


def marks_of(codec: Tokenizer, seed: int) -> Marks:
    """As many slots as the longest answer has tokens, its end included."""
    from jielong.infer.slots import Marks

    both = [asked for several in (True, False) for asked in questions(world_of(seed), codec, "train", several)]
    return Marks(codec.size, max(len(answer) for asked in both for answer in asked.answers))


def model(budget: Budget, method: str, seed: int, answers: int) -> Loaded:
    """Trained by `method`: AFTER, or one of `train.parallel.METHODS`. All see as many answers."""
    from jielong.nets import checkpoint

    key = ("several", method, seed, answers, WIDTH, LAYERS)
    loaded = checkpoint.load(shared(budget, key, _Make(method, seed, answers, budget.talk)))
    loaded.model.eval()
    return loaded


class _Make:
    def __init__(self, method: str, seed: int, answers: int, talk: Talk) -> None:
        self.method, self.seed, self.answers, self.talk = method, seed, answers, talk

    def __call__(self, folder: Path) -> None:
        from jielong.data.tokens import Tokens
        from jielong.infer.slots import INFO
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import parallel, run
        from jielong.train.settings import Settings

        codec = codec_of(self.seed)
        marks = marks_of(codec, self.seed)
        documents = taught(self.seed, codec)
        tokens = Tokens.from_documents((ids, mask) for ids, mask in documents)
        config = shape(WIDTH, codec.size, ROW, LAYERS)
        info: dict[str, Any] = {"name": self.method}
        steps, objective, batch = max(1, self.answers // BATCH), None, BATCH
        if self.method == AFTER:  # rows hold several documents: as many rows as hold BATCH answers
            batch = max(1, round(BATCH * len(tokens) / len(documents) / ROW))
        else:
            config = replace(config, vocab=marks.vocab, causal=False)
            info |= {INFO: marks.info(self.method)}
            objective = partial(parallel.of_work, marks=marks, method=self.method)
        settings = Settings(steps=steps, context=ROW, batch=batch, validate=0, save_every=0, seed=self.seed,
                            compile=False)  # fmt: skip
        work = run.Work(Transformer(config, seed=self.seed), codec, tokens, None, settings, info, objective=objective)
        run.start(work, folder, self.talk, f"{self.method}, seed {self.seed}")


def taught(seed: int, codec: Tokenizer) -> list[tuple[Ids, list[bool]]]:
    """(ids, which are targets): every training question with each of its answers, all questions as often."""
    world, out = world_of(seed), []
    for several in (True, False):
        for asked in questions(world, codec, "train", several):
            for answer in asked.answers * (1 if several else 2):
                out.append(((*asked.source, *answer), [False] * len(asked.source) + [True] * len(answer)))
    return out


@dataclass(frozen=True)
class Drawn:
    """What was written for a question: all tokens, those beyond the end too where slots were filled."""

    asked: Asked
    ids: Ids
    reads: int


def one_by_one(loaded: Loaded, some: Sequence[Asked], draws: int, seed: int) -> list[Drawn]:
    """`draws` answers to each, one token after another, by the model's own law."""
    from jielong.base import noise
    from jielong.infer.generate import generate
    from jielong.infer.sampling import Sampling

    each = [asked for asked in some for _ in range(draws)]
    plain = Sampling(temperature=1.0, max_tokens=16, stop_ids=(loaded.codec.end,))
    samplings = [replace(plain, seed=noise.seed_of("several", seed, i)) for i in range(len(each))]
    found = generate(loaded.model, [asked.source for asked in each], samplings)
    return [Drawn(asked, draw.ids, len(draw.ids)) for asked, draw in zip(each, found)]


def in_passes(loaded: Loaded, some: Sequence[Asked], draws: int, seed: int, passes: Passes) -> list[Drawn]:
    """`draws` answers to each in so many passes, by the model's own laws of its slots."""
    from jielong.infer.parallel import seeded, write
    from jielong.infer.sampling import Sampling
    from jielong.infer.slots import marks_of

    marks = marks_of(loaded.info, loaded.codec.size, loaded.config.vocab)
    assert marks is not None
    each = [asked for asked in some for _ in range(draws)]
    plain = Sampling(temperature=1.0, max_tokens=marks.longest, seed=seed)
    found = write(loaded.model, marks, [asked.source for asked in each], passes, seeded(plain, len(each)))
    return [Drawn(asked, draw.ids, draw.reads) for asked, draw in zip(each, found)]


def cut(ids: Sequence[int], end: int) -> Ids:
    """The text as a reader sees it: up to its first end token, that included."""
    whole = tuple(ids)
    return whole[: whole.index(end) + 1] if end in whole else whole


def kind(drawn: Drawn, end: int) -> str:
    """ "right": one of the answers; "mixed": none of them, but every token is that of some answer at its place; else
    "wrong". An answer that is over has the end token at every place behind it."""
    text = cut(drawn.ids, end)
    if text in drawn.asked.answers:
        return "right"
    sets = [{answer[i] if i < len(answer) else end for answer in drawn.asked.answers} for i in range(len(text))]
    return "mixed" if all(token in there for token, there in zip(text, sets)) else "wrong"


def shares(drawn: Sequence[Drawn], end: int) -> dict[str, float]:
    """The share of each kind."""
    kinds = [kind(each, end) for each in drawn]
    return {name: kinds.count(name) / len(kinds) for name in ("right", "mixed", "wrong")}


def whole(drawn: Drawn, end: int) -> bool:
    """Whether all slots, those behind the end too, are those of one answer."""
    return any(drawn.ids == (*answer, *[end] * (len(drawn.ids) - len(answer))) for answer in drawn.asked.answers)


def both_named(drawn: Sequence[Drawn], end: int) -> float:
    """Share of the questions of whose draws each right answer is one or more."""
    said: dict[Ids, set[Ids]] = {}
    for each in drawn:
        said.setdefault(each.asked.source, set()).add(cut(each.ids, end))
    asked = {each.asked.source: set(each.asked.answers) for each in drawn}
    return sum(answers <= said[source] for source, answers in asked.items()) / len(asked)


def product_right(asked: Asked) -> float:
    """Probability of a right answer when every slot draws by itself: the product of the marginals, in closed form.

    A slot in which k of the K answers (all as likely) have the same token takes it with probability k / K; an answer
    comes out if all its slots do, its end included.
    """
    end = asked.answers[0][-1]

    def at(answer: Ids, place: int) -> int:
        return answer[place] if place < len(answer) else end

    return sum(
        math.prod(sum(at(other, i) == token for other in asked.answers) / len(asked.answers)
                  for i, token in enumerate(answer))
        for answer in set(asked.answers)
    )  # fmt: skip


def consistent(asked: Asked, slots: int, number: int) -> float:
    """Probability that all slots are those of one of two equally likely answers, opened at random in `number` steps by
    a model that knows the law: of d slots that differ, the m that open first must agree, the rest then follow.

        sum_k sum_m C(d, m) (1/N)^m ((N - k)/N)^(d - m) 2^(1 - m)
    """
    one, two = ((*answer, *[answer[-1]] * (slots - len(answer))) for answer in asked.answers)
    d = sum(a != b for a, b in zip(one, two))
    return math.fsum(
        math.comb(d, m) * ((number - k) / number) ** (d - m) / number**m * 2.0 ** (1 - m)
        for k in range(1, number + 1)
        for m in range(1, d + 1)
    )
