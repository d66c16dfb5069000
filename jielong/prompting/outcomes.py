"""Recorded outcomes: what several models answered to the same questions, whether it was right, and what it cost.

With them every way of choosing between models can be measured without asking one again. `routellm` reads the paired
answers to GSM8K that lm-sys/RouteLLM keeps (Ong et al. 2024, "RouteLLM"; Apache-2.0): Mixtral 8x7B beside GPT-4.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jielong.base.errors import UserError
from jielong.lm.meter import count_words

# Rows of that file whose questions stand, nearly word for word, in the chats that RouteLLM's own routers learnt from:
# the repository's list routellm/evals/gsm8k/contaminated_prompts.jsonl (its eval_idx).
CONTAMINATED = (0, 1, 2, 18, 67, 147, 233, 269, 285, 364, 530, 932)
LONGEST = 10**6  # characters of a field
VERDICTS = {"True": True, "False": False}


@dataclass(frozen=True)
class Outcome:
    """One question. Of each model, the cheapest first: what it said, whether that was right, its tokens."""

    id: str
    question: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]
    tokens: tuple[int, ...]  # written, and the question read

    def costs(self, prices: Sequence[float]) -> tuple[float, ...]:
        """What each answer costs at so much a token."""
        return tuple(count * price for count, price in zip(self.tokens, prices, strict=True))


def routellm(
    path: str | Path, without: Sequence[int] = CONTAMINATED, count: Callable[[str], int] = count_words
) -> list[Outcome]:
    """The rows of gsm8k_responses.csv but those of `without`, the weaker model first. UserError for another file.

    The file tells no usage, so tokens are counted by `count` (words and signs).
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    wanted = "question, weak right, strong right, weak answer, strong answer"
    if len(rows) < 2 or any(len(row) != 5 or row[1] not in VERDICTS or row[2] not in VERDICTS for row in rows[1:]):
        raise UserError(f"{path} holds no paired outcomes: its columns are {wanted}")
    found = []
    for number, (question, *rest) in enumerate(rows[1:]):
        if number not in without:
            said, read = tuple(rest[2:]), count(question)
            right = (VERDICTS[rest[0]], VERDICTS[rest[1]])
            found.append(Outcome(f"gsm8k.{number}", question, said, right, tuple(read + count(text) for text in said)))
    return found


def folds(outcomes: Sequence[Outcome], parts: int, seed: int = 0) -> list[list[Outcome]]:
    """The outcomes in `parts` parts of nearly one size, none in two, by the seed. Questions that are the same but for
    letters' case, signs and blanks go into one part. UserError for fewer questions than parts."""
    from jielong.base import noise

    groups: dict[str, list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault("".join(c for c in each.question.casefold() if c.isalnum()), []).append(each)
    if len(groups) < parts or parts < 2:
        raise UserError(f"{len(groups)} different questions cannot be put into {parts} parts: give more, in 2 or more")
    order = noise.permutation(noise.seed_of("folds", seed), len(groups)).tolist()
    listed = list(groups.values())
    return [[each for place in order[part::parts] for each in listed[place]] for part in range(parts)]
