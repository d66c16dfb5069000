"""Addition: step by step with units first, direct, as a small story, longer than taught, and chains.

Digits are written without blanks, so each is one token and each step needs only what is near. A fifth of
the unordered pairs of two-digit operands is held out: both orders, both languages, every form. `test` is
held-out pairs (stories also in held-out wordings), `train` and `asked` are the other pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from jielong.base import noise
from jielong.base.errors import UserError
from jielong.world.check import is_refusal, normal
from jielong.world.draws import langs, picks, shuffled, stream
from jielong.world.text import Chat, Message, Origin, Question, Text

if TYPE_CHECKING:
    from jielong.world.world import World

Item = tuple[str, str, str, int, tuple[tuple[str, int], ...]]  # language, prompt, reply, result, operands

ASK: dict[str, tuple[str, ...]] = {
    "en": ("What is {a}+{b}?", "{a}+{b}=?", "How much is {a} + {b}?", "Add {a} and {b}.", "Compute {a}+{b}."),
    "zh": ("{a}+{b}是多少？", "{a}+{b}=？", "{a}加{b}等於多少？", "{a} + {b}是多少？", "請算{a}+{b}。"),
}
ASK_DIRECT: dict[str, tuple[str, ...]] = {
    "en": ("What is {a}+{b}? No steps.", "{a}+{b}? Only the result."),
    "zh": ("{a}+{b}是多少？不用步驟。", "{a}+{b}？只要答案。"),
}
ASK_CHAIN: dict[str, tuple[str, ...]] = {
    "en": ("What is {a}+{b}-{c}?", "Compute {a}+{b}-{c}."),
    "zh": ("{a}+{b}-{c}是多少？", "請算{a}+{b}-{c}。"),
}
STORIES: dict[str, tuple[str, ...]] = {
    "en": (
        "There are {a} ducks and {b} hens. How many birds is that?",
        "A farmer has {a} goats and buys {b} more. How many goats now?",
        "I read {a} pages today and {b} pages before. How many pages is that?",
        "{a} people are on the train and {b} get on. How many people now?",
        "One box has {a} pens, the other has {b}. How many pens are there?",
        "A shop sold {a} cakes today and {b} before. How many cakes is that?",
    ),
    "zh": (
        "有{a}隻鴨子和{b}隻母雞，一共有幾隻？",
        "農夫有{a}隻山羊，又買了{b}隻，現在有幾隻？",
        "我今天看了{a}頁，之前看了{b}頁，一共看了幾頁？",
        "車上有{a}個人，又上來{b}個人，現在有幾個人？",
        "一個盒子有{a}枝筆，另一個有{b}枝，一共有幾枝？",
        "店裡今天賣了{a}個蛋糕，之前賣了{b}個，一共賣了幾個？",
    ),
}
STORIES_TEST: dict[str, tuple[str, ...]] = {
    "en": (
        "A farmer has {a} hens and buys {b} more. How many hens now?",
        "I sold {a} pens today and {b} pens before. How many pens is that?",
    ),
    "zh": ("農夫有{a}隻母雞，又買了{b}隻，現在有幾隻？", "我今天賣了{a}枝筆，之前賣了{b}枝，一共賣了幾枝？"),
}
LINE = {"en": ("{a}+{b}:", "{a} plus {b} is"), "zh": ("{a}+{b}：", "{a}加{b}是")}  # steps, direct
LOW, HIGH = 10, 99


def steps(a: int, b: int, lang: str) -> str:
    """The reply in steps: "7+8=15, 4+3+1=8, so 85." for 47+38; a missing digit counts as 0."""
    lines, carry = [], 0
    for x, y in zip_longest(reversed(str(a)), reversed(str(b)), fillvalue="0"):
        total = int(x) + int(y) + carry
        lines.append(f"{x}+{y}+1={total}" if carry else f"{x}+{y}={total}")
        carry = total // 10
    return "，".join(lines) + f"，所以是{a + b}。" if lang == "zh" else ", ".join(lines) + f", so {a + b}."


@lru_cache(maxsize=8)
def held_out(seed: int) -> frozenset[tuple[int, int]]:
    """The unordered pairs (smaller first) that training never sees: a fifth of 4,095."""
    every = [(a, b) for a in range(LOW, HIGH + 1) for b in range(a, HIGH + 1)]
    order = noise.permutation(noise.seed_of("world", seed, "sums"), len(every))
    return frozenset(every[i] for i in order[: len(every) // 5].tolist())


@lru_cache(maxsize=8)
def pairs(seed: int, test: bool) -> tuple[tuple[int, int], ...]:
    """Ordered pairs, of tests or of training."""
    out = held_out(seed)
    numbers = range(LOW, HIGH + 1)
    return tuple((a, b) for a in numbers for b in numbers if ((min(a, b), max(a, b)) in out) == test)


def long_split(a: int, b: int) -> str:
    """The split of a pair of longer numbers, by a hash of the unordered pair: a fifth is `test`."""
    low, high = min(a, b), max(a, b)
    mixed = ((low * 1_000_003 + high) * 0x9E3779B97F4A7C15) & (2**64 - 1)
    return "test" if (mixed >> 32) % 5 == 0 else "train"


def stories(lang: str, split: str) -> tuple[str, ...]:
    """The wordings of small stories of a split."""
    return STORIES_TEST[lang] if split == "test" else STORIES[lang]


def reply(kind: str, a: int, b: int, lang: str) -> str:
    """The right reply to a sum of two numbers."""
    if kind == "sums_direct":
        return f"{a + b}。" if lang == "zh" else f"{a + b}."
    return steps(a, b, lang)


def wordings(kind: str, lang: str, split: str) -> tuple[str, ...]:
    """How a sum is asked."""
    if kind == "sums_words":
        return stories(lang, split)
    return {"sums_direct": ASK_DIRECT, "sums_chain": ASK_CHAIN}.get(kind, ASK)[lang]


@dataclass(frozen=True)
class Sums(Sequence[Item]):
    """Every sum of two-digit pairs in every wording, made when asked for; `line`: the form of documents."""

    seed: int
    kind: str
    split: str
    tongues: tuple[str, ...]
    line: bool

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The operands of the split."""
        return pairs(self.seed, self.split == "test")

    @cached_property
    def wordings(self) -> list[tuple[str, ...]]:
        """The patterns of each language, equally many."""
        if self.line:
            return [(LINE[tongue][self.kind == "sums_direct"],) for tongue in self.tongues]
        return [wordings(self.kind, tongue, self.split) for tongue in self.tongues]

    def __len__(self) -> int:
        return len(self.tongues) * len(self.pairs) * len(self.wordings[0])

    def __getitem__(self, place: Any) -> Any:
        place, wording = divmod(place, len(self.wordings[0]))
        which, number = divmod(place, len(self.pairs))
        (a, b), tongue = self.pairs[number], self.tongues[which]
        prompt = self.wordings[which][wording].format(a=a, b=b)
        return tongue, prompt, reply(self.kind, a, b, tongue), a + b, (("a", a), ("b", b))


