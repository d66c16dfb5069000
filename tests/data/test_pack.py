"""Packing: every pair exactly once, whole rows, pieces delimited, and a pure function of the step.

Token ids are all different here, so that a pair (input, target) says where in the corpus it came from.
"""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.data.fit import best_fit, whole_rows
from jielong.data.pack import IGNORED, Batch, NothingToTrain, Packer, Tokens, too_long

sizes = st.lists(st.one_of(st.integers(0, 6), st.integers(0, 40), st.integers(90, 300)), min_size=1, max_size=30)


def corpus(lengths: list[int], mask: bool = True) -> Tokens:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
    return Tokens.from_documents((x, None if mask else [False] * len(x)) for x in ids)


def corpus_pairs(tokens: Tokens) -> list[tuple[int, int]]:
    documents = [tokens.document(i)[0].tolist() for i in range(tokens.documents)]
    return [pair for ids in documents for pair in itertools.pairwise(ids)]


def batch_pairs(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.ids.ravel().tolist(), batch.targets.ravel().tolist()))


def same(a: Batch, b: Batch) -> bool:
    names = ("ids", "targets", "documents", "positions", "bytes")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@settings(max_examples=100, deadline=None)
@given(sizes, st.integers(1, 48), st.integers(1, 4), st.integers(0, 5), st.integers(1, 3))
def test_every_pair_once_per_epoch(lengths, context, batch, seed, epochs):
    tokens = corpus(lengths)
    pairs = corpus_pairs(tokens)
    if not pairs:
        with pytest.raises(UserError, match="nothing to train on"):
            Packer(tokens, context, batch, seed)
        return
    packer = Packer(tokens, context, batch, seed)
    passes = epochs * packer.copies
    rows = -(-passes * len(pairs) // context)
    borrowed = rows * context - passes * len(pairs)
    seen: Counter = Counter()
    for row in range(rows):
        b = packer.rows(row // batch)
        one = Batch(*(getattr(b, n)[row % batch :][:1] for n in ("ids", "targets", "documents", "positions")))
        seen.update(batch_pairs(one))
    assert set(seen) <= set(pairs)  # nothing but pairs of the corpus: no padding, no pair across documents
    extra = Counter(pairs * passes)
    extra.subtract(seen)
    extra = Counter({pair: -n for pair, n in extra.items()})
    assert min(extra.values()) >= 0  # nothing is missing after this many passes
    assert sum(extra.values()) == borrowed < context  # and only the last row has borrowed


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 48), st.integers(1, 4), st.integers(0, 100))
def test_pieces_are_delimited(lengths, context, batch, step):
    tokens = corpus(lengths)
    if not corpus_pairs(tokens):
        return
    b = Packer(tokens, context, batch).rows(step)
    for array, dtype in (
        (b.ids, np.int64),
        (b.targets, np.int64),
        (b.documents, np.int32),
        (b.positions, np.int32),
    ):
        assert array.shape == (batch, context) and array.dtype == dtype
    assert (b.documents[:, 0] == 0).all() and (b.positions[:, 0] == 0).all()
    new = np.diff(b.documents, axis=1)
    assert set(new.ravel().tolist()) <= {0, 1}
    assert (b.positions[:, 1:] == np.where(new == 1, 0, b.positions[:, :-1] + 1)).all()
    # ids are consecutive in the corpus: inside a piece the next input is this target
    assert (b.ids[:, 1:][new == 0] == b.targets[:, :-1][new == 0]).all()
    assert (b.targets == b.ids + 1).all()


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 32), st.integers(1, 3), st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_pure_function_of_seed_and_step(lengths, context, batch, steps):
    tokens = corpus(lengths)
    if not corpus_pairs(tokens):
        return
    used = Packer(tokens, context, batch, seed=3)
    for step in steps:
        assert same(used.rows(step), Packer(tokens, context, batch, seed=3).rows(step))


def test_rows_do_not_depend_on_the_batch_they_are_served_in():
    tokens = corpus([7, 30, 12, 55, 3])
    single, triple = Packer(tokens, 16, 1), Packer(tokens, 16, 3)
    for step in range(12):
        assert np.array_equal(np.concatenate([single.rows(3 * step + i).ids for i in range(3)]), triple.rows(step).ids)


