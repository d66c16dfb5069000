"""``jielong score``: how probable texts are under a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.cli.common import Common
from jielong.cli.drawing import MODEL, bar, open_model
from jielong.cli.judging import judge, judges

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.lm.local import Local
    from jielong.lm.protocol import Score

AT_ONCE = 256


def score(
    prompt: str | None = None,
    *continuations: str,
    model: Path = MODEL,
    data: str | None = None,
    device: str = "auto",
    common: Common = Common(),
) -> None:
    """Log-probabilities of continuations after a prompt, of one text, or of a file of texts.

    With continuations, each one's tokens and total are shown, and how probable it is among those given.
    The first token of a text has nothing before it and is not scored. A reward model (`jielong train reward`) says
    instead what each continuation is worth as an answer to the prompt.

    Parameters
    ----------
    prompt
        What comes before; alone, the text to score.
    continuations
        What may come next, each in quotes, with its leading space.
    model
        A checkpoint folder or a run.
    data
        Score these texts instead: a file or folder of text, JSONL or Parquet, or world:KIND. Lines with
        {"prompt", "continuations"} are scored as such.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.base.errors import UserError

    if (prompt is None) == (data is None):
        raise UserError('give a text, or --data FILE: jielong score "The sky is" " blue" " green"')
    talk = common.talk()
    if judges(model):
        judge(talk, model, device, prompt, continuations)
        return
    pairs = None if data is None else _pairs(data)
    lm = open_model(model, device)
    if prompt is not None:
        before, after = (prompt, continuations) if continuations else ("", (prompt,))
        _show(talk, lm, before, after, lm.score(before, list(after)))
    elif pairs is not None:
        found = lm.score_many(pairs)
        rows = [_record(lm, p, c, s) for (p, c), s in zip(pairs, found)]
        for (p, c), s in zip(pairs, found):
            _table(talk, p, c, s)
        talk.document({"model": lm.name, "fingerprint": lm.fingerprint, "items": rows})
    else:
        _documents(talk, lm, data or "")
    talk.next_command(f"jielong chat {model}")


def _pairs(data: str) -> list[tuple[str, list[str]]] | None:
    """The prompts and continuations of a JSONL file that holds such; None for any other data."""
    from jielong.base.errors import UserError
    from jielong.base.files import read_jsonl

    if not data.endswith((".jsonl", ".jsonl.gz")):
        return None
    pairs: list[tuple[str, list[str]]] = []
    for number, line in enumerate(read_jsonl(data), 1):
        if number == 1 and "continuations" not in line:
            return None
        before, after = line.get("prompt"), line.get("continuations")
        listed = isinstance(after, list) and after and all(isinstance(c, str) for c in after)
        if not isinstance(before, str) or not listed:
            raise UserError(f'{data}: record {number} is not {{"prompt": "...", "continuations": ["..."]}}')
        pairs.append((before, after or []))
    return pairs


def _show(talk: Talk, lm: Local, prompt: str, texts: Sequence[str], scores: Sequence[Score]) -> None:
    """Every token of every continuation, then the totals."""
    from jielong.base.talk import table_text

    for text, found in zip(texts, scores):
        rows = [(repr(lm.codec.decode([i])), f"{p:.3f}", f"{math.exp(p):.1%}", bar(math.exp(p)))
                for i, p in zip(found.ids, found.logprobs)]  # fmt: skip
        talk.answer(table_text(("token", "ln p", "p", ""), rows) if rows else f"{text!r}: nothing to score")
    _table(talk, prompt, texts, scores)
    record = _record(lm, prompt, texts, scores)
    talk.document({"model": lm.name, "fingerprint": lm.fingerprint, **record})


def _table(talk: Talk, prompt: str, texts: Sequence[str], scores: Sequence[Score]) -> None:
    from jielong.base.talk import table_text

    rows = [(repr(text), len(s), f"{s.total:.3f}", f"{s.bits_per_byte:.3f}", f"{share:.1%}")
            for text, s, share in zip(texts, scores, _shares(scores))]  # fmt: skip
    talk.answer(table_text((f"after {prompt!r}", "tokens", "ln p", "bits/byte", "among these"), rows))


def _record(lm: Local, prompt: str, texts: Sequence[str], scores: Sequence[Score]) -> dict[str, Any]:
    listed = [
        {
            "text": text,
            "total": s.total,
            "bits_per_byte": s.bits_per_byte,
            "share": share,
            "bytes": s.bytes,
            "tokens": [lm.codec.decode([i]) for i in s.ids],
            "ids": s.ids,
            "logprobs": s.logprobs,
        }
        for text, s, share in zip(texts, scores, _shares(scores))
    ]
    return {"prompt": prompt, "continuations": listed}


def _shares(scores: Sequence[Score]) -> list[float]:
    """The probability of each among those given."""
    best = max(s.total for s in scores)
    parts = [math.exp(s.total - best) for s in scores]
    return [p / sum(parts) for p in parts]


def _documents(talk: Talk, lm: Local, data: str) -> None:
    """Bits per byte of all documents; long ones in pieces of the context's length, each begun anew."""
    from jielong.base.errors import UserError
    from jielong.data.read import read

    total, byte_count, tokens, documents = 0.0, 0, 0, 0
    with talk.progress(None, "score", "documents") as progress:
        for some in _groups((d.text for d in read(data)), AT_ONCE):
            for found in lm.score_documents(some):
                total, byte_count, tokens = total + found.total, byte_count + found.bytes, tokens + len(found)
            documents += len(some)
            progress.update(documents)
    if not byte_count:
        raise UserError(f"{data} holds nothing to score: no document of two tokens or more")
    bits = -total / math.log(2) / byte_count
    talk.answer(f"{bits:.4f} bits per byte, {-total / tokens:.4f} nats per token "
                f"({documents} documents, {tokens} tokens, {byte_count} bytes scored)")
    talk.document({
        "model": lm.name, "fingerprint": lm.fingerprint, "data": data, "bits_per_byte": bits, "total": total,
        "documents": documents, "tokens": tokens, "bytes": byte_count,
    })  # fmt: skip


def _groups(texts: Iterable[str], size: int) -> Iterable[list[str]]:
    group: list[str] = []
    for text in texts:
        group.append(text)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