def _drawn_items(kind: str, split: str, lang: str | None, key: tuple[object, ...]) -> Iterator[Item]:
    """An endless stream of longer sums."""
    tongues = langs(lang)
    for which, wording, d1, d2, x, y in picks(10**15, [len(tongues), 5, 3, 3, 2**52, 2**52], *key):
        low1, low2 = 10 ** (d1 + 2), 10 ** (d2 + 2)
        a, b = low1 + (x * 9 * low1 >> 52), low2 + (y * 9 * low2 >> 52)
        if (long_split(a, b) == "test") == (split == "test"):
            tongue = tongues[which]
            ask = ASK[tongue][wording].format(a=a, b=b)
            yield tongue, ask, steps(a, b, tongue), a + b, (("a", a), ("b", b))


def _chain_items(world: World, split: str, lang: str | None, key: tuple[object, ...]) -> Iterator[Item]:
    """An endless stream of a + b - c with the pair (a, b) of the split and a result of 0 or more."""
    tongues, every = langs(lang), pairs(world.seed, split == "test")
    for which, place, wording, z in picks(10**15, [len(tongues), len(every), 2, 2**52], *key):
        a, b = every[place]
        c = LOW + (z * (min(HIGH, a + b) - LOW + 1) >> 52)
        tongue, total = tongues[which], a + b - c
        ask = ASK_CHAIN[tongue][wording].format(a=a, b=b, c=c)
        yield tongue, ask, chain(a, b, c, tongue), total, (("a", a), ("b", b), ("c", c))


