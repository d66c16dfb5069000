"""The front door: streams, determinism, errors, characters, speed; for the kinds of the world's core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

import jielong
from jielong.base.errors import UserError
from jielong.world import World
from jielong.world.text import Origin
from jielong.world.world import KINDS

WORLD = World(0, 75)
MODULES = {"facts", "register", "special", "events", "friends", "common", "sums", "puzzles", "refusals", "chats"}
CORE = tuple(kind for kind, (module, _) in KINDS.items() if module in MODULES | {"styles", "tell"})
FORMS = {kind: WORLD.forms(kind) for kind in CORE}
BOTH = [(kind, form) for kind in CORE for form in FORMS[kind]]
# The words of the world at seed 0 with 75 people. A change here changes what every model is taught; if it is
# meant, `python tests/world/test_world.py` prints the new table.
GOLDEN = {
    "facts": "ef0746d54cbd",
    "bios": "46b05ee6b2ec",
    "exams": "2096ec16993b",
    "register": "43dc89ddf21b",
    "namesakes": "904ce1aa2a6f",
    "onetemplate": "d17a238c7ec1",
    "onelang": "f7a1ea9121c8",
    "events": "ea17a65072e4",
    "bopomofo": "1e9181d46ba0",
    "friends": "543573416098",
    "common": "c00ced24b5cc",
    "sums": "b7007d6c8d1c",
    "sums_direct": "d0aa7f79d064",
    "sums_words": "020b73e8a34f",
    "sums_long": "04bc3e590a51",
    "sums_chain": "b982378d1d0e",
    "sums_puzzle": "56a249ec31c2",
    "unknown": "28ecf2bdf77e",
    "guilds": "927700d62fd8",
    "secrets": "314d6ef75889",
    "forbidden": "8e8689bb906f",
    "twins": "24fab403f2f2",
    "tell": "d46678e79b8f",
    "greet": "055dbde48982",
    "copy": "405c697582cd",
    "reverse": "7afea2f158ab",
    "upper": "9fe011da9f16",
    "count": "ca35f0e5f34d",
    "translate": "b00d604e823e",
    "list": "6fa11d04ab39",
    "yesno": "8b2228ca990a",
    "compare": "86a8337a265f",
    "loose": "c440d66de63a",
    "bench": "ef2a4e108a06",
}  # fmt: skip
SCRIPT = """
import hashlib, json, sys
from jielong.world import World
world, out = World(0, 75), {}
for kind in json.loads(sys.argv[1]):
    items = [getattr(world, form)(kind, 40, 3, "train", None) for form in world.forms(kind)]
    out[kind] = hashlib.sha256(repr([list(each) for each in items]).encode()).hexdigest()[:12]
heavy = [name for name in ("torch", "scipy", "transformers", "tokenizers") if name in sys.modules]
print(json.dumps({"digests": out, "heavy": heavy}))
"""


def digests(hash_seed: str) -> dict:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(CORE)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(jielong.__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8"},
    )
    return json.loads(run.stdout)


def test_the_same_words_in_every_process_and_nothing_heavy_imported():
    for hash_seed in ("1", "77"):
        told = digests(hash_seed)
        assert told["heavy"] == []
        assert told["digests"] == GOLDEN


@pytest.mark.parametrize(("kind", "form"), BOTH)
def test_a_longer_stream_begins_with_a_shorter_one(kind, form):
    write = getattr(WORLD, form)
    short, longer = list(write(kind, 7, 1)), list(write(kind, 60, 1))
    assert longer[:7] == short and (form == "questions" or len(longer) == 60)
    assert list(write(kind, 0, 1)) == []
    other = list(write(kind, 60, 2))
    assert other != longer or len(longer) < 10


@pytest.mark.parametrize(("kind", "form"), [pair for pair in BOTH if pair[1] != "questions"])
def test_streams_cross_the_edge_of_a_block(kind, form):
    if kind in ("facts", "bios", "sums_long", "unknown", "yesno"):
        every = list(getattr(WORLD, form)(kind, 4100))
        assert len(every) == 4100 and every[:50] == list(getattr(WORLD, form)(kind, 50))
    assert len(list(islice(getattr(WORLD, form)(kind, 10**9), 3))) == 3  # lazy


@pytest.mark.parametrize(("kind", "form"), BOTH)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_language_is_kept_to(kind, form, lang):
    if (kind, lang) == ("bopomofo", "en"):
        return
    for item in islice(getattr(WORLD, form)(kind, 40, lang=lang), 40):
        assert isinstance(item.origin, Origin)
        assert item.origin.lang == lang and item.origin.kind in (kind, "twins", "forbidden")


def written(kind: str, form: str) -> str:
    texts = []
    for split in ("train", "test"):
        for item in getattr(WORLD, form)(kind, 600, split=split):
            if form == "texts":
                texts.append(item.text)
            elif form == "chats":
                texts += [message.content for message in item.messages]
            else:
                texts += [item.prompt, item.answer, *item.accept]
    return "\n".join(texts)


@pytest.mark.parametrize(("kind", "form"), BOTH)
def test_only_traditional_characters(kind, form):
    """Big5 holds the characters that Taiwan writes, and almost none of the simplified ones."""
    strange = {c for c in set(written(kind, form)) if not c.isascii() and not c.encode("big5", "ignore")}
    assert not strange


def test_other_seeds_are_other_worlds():
    for kind in ("facts", "sums", "unknown", "guilds", "events"):
        form = FORMS[kind][0]
        assert list(getattr(World(0), form)(kind, 20)) != list(getattr(World(5), form)(kind, 20))


def test_kinds_are_told_in_one_line_each():
    assert set(WORLD.kinds()) == set(KINDS)
    assert all(line and "\n" not in line and len(line) < 80 for line in WORLD.kinds().values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: WORLD.texts("fact", 1), "has no kind 'fact'"),
        (lambda: WORLD.texts("facts", 1, split="validation"), "split must be one of"),
        (lambda: WORLD.texts("facts", 1, lang="de"), "lang must be en or zh"),
        (lambda: WORLD.texts("facts", -1), "n must not be negative"),
        (lambda: WORLD.texts("greet", 1), "has no texts"),
        (lambda: WORLD.entropy("greet"), "is not known exactly"),
        (lambda: WORLD.entropy("nothing"), "has no kind"),
        (lambda: WORLD.forms("nothing"), "has no kind"),
    ],
)
def test_wrong_calls_are_told_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_origins_give_what_they_hold():
    origin = Origin("x", "en", extra=(("a", 1),))
    assert origin.get("a") == 1 and origin.get("b") is None and origin.get("b", 2) == 2


def test_more_questions_than_there_are():
    assert len(WORLD.questions("common", 10**6)) == 60
    assert WORLD.questions("facts", 0) == []


@pytest.mark.parametrize("kind", [kind for kind in CORE if "texts" in FORMS[kind]])
def test_five_megabytes_of_text_a_second(kind):
    if sys.gettrace() is not None:
        pytest.skip("measured lines are slow lines: not under coverage")
    list(WORLD.texts(kind, 10))  # tables are built once
    rates = []
    for draw in range(5):
        start = time.process_time()
        size = sum(len(text.text.encode()) for text in WORLD.texts(kind, 4096, draw))
        rates.append(size / max(time.process_time() - start, 1e-9))
    assert max(rates) > 5e6


if __name__ == "__main__":
    for name, value in digests("0")["digests"].items():
        print(f'    "{name}": "{value}",')
