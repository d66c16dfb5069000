"""The grammar: trees are trees, the law is what is sampled, faults are faults, senses are told apart."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter

import pytest

from jielong.base import stats
from jielong.world import World, grammar, syntax
from jielong.world.draws import rows
from jielong.world.words.grammar import POS_NAMES, SCENES, SENSES

WORLD = World()


@pytest.fixture(scope="module")
def laws() -> dict[str, dict[str, float]]:
    return {lang: {text: p for p, text in grammar.law(WORLD, "grammar", lang)} for lang in ("en", "zh")}


@pytest.fixture(scope="module")
def sampled() -> list:
    return list(WORLD.texts("grammar", 4000))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_skeletons_sum_to_one_and_differ(lang: str) -> None:
    every = syntax.skeletons(lang)
    assert math.fsum(s.p for s in every) == pytest.approx(1, abs=1e-12)
    assert len({(s.symbols, s.forms, s.heads, s.relations) for s in every}) == len(every)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_tree_is_projective_with_one_root(lang: str) -> None:
    for skeleton in syntax.skeletons(lang):
        assert skeleton.heads.count(0) == skeleton.relations.count("root") == 1
        for i in range(len(skeleton.heads)):
            at, seen = i + 1, set()
            while at:
                assert at not in seen
                seen.add(at)
                at = skeleton.heads[at - 1]
        arcs = [(min(i, h), max(i, h)) for i, h in enumerate(skeleton.heads, 1) if h]
        assert not [1 for a, b in arcs for c, d in arcs if a < c < b < d]


def test_the_words_of_the_tree_write_the_text(sampled: list) -> None:
    for text in sampled:
        tokens = text.origin.get("tokens")
        assert text.text == syntax.write(tokens, text.origin.lang)
        assert len(tokens) == len(text.origin.get("upos")) == len(text.origin.get("heads"))
        if text.origin.lang == "zh":
            assert "".join(tokens) == text.text
        for place, sense in text.origin.get("senses"):
            assert any(sense in senses for senses in SENSES[text.origin.lang].values()) and tokens[place]


def test_english_subjects_agree_with_their_verbs(sampled: list) -> None:
    parts = [part for table in SCENES["en"].values() for part in table.split(" | ")]
    nouns = [part[3:].split() for part in parts if part[0] == "N"]
    plural = {forms.split("%")[0].split("/")[1] for line in nouns for forms in line}
    checked = 0
    for text in sampled:
        tokens, heads = text.origin.get("tokens"), text.origin.get("heads")
        for i, relation in enumerate(text.origin.get("relations")):
            if text.origin.lang == "en" and relation == "cop":
                subject = next(
                    j for j, h in enumerate(heads)
                    if h == heads[i] and text.origin.get("relations")[j] == "nsubj"
                )  # fmt: skip
                assert (tokens[i] == "are") == (tokens[subject] in plural)
                checked += 1
    assert checked > 300


def test_laws_sum_to_one_and_match_the_samples(laws: dict[str, dict[str, float]]) -> None:
    values = []
    for lang, law in laws.items():
        assert math.fsum(law.values()) == pytest.approx(1, abs=1e-9)
        counts = Counter(t.text for t in WORLD.texts("grammar", 20000, draw=3, lang=lang))
        assert set(counts) <= set(law)
        likeliest = sorted(law, key=lambda t: (-law[t], t))[:150]
        rest = 20000 - sum(counts[t] for t in likeliest)
        probs = [law[t] for t in likeliest]
        values.append(stats.g_test([*(counts[t] for t in likeliest), rest], [*probs, 1 - sum(probs)]))
    assert min(stats.holm(values)) > 1e-3


def test_the_law_of_senses_holds_across_languages() -> None:
    law = list(grammar.law(WORLD, "senses"))
    assert math.fsum(p for p, _ in law) == pytest.approx(1, abs=1e-9)
    english = sum(p for p, text in law if text.isascii())
    counts = Counter(text.origin.lang for text in WORLD.texts("senses", 8000, draw=2))
    assert stats.g_test([counts["en"], counts["zh"]], [english, 1 - english]) > 1e-3


def test_strings_with_several_trees_are_merged(laws: dict[str, dict[str, float]]) -> None:
    trees: Counter[str] = Counter()
    for frame in syntax.frames(0, "en")[:108]:
        for _, choice in syntax.enumerate_sentences(frame):
            trees[syntax.write(frame.tokens(choice), "en")] += 1
    assert 2 in trees.values() and max(trees.values()) == 2  # "near the barn" hangs on the verb or the noun
    assert WORLD.entropy("grammar", "zh").strings == len(laws["zh"])


def test_held_out_strings_are_in_no_training_text(laws: dict[str, dict[str, float]], sampled: list) -> None:
    test = {t.text for t in WORLD.texts("grammar", 1000, split="test")}
    assert not test & {t.text for t in sampled}
    assert all(text not in laws["en"] and text not in laws["zh"] for text in test)


@pytest.mark.parametrize("kind", ["grammar", "senses"])
def test_a_block_drawn_at_once_is_every_sentence_drawn_by_itself(kind: str) -> None:
    """The law, word by word: the frame whose share holds the second uniform, then a word for each slot."""
    known = grammar._book(0, kind, ("en", "zh"))
    u = next(rows(300, 14, "test", kind))
    at, choices = known.draw(u)
    sensed = known.sensed(at, choices)
    for place, row in enumerate(u.tolist()):
        tongue = int(row[0] * 2)
        frame = known.frames[known.starts[tongue] + bisect_right(known.heights[tongue], row[1])]
        words = [slot[bisect_right(shares, x)] for slot, shares, x in zip(frame.slots, frame.shares, row[2:])]
        chosen = [slot[i] for slot, i in zip(frame.slots, choices[place].tolist())]
        assert known.frames[at[place]] is frame
        assert chosen == words + [slot[0] for slot in frame.slots[len(words) :]]
        assert frame.tokens(choices[place]) == tuple(chosen[slot].forms[form] for slot, form in frame.pieces)
        assert sensed[place] == any(word.sense for word in chosen)


def test_senses_are_told_apart_by_their_scene() -> None:
    senses: dict[str, set] = {}
    for lang in ("en", "zh"):
        for frame in syntax.frames(0, lang)[::3]:
            if not any(word.sense for slot in frame.slots for word in slot):
                continue
            for _, choice in syntax.enumerate_sentences(frame):
                text = syntax.write(frame.tokens(choice), lang)
                senses.setdefault(text, set()).add(frame.senses(choice))
    assert all(len(found) == 1 for found in senses.values())


def test_kind_senses_always_has_a_word_of_several_senses() -> None:
    found = Counter()
    for text in WORLD.texts("senses", 1500):
        assert text.origin.get("senses")
        found.update((text.origin.lang, sense) for _, sense in text.origin.get("senses"))
    wanted = {(lang, sense) for lang in SENSES for senses in SENSES[lang].values() for sense in senses}
    assert set(found) == wanted


def test_minimal_pairs_differ_in_one_place_and_one_is_wrong(laws: dict[str, dict[str, float]]) -> None:
    names = set()
    for good, bad in grammar.minimal_pairs(WORLD, 800):
        names.add(good.origin.get("phenomenon"))
        law = laws[good.origin.lang]
        assert good.text in law and bad.text not in law and not (grammar.held_out(good.text))
        assert good.origin.get("grammatical") and not bad.origin.get("grammatical")
        assert good.origin.get("tokens") == bad.origin.get("tokens")
        if good.origin.lang == "en":
            changed = [a != b for a, b in zip(good.text.rstrip(".?").split(), bad.text.rstrip(".?").split())]
            assert sum(changed) == 1
        else:
            moved = sorted(good.text) == sorted(bad.text)
            assert len(good.text) == len(bad.text) and moved == (good.origin.get("phenomenon") == "order")
    assert names == {"agreement", "agreement_attractor", "agreement_distance", "demonstrative", "after_do",
                     "classifier", "classifier_distance", "order"}  # fmt: skip


@pytest.mark.parametrize("kind, split", [("grammar", "train"), ("grammar", "test"), ("senses", "asked")])
def test_questions_have_one_right_option(kind: str, split: str) -> None:
    asked = WORLD.questions(kind, 200, split=split)
    assert len({q.prompt for q in asked}) == 200
    for question in asked:
        assert WORLD.check(question, question.answer) == "right"
        assert WORLD.check(question, "hm ?") == "nonsense"
        others = [o for o in question.origin.get("options") if o not in question.accept]
        assert all(WORLD.check(question, other) == "wrong" for other in others)
        if question.origin.get("ask") == "pos":
            names = POS_NAMES[question.origin.lang]
            tags = dict(zip(question.origin.get("tokens"), question.origin.get("upos")))
            word = next(t for t in tags if f'"{t}"' in question.prompt or f"「{t}」" in question.prompt)
            assert question.accept == (names[tags[word]],)
    letters = Counter(q.accept[0] for q in asked if q.origin.get("ask") == "right")
    assert kind == "senses" or min(letters["A"], letters["B"]) > 0.3 * sum(letters.values())


def test_letters_are_read_as_capitals() -> None:
    question = next(q for q in WORLD.questions("grammar", 50, lang="en") if q.accept == ("B",))
    assert WORLD.check(question, "B is a good sentence") == "right"
    assert WORLD.check(question, "either A or B") == "wrong"