def chain(a: int, b: int, c: int, lang: str) -> str:
    """The reply to a + b - c."""
    first, second = f"{a}+{b}={a + b}", f"{a + b}-{c}={a + b - c}"
    return f"{first}，{second}，所以是{a + b - c}。" if lang == "zh" else f"{first}, {second}, so {a + b - c}."


def _items(world: World, kind: str, n: int, draw: int, split: str, lang: str | None, use: str) -> Iterator[Item]:
    key = (world.seed, kind, use, split, lang or "", draw)
    if kind == "sums_long":
        return islice(_drawn_items(kind, split, lang, key), n)
    if kind == "sums_chain":
        return islice(_chain_items(world, split, lang, key), n)
    every = Sums(world.seed, kind, split, langs(lang), line=False)
    return iter(shuffled(n, every, *key)) if use == "questions" else stream(n, every, *key)


def _origin(kind: str, split: str, item: Item) -> Origin:
    return Origin(kind, item[0], f"sum.{item[3]}", kind, split, "", (*item[4], ("result", item[3])))


def _document(item: Item) -> str:
    return f"{item[1]}{item[2]}" if item[0] == "zh" else f"{item[1]} {item[2]}"


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """Documents: a sum and its steps, "47+38: 7+8=15, 4+3+1=8, so 85."; each of a split as likely."""
    if kind in ("sums", "sums_direct"):
        return stream(n, _lines(world.seed, kind, split, langs(lang)), world.seed, kind, split, lang or "", draw)
    items = _items(world, kind, n, draw, split, lang, "texts")
    return (Text(_document(item), _origin(kind, split, item)) for item in items)


@lru_cache(maxsize=16)
def _lines(seed: int, kind: str, split: str, tongues: tuple[str, ...]) -> tuple[Text, ...]:
    """Every document of the shortest kinds, so that writing many of them is only choosing."""
    every = Sums(seed, kind, split, tongues, line=True)
    return tuple(Text(_document(item), _origin(kind, split, item)) for item in every)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its reply."""
    for item in _items(world, kind, n, draw, split, lang, "chats"):
        yield Chat((Message("user", item[1]), Message("assistant", item[2])), _origin(kind, split, item))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Questions; the last number of a reply is its answer."""
    return [
        Question(item[1], item[2], (str(item[3]),), _origin(kind, split, item))
        for item in _items(world, kind, n, draw, split, lang, "questions")
    ]


def check(world: World, question: Question, reply: str) -> str:
    """The last number of the reply is compared."""
    reply = normal(reply)
    numbers = re.findall(r"\d+", reply)
    if numbers:
        return "right" if numbers[-1].lstrip("0") == question.accept[0].lstrip("0") else "wrong"
    return "refused" if is_refusal(reply) else "nonsense"


def answer(world: World, prompt: str) -> str | None:
    """The oracle: reads the numbers of the prompt."""
    numbers = [int(each) for each in re.findall(r"\d+", prompt)]
    lang = "zh" if re.search(r"[一-鿿？]", prompt) else "en"
    if len(numbers) == 3:
        return chain(numbers[0], numbers[1], numbers[2], lang)
    if len(numbers) != 2:
        return None
    a, b = numbers
    direct = re.search(r"No steps|Only the result|不用步驟|只要答案", prompt)
    return reply("sums_direct" if direct else "sums", a, b, lang)


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document) of the two-digit kinds, of training."""
    if kind in ("sums_long", "sums_chain"):
        raise UserError(f"the entropy of '{kind}' is not known exactly; ask for sums")
    every = Sums(world.seed, kind, "train", langs(lang), line=kind != "sums_words")
    yield from ((1 / len(every), _document(item)) for item in every)
