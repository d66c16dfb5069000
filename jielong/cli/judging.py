"""`jielong score` with a reward model: what answers to a question are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jielong.base.talk import Talk


def judges(model: Path) -> bool:
    """Whether this is a reward model's folder."""
    from jielong.base import files
    from jielong.nets import checkpoint
    from jielong.nets.adapters import folder as adapters

    info = (adapters.find(model) or checkpoint.resolve(model)) / checkpoint.INFO
    return info.is_file() and files.read_json(info).get(checkpoint.REWARD) is not None


def judge(talk: Talk, model: Path, device: str, prompt: str | None, answers: Sequence[str]) -> None:
    """One line an answer, the best first. UserError without a question and answers."""
    import numpy as np
    import torch

    from jielong.base.device import pick
    from jielong.base.errors import UserError
    from jielong.base.talk import table_text
    from jielong.nets import reward
    from jielong.train.preferences.pairs import lay
    from jielong.train.preferences.prepare import encode
    from jielong.train.preferences.reward import worth

    if prompt is None or not answers:
        raise UserError(f'{model} is a reward model: give a question and answers: jielong score "2 + 2?" "4" "5"')
    loaded = reward.load(model, pick(device))
    plain = bool(loaded.info.get("text"))
    asked = prompt if plain else [{"role": "user", "content": prompt}]
    sides = [answer if plain else [{"role": "assistant", "content": answer}] for answer in answers]
    encoded = [encode(loaded.codec, asked, side) for side in sides]
    longest, most = max(len(ids) for ids, _ in encoded), loaded.model.config.context
    if longest > most:
        raise UserError(f"question and answer are {longest} tokens long, the reward model takes {most}: shorten them")
    documents = [(np.array(ids, dtype=np.int64), np.array(marks)) for ids, marks in encoded]
    with torch.no_grad():
        scores = worth(loaded.model, lay(documents, np.arange(len(documents)), last=True)).tolist()
    heads = loaded.model.heads
    order = sorted(range(len(answers)), key=lambda i: -scores[i][0])
    talk.answer(table_text(("answer", *heads), [(answers[i], *(f"{x:.3f}" for x in scores[i])) for i in order]))
    rows = [{"text": text, **dict(zip(heads, found))} for text, found in zip(answers, scores)]
    talk.document({"model": str(model), "prompt": prompt, "answers": rows})
