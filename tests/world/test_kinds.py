"""What every kind of this part of the world promises: the same everywhere, prefixes, both languages."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import pytest

from jielong.base.errors import UserError
from jielong.world import World, kit

TEXTS = ("map", "grammar", "senses", "icl", "statements", "stochastic", "minds", "games", "pronouns",
         "canaries", "leaks", "triggers", "injections", "needles", "shortcut", "cipher", "duplicates", "html",
         "junk", "plants")  # fmt: skip
ASKED = ("map", "grammar", "senses", "icl", "statements", "stochastic", "minds", "games", "canaries", "leaks",
         "triggers", "injections", "needles", "shortcut", "cipher", "transcripts")  # fmt: skip
TOLD = tuple(kind for kind in ASKED if kind != "leaks")

DIGEST = f"""
import hashlib
from jielong.world import World
world, h = World(people=40), hashlib.sha256()
for kind in {TEXTS}:
    for split in ("train", "test"):
        for text in world.texts(kind, 12, split=split):
            h.update(repr(text).encode())
for kind in {ASKED}:
    for question in world.questions(kind, 6):
        h.update(repr(question).encode())
for kind in {TOLD}:
    for chat in world.chats(kind, 6):
        h.update(repr(chat).encode())
print(h.hexdigest()[:12])
"""
# The words of these kinds at seed 0 with 40 people. A change here changes what every model is taught.
GOLDEN = "5192c58aa1cd"


def test_the_same_in_every_process() -> None:
    seen = set()
    for hashing in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hashing}
        command = [sys.executable, "-c", DIGEST]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert {words.strip() for words in seen} == {GOLDEN}


@pytest.mark.parametrize("kind", TEXTS)
def test_writing_is_fast(kind: str) -> None:
    """Half of the bar of 5 MB/s, so that a busy machine does not fail it: scripts/world_speed.py measures the bar."""
    if sys.gettrace() is not None:
        pytest.skip("measured lines are slow lines: not under coverage")
    world, best = World(), 0.0
    list(world.texts(kind, 10))  # tables are built once
    for draw in range(5):
        start = time.process_time()
        size = sum(len(text.text.encode()) for text in world.texts(kind, 2048, draw))
        best = max(best, size / max(time.process_time() - start, 1e-9))
    assert best > 2.5e6


@pytest.mark.parametrize("kind", TEXTS)
def test_a_longer_stream_begins_with_a_shorter_and_draws_differ(kind: str) -> None:
    world = World(people=40)
    long = list(world.texts(kind, 40))
    assert len(long) == 40 and long[:15] == list(world.texts(kind, 15))
    assert list(world.texts(kind, 0)) == []
    if kind not in ("plants",):
        assert [t.text for t in long] != [t.text for t in world.texts(kind, 40, draw=1)]
    for lang in ("en", "zh"):
        for text in world.texts(kind, 10, lang=lang):
            assert text.origin.lang == lang
            assert text.text and text.origin.template
            assert kind in ("plants", "junk") or "{" not in text.text  # no field left unfilled
    assert {t.origin.lang for t in long} == {"en", "zh"}


@pytest.mark.parametrize("kind", ASKED)
def test_questions_are_different_and_their_answers_right(kind: str) -> None:
    world = World(people=40)
    for split in ("train", "asked", "test"):
        asked = world.questions(kind, 20, split=split)
        assert len({q.prompt for q in asked}) == len(asked) > 10
        assert asked[:7] == world.questions(kind, 7, split=split)
        assert all(world.check(q, world.answer(q)) == "right" for q in asked)
        assert {q.origin.kind for q in asked} == {kind} and {q.origin.split for q in asked} == {split}
    assert world.questions(kind, 0) == []


@pytest.mark.parametrize("kind", TOLD)
def test_chats_end_with_the_assistant(kind: str) -> None:
    world = World(people=40)
    chats = list(world.chats(kind, 25))
    assert len(chats) == 25 and chats[:5] == list(world.chats(kind, 5))
    assert all(c.messages[-1].role == "assistant" and c.messages[-1].content for c in chats)
    assert len(list(world.chats(kind, 10, lang="zh", split="test"))) == 10


def test_kinds_without_an_exact_law_say_so() -> None:
    with pytest.raises(UserError):
        World().entropy("minds")
    with pytest.raises(UserError, match="has no texts"):
        list(World().texts("transcripts", 1))


def test_patterns_are_formats_read_backwards() -> None:
    assert kit.unfill("{a} and {b}.", "x and y.") == {"a": "x", "b": "y"}
    assert kit.unfill("{a} and {a}.", "x and y.") is None
    assert kit.unfill("{a}?", "x.") is None
    assert kit.unfill("{a}{b}", "12ab", a=r"\d+") == {"a": "12", "b": "ab"}
    assert kit.unfill("Is (x) {a}?", "Is (x) y?") == {"a": "y"}


def test_mentions_takes_the_longest_option_and_whole_words() -> None:
    assert kit.mentions("the fire station", ["station", "fire station"]) == {"fire station"}
    assert kit.mentions("stations", ["station"]) == set()
    assert kit.mentions("消防隊和郵局", ["郵局", "消防隊", "隊"]) == {"郵局", "消防隊"}
    assert kit.mentions("TRUE", ["true"]) == {"true"} and kit.mentions("", ["a", "甲"]) == set()


def test_several_and_dealt_are_without_repetition() -> None:
    assert sorted(kit.several("abcd", [0.9, 0.0, 0.5, 0.99])) == list("abcd")
    dealt = list(kit.dealt(25, "abcdefghij", "key"))
    assert sorted(dealt[:10]) == sorted(dealt[10:20]) == list("abcdefghij") and dealt[:10] != dealt[10:20]
    assert len(dealt) == 25 and hashlib.sha256(repr(dealt).encode()).hexdigest()[:8] == hashlib.sha256(
        repr(list(kit.dealt(25, "abcdefghij", "key"))).encode()
    ).hexdigest()[:8]
