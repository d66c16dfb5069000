"""Drafters without a model: right guesses by brute force, and no wrong text whatever a drafter does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.infer.draft.lookup import ANCESTORS, Automaton, Follow, Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.other_tokenizer import OtherTokenizer
from jielong.infer.draft.retrieval import DEPTH, END, SAMPLE, Retrieval, Texts, likeliest
from jielong.infer.draft.types import Draft, Draws
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.units import bpe
from jielong.units.codec import Tokenizer

from .conftest import random_model


def row(text: Sequence[int], number: int = 0) -> Row:
    return Row(number, Request(tuple(text), Sampling(max_tokens=99)), 99)


def nobody(row: Row) -> Any:
    def choose(*given: Any) -> int:
        raise AssertionError("a certain guess draws nothing")

    return choose


def ask(drafter: Any, each: Row, most: int = 4, source: Draws = nobody) -> tuple[int, ...]:
    (draft,) = drafter.propose([each], [most], source)
    assert draft.laws is None
    return tuple(draft.tokens)


# --- prompt lookup


def ends(text: list[int], part: list[int]) -> list[int]:
    """Where a part ends in a text."""
    return [i + len(part) for i in range(len(text) - len(part) + 1) if text[i : i + len(part)] == part]


def looked_up(text: list[int], most: int, least: int, follow: Follow) -> tuple[int, ...]:
    """The definition, tried out."""
    part = next((text[-n:] for n in range(len(text) - 1, 0, -1) if len(ends(text, text[-n:])) > 1), [])
    out: list[int] = []
    while len(out) < most and len(part) >= least:
        ways = {c: ends(text, [*part, c]) for c in set(text)}
        ways = {c: found for c, found in ways.items() if found}
        if not ways:
            part = part[1:]
            continue
        order = {c: (max(found), len(found)) for c, found in ways.items()}
        if follow == "frequent":
            order = {c: (count, last) for c, (last, count) in order.items()}
        out.append(max(order, key=lambda c, order=order: order[c]))  # type: ignore[misc]
        part = [*part, out[-1]]
    return tuple(out)


@pytest.mark.parametrize("follow", ["recent", "frequent"])
@pytest.mark.parametrize("least", [1, 3])
def test_lookup_is_the_longest_earlier_suffix_by_brute_force(follow: Follow, least: int) -> None:
    found = 0
    for seed in range(24):
        drafter = Lookup(least, follow)
        each = row([0])
        for token in noise.integers(seed, below=2 + seed % 4, n=36).tolist():
            each.text.append(token)
            guess = ask(drafter, each, 5)
            assert guess == looked_up(each.text, 5, least, follow)
            found += len(guess)
    assert found > 1000


def test_an_automaton_has_all_substrings_and_stays_small() -> None:
    for seed in range(8):
        automaton, text = Automaton(), noise.integers(seed, below=2 + seed, n=300).tolist()
        for token in text:
            automaton.add(token)
        assert len(automaton.next) <= 2 * 300 and sum(map(len, automaton.next)) <= 3 * 300  # Blumer et al., theorem 1
        for start in range(0, 290, 7):
            state = 0
            for token in text[start : start + 10]:
                state = automaton.next[state][token]
            assert automaton.count[state] == len(ends(text, text[start : start + 10]))


def test_lookup_goes_on_with_what_repeats_itself() -> None:
    assert ask(Lookup(), row([5, 1, 2, 3, 1, 2, 3]), 8) == (1, 2, 3, 1, 2, 3, 1, 2)
    assert ask(Lookup(), row([4] * (3 * ANCESTORS)), 6) == (4,) * 6
    assert ask(Lookup(), row([1, 2, 3, 4, 9, 8, 3]), 6) == ()  # one token that was there before is not enough
    assert ask(Lookup(least=1), row([1, 2, 3, 4, 9, 8, 3]), 3) == (4, 9, 8)


def test_lookup_with_rows_that_come_go_back_and_leave() -> None:
    drafter, rows = Lookup(least=1), [row(noise.integers(i, below=3, n=9).tolist(), i) for i in range(4)]
    for step in range(20):
        most = [(step + i) % 4 for i in range(4)]
        drafts = drafter.propose(rows, most, nobody)
        for each, k, draft in zip(rows, most, drafts):
            assert tuple(draft.tokens) == looked_up(each.text, k, 1, "frequent")
        if step % 3 == 2:
            del rows[step % 4].text[4:]
        for each in rows[: step % 5]:
            each.text += noise.integers(step, each.number, below=3, n=1 + step % 3).tolist()
    for each in rows:
        drafter.forget(each)
    assert not drafter.known


# --- a store


def followed(texts: list[list[int]], suffix: list[int], most: int) -> dict[tuple[int, ...], int]:
    return Counter(tuple(t[e : e + most]) for t in texts for e in ends(t, suffix) if e < len(t))


def test_a_store_knows_what_followed_by_brute_force() -> None:
    texts = [noise.integers(i, below=3, n=i).tolist() for i in range(40)]
    store = Texts(texts)
    for seed in range(60):
        suffix = noise.integers(1, seed, below=3, n=1 + seed % 7).tolist()
        found = store.continuations(suffix, 1 + seed % 4)
        if sum(len(ends(t, suffix)) for t in texts) <= SAMPLE:
            assert dict(found) == followed(texts, suffix, 1 + seed % 4)
        assert [count for _, count in found] == sorted((count for _, count in found), reverse=True)
    order = [store.ids[p : p + DEPTH].tolist() for p in store.order]
    assert order == sorted(order)
    assert not Texts([]).continuations([1], 3) and not Texts([[], [1]]).continuations([1], 3)
    assert END not in {i for tokens, _ in store.continuations([0], 4) for i in tokens}


def test_many_places_are_sampled_evenly() -> None:
    store = Texts([[1, 2]] * 3000 + [[1, 3]] * 1000)
    (most, n), (least, m) = store.continuations([1], 2)
    assert (most, least) == ((2,), (3,)) and n + m == SAMPLE and abs(n / m - 3) < 0.1


def test_retrieval_follows_the_longest_known_suffix() -> None:
    texts = [[1, 2, 3, 4, 5], [9, 2, 3, 7, 7], [8, 2, 3, 7, 6], [0, 2, 3, 7, 6]]
    drafter = Retrieval(Texts(texts))
    assert ask(drafter, row([6, 2, 3])) == (7, 6)
    assert ask(drafter, row([6, 1, 2, 3])) == (4, 5)  # the longer suffix decides
    assert ask(drafter, row([6, 1, 2, 3]), 1) == (4,)
    assert ask(drafter, row([3])) == ask(drafter, row([6, 6])) == ask(drafter, row([6, 2, 3]), 0) == ()
    (drafts,) = Retrieval(Texts(texts), several=3).propose([row([2, 3])], [2], nobody)
    assert [d.tokens for d in drafts] == [(7, 6), (4, 5), (7, 7)]  # type: ignore[union-attr]
    for seed in range(40):  # the length by bisection is the longest there is
        lines = [noise.integers(seed, i, below=3, n=30).tolist() for i in range(4)]
        text = noise.integers(2, seed, below=3, n=20).tolist()
        known = [n for n in range(2, 17) if followed(lines, text[-n:], 3)]
        expected = likeliest(sorted(followed(lines, text[-max(known) :], 3).items()), 3) if known else ()
        assert ask(Retrieval(Texts(lines)), row(text), 3) == expected


# --- another tokenizer

LINES = [
    "The cat sat on the mat, and the cat sat still.",
    "玉山 is high; 玉山 是臺灣最高的山。",
    "She said: the mat is 12 m long.",
]


class Oracle:
    """Knows how the text goes on, in its own tokens."""

    name = "oracle"

    def __init__(self, codec: Tokenizer, text: str, tail: Sequence[int] = ()) -> None:
        self.codec, self.text, self.tail = codec, text, list(tail)
        self.rows: dict[Row, list[int]] = {}

    def forget(self, row: Row) -> None:
        del self.rows[row]

    def propose(self, rows: Sequence[Row], most: Sequence[int], source: Draws) -> list[Draft]:
        out = []
        for each, k in zip(rows, most):
            self.rows[each] = list(each.text)
            assert each.request.sampling.temperature == 0
            seen = self.codec.decode(each.text)
            assert self.text.startswith(seen)
            out.append(Draft(tuple([*self.codec.encode(self.text[len(seen) :]), *self.tail][:k])))
        return out


@pytest.fixture(scope="module")
def codecs() -> tuple[Tokenizer, Tokenizer]:
    ours = bpe.train(LINES * 3, 290)
    theirs = bpe.train(
        [LINES[1]] * 4 + ["a cat", "tion said"] * 9, 275, special=("<|im_end|>", "<|endoftext|>", "<|x|>")
    )
    return theirs, ours


def test_guesses_come_back_as_the_same_bytes(codecs: tuple[Tokenizer, Tokenizer]) -> None:
    theirs, ours = codecs
    lengths = []
    for line in LINES:
        ids = ours.encode(line)
        drafter = OtherTokenizer(Oracle(theirs, line), theirs, ours)
        each = row(ids[:1])
        for n in range(1, len(ids)):  # cuts in the middle of characters too
            each.text = ids[:n]
            guess = ask(drafter, each, 6)
            data = b"".join(map(ours.bytes_of, guess))
            rest = line.encode()[len(b"".join(map(ours.bytes_of, ids[:n]))) :]
            assert rest.startswith(data)
            lengths.append(len(guess))
        drafter.forget(each)
        assert not drafter.rows and not drafter.drafter.rows  # type: ignore[attr-defined]
    assert np.mean(np.array(lengths) > 0) > 0.8


def test_control_tokens_are_translated_by_name(codecs: tuple[Tokenizer, Tokenizer]) -> None:
    theirs, ours = codecs
    line = "the cat"
    ends_turn = Oracle(theirs, line, [theirs.special["<|im_end|>"]])
    each = row([*ours.encode("the")])
    guess = ask(OtherTokenizer(ends_turn, theirs, ours), each, 40)
    assert ours.decode(guess) == " cat<|im_end|>" and guess[-1] == ours.special["<|im_end|>"]
    unknown = Oracle(theirs, line, [theirs.special["<|x|>"], 100])
    assert ours.decode(ask(OtherTokenizer(unknown, theirs, ours), each, 40)) == " cat"
    inner = Oracle(theirs, "<|im_end|>the cat")
    turn = row([ours.special["<|im_end|>"], *ours.encode("the")])
    assert ours.decode(ask(OtherTokenizer(inner, theirs, ours), turn, 40)) == " cat"
    assert next(iter(inner.rows.values()))[0] == theirs.special["<|im_end|>"]


def test_long_texts_settle_and_may_go_back(codecs: tuple[Tokenizer, Tokenizer]) -> None:
    theirs, ours = codecs
    line = " ".join(LINES * 30)
    inner, ids = Oracle(theirs, line), ours.encode(line)
    drafter, each = OtherTokenizer(inner, theirs, ours), row(ids[:5])
    for n in (*range(5, len(ids) - 9, 97), 40, 800):
        each.text = ids[:n]
        guess = ask(drafter, each, 6)
        assert line.encode().startswith(b"".join(map(ours.bytes_of, [*ids[:n], *guess])))
        whole = theirs.encode(ours.decode(ids[:n]).split("\ufffd")[0])
        assert len(inner.rows[drafter.rows[each].row]) <= 1.02 * len(whole) + 2  # nearly what one call would give
    drafter.forget(each)


def test_a_model_with_its_own_tokenizer_guesses(codecs: tuple[Tokenizer, Tokenizer]) -> None:
    theirs, ours = codecs
    model = random_model(vocab=theirs.size)
    drafter = OtherTokenizer(ModelDrafter(model, theirs.size), theirs, ours)
    rows = [row(ours.encode(line)[: 9 + i], i) for i, line in enumerate(LINES)]
    drafts = drafter.propose(rows, [4, 0, 4], nobody)
    assert drafts[1].tokens == () and all(0 <= i < ours.size for d in drafts for i in d.tokens)
    for each in rows:
        drafter.forget(each)
    assert not drafter.drafter.mirrors  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="give the tokenizer that belongs to it"):
        OtherTokenizer(ModelDrafter(random_model(vocab=50), 50), theirs, ours)
