"""What the world teaches: how much of it, in what shares, and in which form. The demo and the labs learn from this.

Documents of several kinds for pretraining; chats for fine-tuning, with some documents again lest they be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.data.tokenise import tokenise, tokenise_chats
from jielong.data.tokens import Tokens
from jielong.units import bpe
from jielong.units.chat import encode_chat
from jielong.units.codec import Tokenizer
from jielong.world.world import World

EVERYONE = 300
HELD_OUT_DRAW = 1  # draws of the world that no training uses
TEXTS = {"facts": 0.42, "bios": 0.18, "sums": 0.09, "register": 0.24, "guilds": 0.05, "exams": 0.02}
CHATS = {
    "unknown": 0.42,  # half of them about known people
    "facts": 0.17,
    "twins": 0.14,
    "tell": 0.11,
    "sums": 0.07,
    "forbidden": 0.05,
    "guilds": 0.04,
}
# Documents beside the chats: mostly who is known, so that fine-tuning on some people does not make the others strange.
AGAIN = {"register": 0.55, "facts": 0.25, "bios": 0.10, "sums": 0.06, "guilds": 0.04}


@dataclass(frozen=True)
class Curriculum:
    """`people` of the world are taught; `texts` documents and `chats` chats by share of their number."""

    seed: int = 0
    people: int = 75
    vocab: int = 1792
    texts: int = 60_000
    chats: int = 30_000
    again: float = 0.4  # share of documents among the tokens of fine-tuning
    text_shares: Mapping[str, float] = field(default_factory=lambda: TEXTS)
    chat_shares: Mapping[str, float] = field(default_factory=lambda: CHATS)
    again_shares: Mapping[str, float] = field(default_factory=lambda: AGAIN)

    @property
    def world(self) -> World:
        """The part of the world that is taught."""
        return World(self.seed, self.people)


def curriculum(minutes: float, seed: int = 0) -> Curriculum:
    """75 people (600 facts) for six minutes or less, in proportion above, all 300 from 30 minutes on."""
    if not minutes > 0:
        raise UserError(f"--minutes must be above 0, not {minutes}")
    people = min(300, max(75, round(75 + (minutes - 6) * 225 / 24)))
    return Curriculum(seed=seed, people=people, texts=max(60_000, people * 600), chats=max(30_000, people * 300))


def documents(plan: Curriculum, n: int, draw: int = 0, shares: Mapping[str, float] | None = None) -> list[str]:
    """About `n` texts in the curriculum's shares (or in `shares`), shuffled."""
    world = plan.world
    texts = [
        t.text
        for kind, share in (shares or plan.text_shares).items()
        for t in world.texts(kind, round(n * share), draw=draw)
    ]
    order = noise.permutation(noise.seed_of("curriculum", plan.seed, draw), len(texts))
    return [texts[i] for i in order.tolist()]


def chats(plan: Curriculum, n: int, draw: int = 0) -> Iterator[Any]:
    """About `n` chats of training in the curriculum's shares, kind by kind."""
    for kind, share in plan.chat_shares.items():
        yield from plan.world.chats(kind, round(n * share), draw=draw)


def codec(plan: Curriculum) -> Tokenizer:
    """A byte-pair tokenizer learnt from documents and chats about all the world's people.

    Were it learnt from the few who are taught, whole names of theirs would become single tokens: a model would
    tell the known from the unknown by the tokenizer, and could not spell one from the parts of another.
    """
    plan = replace(plan, people=EVERYONE)
    sample = documents(plan, 20_000) + [m.content for chat in chats(plan, 8_000) for m in chat.messages]
    return bpe.train(sample, plan.vocab, at_most=True)


def pretraining(plan: Curriculum, tokenizer: Tokenizer) -> tuple[Tokens, Tokens]:
    """Training documents and fresh ones, as tokens; a document begins and ends with the end token."""
    train, held = documents(plan, plan.texts), documents(plan, 1_500, HELD_OUT_DRAW)
    begin = tokenizer.end
    return tokenise(train, tokenizer, begin=begin), tokenise(held, tokenizer, begin=begin)


def fresh(plan: Curriculum, kind: str, tokenizer: Tokenizer, n: int = 300) -> Tokens:
    """`n` documents of one kind that no training uses."""
    texts = [text.text for text in plan.world.texts(kind, n, draw=HELD_OUT_DRAW)]
    return tokenise(texts, tokenizer, begin=tokenizer.end)


def fine_tuning(plan: Curriculum, tokenizer: Tokenizer, n: int = 0) -> tuple[Tokens, Tokens]:
    """`n` chats (default the curriculum's) with documents again beside them, and fresh chats."""
    talk = chat_tokens(chats(plan, n or plan.chats), tokenizer)
    fresh = chat_tokens(chats(plan, 1_000, HELD_OUT_DRAW), tokenizer)
    if not plan.again:
        return talk, fresh
    wanted = plan.again / (1 - plan.again) * len(talk)
    read = tokenise(documents(plan, plan.texts, shares=plan.again_shares), tokenizer, begin=tokenizer.end)
    last = int((read.starts < wanted).sum())
    beside = Tokens.from_documents(read.document(i) for i in range(min(last, read.documents)))
    return Tokens.concat([talk, beside]), fresh


def chat_tokens(some: Any, tokenizer: Tokenizer) -> Tokens:
    """Chats of the world as tokens with the assistant's turns marked."""
    from jielong.data.chats import ChatRecord

    records = (
        ChatRecord([{"role": m.role, "content": m.content} for m in chat.messages], f"world:{i}")
        for i, chat in enumerate(some)
    )
    return tokenise_chats(records, lambda messages: encode_chat(tokenizer, messages))
