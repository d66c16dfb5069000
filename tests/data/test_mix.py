import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jielong.base.errors import UserError
from jielong.data.chats import ChatRecord
from jielong.data.mix import in_validation, mix, mixture, split, weigh, weighted
from jielong.data.read import Document, read
from jielong.data.tokens import Tokens

sources = st.lists(st.tuples(st.integers(0, 8), st.floats(0.01, 10)), min_size=1, max_size=4)


def labelled(rows: list[tuple[int, float]]) -> list[tuple[list[tuple[int, int]], float]]:
    return [([(i, k) for k in range(n)], weight) for i, (n, weight) in enumerate(rows)]


@given(sources, st.integers(0, 3))
def test_once_gives_every_item_once_in_order(rows, seed):
    parts = labelled(rows)
    got = list(mix(parts, seed))
    assert sorted(got) == sorted(item for items, _ in parts for item in items)
    for i, (items, _) in enumerate(parts):
        assert [item for item in got if item[0] == i] == items
    assert got == list(mix([(iter(items), weight) for items, weight in parts], seed))


@given(sources, st.integers(0, 3))
def test_first_stops_with_the_first_that_ends(rows, seed):
    parts = labelled(rows)
    got = list(mix(parts, seed, ends="first"))
    counts = Counter(i for i, _ in got)
    if min(n for n, _ in rows) == 0:
        assert got == []
        return
    assert counts[got[-1][0]] == rows[got[-1][0]][0]  # the last item was the last of its source
    assert sum(counts[i] == n for i, (n, _) in enumerate(rows)) == 1
    assert got == list(mix(parts, seed))[: len(got)]  # up to there nothing is different


@given(sources, st.integers(0, 3))
def test_repeat_ends_when_all_have_been_seen(rows, seed):
    parts = labelled(rows)
    got = list(mix(parts, seed, ends="repeat"))
    assert set(got) == {item for items, _ in parts for item in items}
    if not got:
        return
    last, (n, _) = got[-1][0], rows[got[-1][0]]
    assert got.count((last, n - 1)) == 1 and got[-1] == (last, n - 1)  # ended with the slowest, seen once
    for i, (items, _) in enumerate(parts):
        mine = [item for item in got if item[0] == i]
        assert mine == (items * (len(mine) + 1))[: len(mine)]


def test_a_source_that_cannot_be_read_again_is_not_repeated():
    with pytest.raises(UserError, match="only once"):
        mix([(iter([1, 2]), 1.0)], ends="repeat")


def test_items_are_independent_draws_with_the_weights():
    n, weights = 20_000, [1.0, 2.0, 5.0]
    law = np.array(weights) / sum(weights)
    got = []
    for item in mix([([i] * n, weight) for i, weight in enumerate(weights)], seed=1, ends="first"):
        got.append(item)
        if len(got) == n // 2:
            break
    assert stats.chisquare(np.bincount(got), law * len(got)).pvalue > 0.001
    pairs = Counter(itertools.pairwise(got))
    table = np.array([[pairs[a, b] for b in range(3)] for a in range(3)])
    assert stats.chi2_contingency(table).pvalue > 0.001  # the next does not depend on the one before


def test_shares_are_shares_of_size():
    long, short = ["x" * 90] * 4000, ["y" * 10] * 4000
    got = list(mix([(long, 0.3), (short, 0.7)], ends="first", size=len))
    text = "".join(got)
    # about 571 long ones pass while 12000 short ones would; the short ones end first
    assert len(got) > 4000 and abs(text.count("x") / len(text) - 0.3) < 0.03


def test_order_depends_on_the_seed_alone():
    parts = labelled([(50, 1.0), (50, 1.0)])
    assert list(mix(parts, 1)) == list(mix(parts, 1)) != list(mix(parts, 2))


def test_nothing_to_mix():
    assert list(mix([])) == []


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_weights_are_above_zero(weight):
    with pytest.raises(UserError, match="above 0"):
        mix([([1], weight)])