def test_seed_and_epoch_change_the_order():
    tokens = corpus([20] * 50)
    packer = Packer(tokens, 19, 50, seed=0)  # an epoch a step
    assert packer.steps_per_epoch == 1.0
    a, b, c = packer.rows(0).ids, packer.rows(1).ids, Packer(tokens, 19, 50, seed=1).rows(0).ids
    assert sorted(a[:, 0]) == sorted(b[:, 0]) == sorted(c[:, 0])
    assert not np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_long_document_is_shuffled_and_seen_through_other_windows():
    packer = Packer(corpus([16 * 200 + 1]), 16, 8)  # 200 rows an epoch, nothing borrowed
    epochs = [np.concatenate([packer.rows(25 * e + i).ids[:, 0] for i in range(25)]) for e in range(4)]
    for first in epochs:
        assert (np.diff(first) == 16).mean() < 0.1  # rows do not come in the order of the text
    windows = [Counter((first % 16).tolist()).most_common(1)[0][0] for first in epochs]
    assert len(set(windows)) > 1  # the cuts fall elsewhere
    assert not np.array_equal(packer.plan(0).order, packer.plan(1).order)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 48), st.integers(1, 4))
def test_once_shows_each_pair_once(lengths, context, batch):
    tokens = corpus(lengths)
    pairs = corpus_pairs(tokens)
    if not pairs:
        return
    seen: Counter = Counter()
    shown = list(Packer(tokens, context, batch).once())
    for b in shown:
        assert b.ids.shape[1] == context and len(b.ids) <= batch
        seen.update(pair for pair in batch_pairs(b) if pair[1] != IGNORED)
    assert seen == Counter(pairs)
    assert sum(len(b.ids) for b in shown) == -(-len(pairs) // context)
    assert sum(b.trained for b in shown) == len(pairs)


def test_a_corpus_smaller_than_a_row_is_repeated():
    packer = Packer(corpus([3, 2]), 16, 2)  # three pairs
    b = packer.rows(0)
    counts = Counter(batch_pairs(b))
    assert set(counts) == {(0, 1), (1, 2), (3, 4)} and sum(counts.values()) == 32
    assert max(counts.values()) - min(counts.values()) <= 2
    assert packer.steps_per_epoch == 3 / 32


def test_untrained_targets_are_ignored_and_bytes_count_the_trained():
    table = np.array([0, 1, 2, 3, 4, 5, 6])
    tokens = Tokens.from_documents([([5, 4, 3, 2], [False, False, True, True])])
    b = Packer(tokens, 3, 1, byte_lengths=table).rows(0)
    by_input = dict(batch_pairs(b))
    assert by_input == {5: IGNORED, 4: 3, 3: 2} and b.trained == 2 and b.bytes == 3 + 2
    assert Packer(tokens, 3, 1).rows(0).bytes == 0
    with pytest.raises(UserError, match="token 5 has no byte length"):
        Packer(tokens, 3, 1, byte_lengths=table[:5])


def test_once_counts_the_bytes_of_a_pair_once():
    tokens = corpus([5, 9, 2])
    sizes_of = np.arange(16)
    packer = Packer(tokens, 7, 2, byte_lengths=sizes_of)
    assert sum(b.bytes for b in packer.once()) == sum(target for _, target in corpus_pairs(tokens))


@pytest.mark.parametrize(
    "lengths, mask",
    [([], True), ([0, 1, 1], True), ([5, 9], False)],
    ids=["none", "too short", "nothing trained"],
)
def test_nothing_to_train_on(lengths, mask):
    with pytest.raises(UserError, match="nothing to train on"):
        Packer(corpus(lengths, mask), 16, 1)


def test_only_the_first_token_marked_is_nothing_to_train_on():
    tokens = Tokens.from_documents([([1, 2, 3], [True, False, False])])  # the first token is never a target
    with pytest.raises(UserError, match="nothing to train on"):
        Packer(tokens, 2, 1)


@pytest.mark.parametrize("context, batch", [(0, 1), (1, 0), (-3, 2)])
def test_sizes_must_be_positive(context, batch):
    with pytest.raises(UserError, match="1 or more"):
        Packer(corpus([5]), context, batch)


def test_steps_start_at_zero():
    with pytest.raises(UserError, match="step"):
        Packer(corpus([5]), 2, 1).rows(-1)


def test_plans_of_two_epochs_are_kept(monkeypatch):
    packer = Packer(corpus([20] * 4), 19, 2)  # two steps an epoch
    made = []
    plan = packer.plan
    monkeypatch.setattr(packer, "plan", lambda epoch: made.append(epoch) or plan(epoch))
    for step in (0, 1, 2, 3, 1, 4, 0):
        packer.rows(step)
    assert made == [0, 1, 2, 0]  # 0 and 1 stay while they alternate; 2 pushes 0 out


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.data())
def test_best_fit_fills_rows_and_cuts_only_at_gaps(context, data):
    lengths = data.draw(st.lists(st.integers(1, context), min_size=1, max_size=60))
    lengths += [1] * (-sum(lengths) % context)
    begin = (np.cumsum(lengths) - lengths).tolist()
    starts, got, cuts = best_fit(begin, lengths, context)
    slots = [slot for s, n in zip(starts, got) for slot in range(s, s + n)]
    assert sorted(slots) == list(range(sum(lengths)))
    ends = np.cumsum(got)
    assert set(range(context, sum(lengths) + 1, context)) <= set(ends.tolist())  # no piece lies across two rows
    assert len(got) == len(lengths) + cuts
    whole = set(zip(begin, lengths))
    for s, n, end in zip(starts, got, ends):
        if (s, n) not in whole and s in begin:  # the head of a cut piece closes its row
            assert end % context == 0


