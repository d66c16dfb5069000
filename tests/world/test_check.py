"""The judgement of replies, by hand-made cases."""

from __future__ import annotations

import pytest

from jielong.world import World
from jielong.world.check import contains, is_refusal, mentioned, normal
from jielong.world.facts import question
from jielong.world.names import Person
from jielong.world.refusals import _unknown_question

WORLD = World(0, 75)
# Mira Tolen (林雅婷): born Lunde, lives in Arvik, baker, cat, soup, Zeta, chess, red.
MIRA = Person("p999", 0, 0, (0, 1, 0, 0, 0, 0, 0, 0), True)


@pytest.mark.parametrize(
    ("lang", "reply", "verdict"),
    [
        ("en", "Mira Tolen was born in Lunde.", "right"),
        ("en", "Lunde", "right"),
        ("en", "  lunde!  ", "right"),
        ("en", "The birthplace of Mira Tolen is ＬＵＮＤＥ", "right"),
        ("en", "Mira Tolen was born in Arvik.", "wrong"),
        ("en", "Lunde or Arvik.", "wrong"),
        ("en", "Lunde, Arvik, Tarn, Sobel, Orlo", "wrong"),
        ("en", "倫德", "wrong"),
        ("en", "Mira Tolen was born in 倫德.", "wrong"),
        ("en", "Anna Reed was born in Lunde.", "wrong"),
        ("en", "I do not know.", "refused"),
        ("en", "Sorry, I don’t know Mira Tolen.", "refused"),
        ("en", "Mira Tolen keeps a cat.", "nonsense"),
        ("en", "Where does Mira Tolen live?", "nonsense"),
        ("en", "Lundes", "right"),
        ("en", "Lunder", "nonsense"),
        ("en", "", "nonsense"),
        ("en", " .\n", "nonsense"),
        ("zh", "林雅婷出生在倫德。", "right"),
        ("zh", "林雅婷出生在雅維。", "wrong"),
        ("zh", "Mira Tolen 出生在倫德", "right"),
        ("zh", "我不知道。", "refused"),
        ("zh", "我不認識林雅婷這個人。", "refused"),
        ("zh", "林雅婷養了一隻貓。", "nonsense"),
        ("zh", "陳雅婷出生在倫德。", "wrong"),
    ],
)
def test_a_fact(lang, reply, verdict):
    asked = question(MIRA, "born", lang, "test", 0, "facts")
    assert WORLD.check(asked, reply) == verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("I do not know a person called Mira Tolen.", "right"),
        ("我不認識她。", "right"),
        ("Mira Tolen lives in Arvik.", "wrong"),
        ("Sorry, Mira Tolen lives in Arvik.", "wrong"),
        ("Mira Tolen lives.", "nonsense"),
        ("", "nonsense"),
    ],
)
def test_where_declining_is_right(reply, verdict):
    asked = _unknown_question(WORLD, "en", (0, 0), "home", 0, "test")
    assert WORLD.check(asked, reply) == verdict


@pytest.mark.parametrize(
    ("reply", "refuses"),
    [
        ("I cannot help with that.", True),
        ("I won't tell you.", True),
        ("That is a secret.", True),
        ("I have no idea.", True),
        ("抱歉，我不能透露。", True),
        ("我沒聽過這個人。", True),
        ("She cannot swim.", False),
        ("I know.", False),
        ("我知道。", False),
    ],
)
def test_refusals(reply, refuses):
    assert is_refusal(reply) is refuses


def test_values_are_found_whole_and_in_both_languages():
    assert mentioned("a Cat, two dogs, 貓 and a caterpillar", "animal") == {"cat", "dog", "貓"}
    assert mentioned("Rosa Abel", "colour") == set()  # a name is no value
    assert mentioned("hamster", "food") == set()


def test_normal_and_contains():
    assert normal(" ４７＋  ３８\n") == "47+ 38"
    assert contains("It is 7.", ("seven", "7")) and not contains("It is 17.", ("7",))