def test_weights_in_names(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b=2").write_text("x")
    assert weighted("a.txt=0.3") == ("a.txt", 0.3)
    assert weighted("hf:a/b:test=2") == ("hf:a/b:test", 2.0)
    assert weighted("a.txt") == ("a.txt", 1.0)
    assert weighted("b=2") == ("b=2", 1.0)  # there is such a file
    assert weighted("b=2=3") == ("b=2", 3.0)
    assert weighted("a=b") == ("a=b", 1.0) and weighted("=2") == ("=2", 1.0)
    assert weighted(Path("x=2")) == (Path("x=2"), 1.0)
    for wrong in ("a.txt=0", "a.txt=-1", "a.txt=nan"):
        with pytest.raises(UserError, match="above 0"):
            weighted(wrong)


def test_mixture_reads_and_weighs_by_bytes(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"body": "龍龍龍"}\n' * 500)  # 9 bytes
    (tmp_path / "b.jsonl").write_text('{"body": "xxx"}\n' * 1500)
    got = mixture([f"{tmp_path}/a.jsonl=0.5", (tmp_path / "b.jsonl", 0.5)], ends="first", field="body")
    texts = [document.text for document in got]
    share = texts.count("龍龍龍") * 9 / sum(len(text.encode()) for text in texts)
    assert len(texts) > 1000 and abs(share - 0.5) < 0.06
    again = list(mixture([f"{tmp_path}/a.jsonl=1", f"{tmp_path}/b.jsonl=9"], ends="repeat", field="body"))
    assert Counter(document.text for document in again)["龍龍龍"] >= 500
    with pytest.raises(UserError, match="no such file"):
        mixture([str(tmp_path / "no.txt")])  # at once
    with pytest.raises(UserError, match="no data"):
        mixture([])


# ---- shares of tokens


def tokens(*lengths: int, first: int = 0) -> Tokens:
    ends = np.cumsum([first, *lengths])
    return Tokens.from_documents((range(a, b), None) for a, b in itertools.pairwise(ends))


@given(
    st.lists(
        st.tuples(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.1, 4)),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["repeat", "first"]),
)
def test_weigh_gives_the_shares(rows, ends):
    parts = [(tokens(*lengths, first=10_000 * i), weight) for i, (lengths, weight) in enumerate(rows)]
    got = weigh(parts, seed=2, ends=ends)
    origin = Counter((got.ids // 10_000).tolist())
    ratios = [len(part) / weight for part, weight in parts]
    scale = max(ratios) if ends == "repeat" else min(ratios)
    for i, (part, weight) in enumerate(parts):
        assert abs(origin[i] - max(2, scale * weight)) <= 2
        counts = Counter(got.ids[got.ids // 10_000 == i].tolist())
        copies = origin[i] // len(part)
        assert all(copies <= counts[t] <= copies + 1 for t in part.ids.tolist())
    firsts = {int(part.ids[s]) for part, _ in parts for s in part.starts[:-1]}
    assert {int(got.ids[s]) for s in got.starts[:-1]} <= firsts  # documents begin where they began


def test_weigh_once_and_nothing():
    a, b = tokens(5, 3), tokens(4)
    assert len(weigh([(a, 1), (b, 9)], ends="once")) == 12
    assert len(weigh([])) == 0
    with pytest.raises(UserError, match="no tokens"):
        weigh([(a, 1), (tokens(), 1)])


def test_weigh_keeps_what_is_trained():
    part = Tokens.from_documents([([1, 2, 3], [False, True, True])])
    got = weigh([(part, 2), (tokens(3), 1)])
    assert got.train.tolist() == [False, True, True] * 2 + [True] * 3


# ---- validation


def documents(*texts: str) -> list[Document]:
    return [Document(text, f"d{i}") for i, text in enumerate(texts)]


many = [f"text number {i}" for i in range(3000)]


def test_split_is_a_hash_of_the_text_alone():
    train, validation = split(documents(*many), 0.1, seed=4)
    assert [d.text for d in train] == [text for text in many if not in_validation(text, 0.1, 4)]
    assert [d.text for d in validation] == [text for text in many if in_validation(text, 0.1, 4)]
    assert stats.binomtest(len(validation), len(many), 0.1).pvalue > 0.001
    fewer = {d.text for d in split(documents(*many[::-2]), 0.1, seed=4)[1]}
    assert fewer == {d.text for d in validation} & set(many[::-2])  # as before, whatever else there is
    larger = {d.text for d in split(documents(*many), 0.3, seed=4)[1]}
    assert larger > {d.text for d in validation}
    assert {d.text for d in split(documents(*many), 0.1, seed=5)[1]} != {d.text for d in validation}


@given(
    st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=12),
    st.floats(0.01, 0.99),
    st.integers(0, 9),
)
def test_no_side_is_empty_and_no_text_on_both(texts, fraction, seed):
    if len(set(texts)) < 2:
        with pytest.raises(UserError, match="none is left to validate on"):
            split(documents(*texts), fraction, seed)
        return
    train, validation = split(documents(*texts), fraction, seed)
    assert train and validation
    assert sorted(d.id for d in train + validation) == sorted(d.id for d in documents(*texts))
    assert not {d.text for d in train} & {d.text for d in validation}
    assert ([d.text for d in train], [d.text for d in validation]) == tuple(
        [d.text for d in side] for side in split(documents(*texts), fraction, seed)
    )


@pytest.mark.parametrize("seed", range(20))
def test_validation_does_not_get_the_one_big_document(seed):
    train, validation = split(documents("x" * 10_000, "small", "other"), 0.1, seed)
    assert any(len(d.text) == 10_000 for d in train) and validation


@pytest.mark.parametrize("seed", range(20))
def test_few_documents_leave_most_for_training(seed):
    validation = split(documents(*"abcdef"), 0.34, seed)[1]
    assert 1 <= len(validation) <= 3  # by hash, or where that took none or more than half: two of six


def test_one_document_is_cut():
    train, validation = split(documents("0123456789" * 10), 0.1)
    assert [d.text for d in train] == ["0123456789" * 9] and [d.text for d in validation] == ["0123456789"]
    assert train[0].id == "d0" and validation[0].id == "d0[90:]"
    with pytest.raises(UserError, match="too short"):
        split(documents("x"))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, math.nan])
def test_fractions(fraction):
    with pytest.raises(UserError, match="between 0 and 1"):
        split(documents("a", "b"), fraction)


def test_nothing_to_split():
    with pytest.raises(UserError, match="none is left"):
        split([])


def test_chats_are_split_too():
    chats = [
        ChatRecord([{"role": "user", "content": str(i // 2)}, {"role": "assistant", "content": "x"}], str(i))
        for i in range(400)
    ]
    train, validation = split(chats, 0.2)
    assert 40 < len(validation) < 130 and len(train) + len(validation) == 400
    assert not {int(c.id) // 2 for c in train} & {int(c.id) // 2 for c in validation}  # twins stay together
    with pytest.raises(UserError, match="none is left"):
        split(chats[:1])  # one chat cannot be cut


def test_tiny_shakespeare(data: Path):
    train, validation = split(read(data / "tinyshakespeare" / "input.txt"), 0.1)
    assert (len(train[0].text), len(validation[0].text)) == (
        1_003_854,
        111_540,
    )  # as in char-rnn's descendants
    assert (train[0].text + validation[0].text).startswith("First Citizen:")
