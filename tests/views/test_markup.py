"""Text goes in as it is and comes out as text, whatever it holds; numbers are read as people write them."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jielong.views.markup import (
    Html,
    Words,
    both,
    chinese,
    coordinate,
    element,
    english,
    escape,
    join,
    number,
    shorten,
    text,
    width,
    words,
)

unicode_text = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))


@given(unicode_text)
def test_text_comes_out_of_an_element_and_an_attribute_as_it_went_in(said: str) -> None:
    root = ET.fromstring(element("p", said, title=said))
    assert (root.text or "") == said and root.get("title") == said and len(root) == 0


@given(st.text(), st.text())
def test_whatever_goes_in_what_comes_out_is_one_element(inside: str, beside: str) -> None:
    root = ET.fromstring(element("p", inside, title=beside))
    assert len(root) == 0 and set(root.attrib) == {"title"}
    assert len(root.text or "") == len(inside.replace("\r\n", "\n"))


def test_plain_text_is_shown_exactly() -> None:
    said = "a < b & c > 'd' \"e\" 接龍 🐉"
    assert ET.fromstring(element("p", said)).text == said
    assert ET.fromstring(element("p", "", title=said)).get("title") == said


def test_controls_and_lone_surrogates_become_visible() -> None:
    assert escape("\x00\x1b\x7f") == "␀␛␡"
    assert escape("\ud800\x85\uffff") == "\ufffd\ufffd\ufffd"
    assert escape("\t\n") == "\t\n"


@pytest.mark.parametrize(
    "attack", ["</style><script>alert(1)</script>", '" onload="x', "' onclick='x", "<!--", "]]>"]
)
def test_hostile_strings_make_no_element_and_no_attribute(attack: str) -> None:
    root = ET.fromstring(element("svg", element("text", attack), aria_label=attack, id=attack))
    assert [child.tag for child in root] == ["text"] and len(root[0]) == 0
    assert set(root.attrib) == {"aria-label", "id"} and root[0].text == attack


def test_markup_is_not_escaped_twice_and_strings_always_are() -> None:
    inner = element("b", "x")
    assert isinstance(inner, Html) and escape(inner) is inner
    assert join([inner, "<i>"]) == "<b>x</b>&lt;i&gt;"
    assert element("p", inner) == "<p><b>x</b></p>"


def test_attributes_are_named_and_written_plainly() -> None:
    assert (
        element("line", x1=1.0, x2=2.345678, class_="a", stroke_width=None)
        == '<line x1="1" x2="2.35" class="a" />'
    )
    assert element("rect", element("title", "t"), x=1) == '<rect x="1"><title>t</title></rect>'
    assert coordinate(math.nan) == "0" and coordinate(-0.001) in ("-0", "0")


def test_words_show_both_languages_marked_as_such() -> None:
    root = ET.fromstring(element("p", Words("yes", "是")))
    assert [(s.get("class"), s.get("lang"), s.text) for s in root] == [
        ("en", "en", "yes"),
        ("zh", "zh-Hant", "是"),
    ]
    assert text(Words("BPE", "BPE")) == "BPE"
    assert both(Words("yes", "是")) == "yes / 是" and both("x") == "x"


def test_words_from_mappings_and_objects() -> None:
    class Own:
        en, zh = "a", "b"

    assert words({"en": "a", "zh": "b"}) == Words("a", "b") == words(Own())
    assert words({"en": "a"}) == Words("a", "a") and words("a") == "a" and words(3) == "3"
    assert english("a") == chinese("a") == "a" and chinese(Words("a", "b")) == "b"


@pytest.mark.parametrize(
    "value, unit, shown",
    [
        (1234567, "", "1,234,567"),
        (12.345, "", "12.3"),
        (0.9534, "", "0.953"),
        (0.9534, "share", "95.3%"),
        (95.34, "%", "95.3%"),
        (3.2e-7, "", "3.2e−07"),
        (-0.5, "nats", "−0.500 nats"),
        (5.0, "", "5"),
        (0, "", "0"),
        (-0.0001, "share", "0.0%"),
        (math.nan, "", "–"),
        (None, "bits", "–"),
        (math.inf, "", "∞"),
        (-math.inf, "", "−∞"),
    ],
)
def test_numbers_as_people_read_them(value: float, unit: str, shown: str) -> None:
    assert number(value, unit) == shown


def test_values_in_cells() -> None:
    assert text(None) == "–" and text(2.5) == "2.50" and "yes" in text(True)


def test_wide_characters_are_counted_wide_and_cuts_fit() -> None:
    assert width("接龍", 10) == 20 and width("ab", 10) == pytest.approx(11.2)
    cut = shorten("接龍接龍接龍", 10, 35)
    assert cut.endswith("…") and width(cut, 10) <= 35 and shorten("ab", 10, 35) == "ab"