def test_best_fit_finds_the_pair_that_closes_a_row():
    # greedy would take 6 and leave a gap of 3 that must be cut
    assert best_fit([0, 10, 20, 30, 40], [1, 6, 5, 4, 4], 10)[2] == 0


def test_few_documents_are_cut():
    rng = np.random.default_rng(0)
    chats = Packer(corpus(rng.integers(21, 62, 20_000).tolist()), 256, 8)
    assert chats.plan(0).cuts < 0.002 * 20_000
    mixed = Packer(corpus((np.exp(rng.normal(5.0, 1.0, 20_000)).astype(int) + 2).tolist()), 1024, 8)
    assert mixed.plan(0).cuts < 0.03 * 20_000


def test_memmap_gives_the_same_batches(tmp_path: Path):
    tokens = corpus([9, 40, 3, 77])
    tokens.save(tmp_path / "t")
    mapped = Tokens.load(tmp_path / "t")
    assert isinstance(mapped.ids, np.memmap)
    a, b = Packer(tokens, 12, 3), Packer(mapped, 12, 3)
    assert all(same(a.rows(step), b.rows(step)) for step in range(20))
    assert type(b.rows(0).ids) is np.ndarray  # a batch holds no file open


def chat(first: int, length: int, asked: int) -> tuple[np.ndarray, list[bool]]:
    """A chat of `length` tokens of which the first `asked` are a question; ids as in `corpus`."""
    return np.arange(first, first + length), [i >= asked for i in range(length)]


chats_and_texts = st.lists(
    st.tuples(st.integers(2, 70), st.integers(0, 40)).filter(lambda pair: pair[1] < pair[0]), min_size=1, max_size=25
)


def laid(some: list[tuple[int, int]]) -> tuple[Tokens, list[range]]:
    """Documents (length, tokens asked; 0 is a text) as tokens, and the targets that must be trained in each."""
    starts = np.cumsum([0, *(length for length, _ in some)]).tolist()
    tokens = Tokens.from_documents(chat(start, *pair) for start, pair in zip(starts, some))
    return tokens, [range(a + max(1, asked), a + length) for a, (length, asked) in zip(starts, some)]


@settings(max_examples=100, deadline=None)
@given(chats_and_texts, st.integers(2, 48), st.integers(1, 3), st.integers(0, 3))
def test_an_answer_always_sees_its_whole_question(some, context, batch, seed):
    tokens, wanted = laid(some)
    if not any(asked > 1 for _, asked in some):
        return  # nothing is asked: text
    kept = [
        [t for t in targets if not asked > 1 or t - targets.start + max(1, asked) <= context]
        for targets, (_, asked) in zip(wanted, some)
    ]
    if not any(kept):
        with pytest.raises(NothingToTrain):
            Packer(tokens, context, batch, seed)
        return
    packer = Packer(tokens, context, batch, seed)
    for shown, passes in (
        ((packer.rows(step) for step in itertools.count()), packer.copies),
        (packer.once(), 1),
    ):
        seen: Counter = Counter()
        rows = len(packer._layout.order) if passes == packer.copies else 10**9
        for b in shown:
            for ids, targets, position in zip(b.ids[:rows], b.targets[:rows], b.positions[:rows]):
                seen.update(int(t) for t in targets if t != IGNORED)
                for i, t, at in zip(ids, targets, position):
                    asked = next(a for (_, a), r in zip(some, wanted) if t <= r[-1] or r is wanted[-1])
                    if t != IGNORED and asked > 1:  # a chat's piece begins with the chat
                        start = next(r.start - max(1, a) for (_, a), r in zip(some, wanted) if t <= r[-1])
                        assert t == i + 1 and i - start == at
            rows -= len(b.ids)
            if rows <= 0:
                break
        assert seen == Counter({t: passes for targets in kept for t in targets})
    long = [(n, a) for n, a in some if a > 1 and n - 1 > context]
    out = sum(a > context for _, a in long)
    assert (packer.left_out, packer.shortened) == (out, len(long) - out)
    assert packer.longest == max(n - 1 for n, a in some if a > 1)


