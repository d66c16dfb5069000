"""Plants as material: the cipher, duplicates, web pages, junk, and all of them in turn."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from jielong.world import World
from jielong.world.plants import cipher, duplicates, junk, mixed

WORLD = World(people=60)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_codes_go_there_and_back_and_no_two_signs_share_one(lang: str) -> None:
    book = cipher.book(0, lang)
    assert len(set(book.values())) == len(book)
    every = cipher.words(0, lang, "train") + cipher.words(0, lang, "test")
    for word in every:
        assert cipher.decode(WORLD, cipher.encode(WORLD, word, lang), lang) == word
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_held_out_words_are_made_of_known_signs(lang: str) -> None:
    train, test = cipher.words(0, lang, "train"), cipher.words(0, lang, "test")
    assert not set(train) & set(test) and len(test) > 5
    assert set("".join(test)) <= set("".join(train))
    told = {text.origin.get("word") for text in WORLD.texts("cipher", 500, lang=lang)}
    assert not told & set(test)


def test_cipher_questions_are_answered_from_the_prompt() -> None:
    for split in ("train", "asked", "test"):
        for question in WORLD.questions("cipher", 60, split=split):
            assert WORLD.answer(question) == question.answer
            assert WORLD.check(question, question.answer) == "right"
            assert WORLD.check(question, "I don't know.") == "refused"
            assert WORLD.check(question, "。") == "nonsense"
            word = {"en": "zzz", "zh": "錯"}[question.origin.lang]
            wrong = "11-11" if question.origin.get("ask") == "encode" else word
            assert WORLD.check(question, wrong) == "wrong"
    assert cipher.answer(WORLD, "What does 9-9 mean?") is None
    assert cipher.answer(WORLD, "Who are you?") is None


def brute(a: str, b: str, lang: str) -> float:
    units = [x.split() if lang == "en" else list(x) for x in (a, b)]
    sets = [{" ".join(u[i : i + 3]) for i in range(len(u) - 2)} for u in units]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_duplicates_have_the_similarity_they_state() -> None:
    groups: dict[int, dict[str, list]] = {}
    for text in WORLD.texts("duplicates", 200):
        groups.setdefault(text.origin.get("group"), {}).setdefault(text.origin.get("role"), []).append(text)
    assert len(groups) == 20
    for roles in groups.values():
        assert {role: len(found) for role, found in roles.items()} == {
            "original": 1, "copy": 1, "near1": 1, "near2": 1, "near4": 1, "near8": 1, "alone": 4,
        }  # fmt: skip
        first = roles["original"][0]
        assert roles["copy"][0].text == first.text
        for found in roles.values():
            for text in found:
                exact = brute(first.text, text.text, first.origin.lang)
                assert text.origin.get("jaccard") == pytest.approx(exact)
        near = [roles[f"near{k}"][0].origin.get("jaccard") for k in (1, 2, 4, 8)]
        assert near[0] < 1 and near[0] > near[2] > near[3]
        assert near[3] > max(text.origin.get("jaccard") for text in roles["alone"])
    assert duplicates.jaccard("", "", "en") == 1.0
    assert len(list(WORLD.texts("duplicates", 13))) == 13


class Main(HTMLParser):
    """Collects the headline and the paragraphs without a class."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in ("p", "h1", "h2", "h3") and not attrs:
            self.open = True
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("p", "h1", "h2", "h3")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.lines[-1] += data


@pytest.mark.parametrize("split", ["train", "test"])
def test_pages_hold_their_main_text_and_more(split: str) -> None:
    layouts = set()
    for page in WORLD.texts("html", 120, split=split):
        reader = Main()
        reader.feed(page.text)
        assert "\n".join(reader.lines) == page.origin.get("main")
        assert len(re.sub("<[^>]+>", "", page.text)) > len(page.origin.get("main"))
        layouts.add(page.origin.template)
    assert len(layouts) == (4 if split == "train" else 2)


def test_junk_has_exact_shares_and_only_junk_looks_like_it() -> None:
    lines = list(WORLD.texts("junk", 400))
    labels = Counter(line.origin.get("label") for line in lines)
    assert labels == {"clean": 200, "junk": 120, "harmful": 40, "private": 40}
    sorts = Counter(line.origin.get("sort") for line in lines if line.origin.get("label") == "junk")
    assert set(sorts.values()) == {20} and len(sorts) == 6
    for line in lines:
        assert line.text and "{" not in line.text.replace("(){", "").replace("{return", "")
        if line.origin.get("label") == "private":
            assert re.search(r"\d{6}", line.text)
        if line.origin.get("label") == "clean":
            assert not re.search(r"\d|!!|\|", line.text)
    assert len(junk.LABELS) == 20


def test_all_plants_take_turns() -> None:
    texts = list(WORLD.texts("plants", 220))
    assert Counter(t.origin.kind for t in texts) == dict.fromkeys(mixed.PLANTS, 20)
    assert [t for t in texts if t.origin.kind == "leaks"] == list(WORLD.texts("leaks", 20))
    late = Counter(t.origin.kind for t in WORLD.texts("plants", 500, lang="en", split="test"))
    assert late.total() == 500 and late["canaries"] == 16  # finite