def test_what_is_cut_or_left_out_is_told_in_one_line():
    tokens, _ = laid([(10, 3), (40, 3), (60, 50), (90, 2)])
    packer = Packer(tokens, 20, 2)
    assert too_long([packer, None], 64) == (
        "3 of 4 chats are longer than --context 20: 2 lose their end, 1 whose answers begin beyond it are left out; "
        "--context 89 would hold all (this model takes 64 at most)"
    )
    assert "most" not in too_long([packer], 128)
    assert too_long([Packer(tokens, 89, 2)], 128) == too_long([None, Packer(corpus([500]), 20, 2)], 64) == ""
    with pytest.raises(NothingToTrain, match="no answer begins within --context 1;"):
        Packer(tokens, 1, 1)


def test_whole_documents_of_one_length_change_places_every_epoch():
    tokens, _ = laid([(11, 4)] * 60)
    packer = Packer(tokens, 20, 30)  # two a row: an epoch a step
    assert packer.steps_per_epoch == 1.0
    a, b, other = packer.rows(0).ids, packer.rows(1).ids, Packer(tokens, 20, 30, seed=1).rows(0).ids
    pairs = [{frozenset((int(row[0]), int(row[10]))) for row in ids} for ids in (a, b, other)]
    assert len(pairs[0] & pairs[1]) < 10 and len(pairs[0] & pairs[2]) < 10
    assert np.array_equal(packer.rows(1).ids, Packer(tokens, 20, 30).rows(1).ids)


def test_text_may_be_kept_whole_too():
    tokens = corpus([21, 14, 9, 40])
    assert Packer(tokens, 20, 1).plan(0).cuts
    batches = list(Packer(tokens, 20, 2, whole=True).once())
    firsts = {int(i) for b in batches for i, at, t in zip(b.ids.ravel(), b.positions.ravel(), b.targets.ravel())
              if at == 0 and t != IGNORED}  # fmt: skip
    assert firsts == {0, 21, 35, 44, 64}  # the last is longer than a row: 20 slots and 19
    assert sum(b.trained for b in batches) == 20 + 13 + 8 + 39


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.data())
def test_whole_rows_hold_every_unit_once(context, data):
    lengths = np.array(data.draw(st.lists(st.integers(1, context), min_size=1, max_size=80)))
    plan = whole_rows(lengths, context)
    real = plan.starts < len(lengths)
    assert sorted(plan.starts[real].tolist()) == list(range(len(lengths)))
    assert (plan.lengths[real] == lengths[plan.starts[real]]).all()
    assert (np.add.reduceat(plan.lengths, plan.rows[:-1]) == context).all()
    assert (np.diff(plan.rows) > 0).all() and plan.rows[-1] == len(plan.starts)
    # a row is closed by free slots only where no unit that comes later would have fitted
    for row in range(len(plan.order) - 1):
        piece = plan.rows[row + 1] - 1
        after = slice(plan.rows[row + 1], None)
        later = lengths[plan.starts[after][real[after]]]
        assert real[piece] or plan.lengths[piece] < later.min()


def test_little_is_lost_to_free_slots():
    rng = np.random.default_rng(0)
    short = Packer(laid([(int(n), 10) for n in rng.integers(21, 62, 5_000)])[0], 256, 8)
    assert short.slots > 0.998 * len(short._layout.order) * 256
    long = Packer(laid([(int(n), 10) for n in rng.integers(40, 250, 5_000)])[0], 256, 8)
    assert long.slots > 0.96 * len(long._layout.order) * 256
