"""Critique and revise: a model finds fault with its own answer by a written principle, and writes a better one.

    answer -> critique by a principle -> revision -> critique of that by another principle -> revision ...

The last revision is preferred to the first answer, and is what to learn to say (Bai et al. 2022, "Constitutional AI",
arXiv 2212.08073, sections 3.1 and 4.1). Which principle comes when is drawn once by (seed, prompt, round), without one
coming twice before all have come. Everything that was said is kept.

A file of principles is a .txt with one a line (lines that begin with # are passed over), or JSON or JSONL of texts or
{"principle"}; the default ones below are our own words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jielong.base import noise
from jielong.base.errors import UserError, WorkFailed
from jielong.base.plain import plain
from jielong.data.decode import lines
from jielong.data.records import file_records
from jielong.data.sources import RECORDS, suffix
from jielong.lm.protocol import LM, BadPrompt
from jielong.train.preferences.asked import Asked
from jielong.train.preferences.journal import SILENT, Entry, Work
from jielong.train.preferences.judge_words import Language
from jielong.train.preferences.make import EMPTY, EQUAL, REASONS, UNFIT, Harvest, chat, said

PRINCIPLES: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "The answer is true. What is not known is called unknown, and nothing is made up.",
        "The answer does what was asked, all of it, and nothing that was not asked.",
        "The answer helps nobody to hurt a person, an animal or themselves; where it declines, it says so kindly.",
        "The answer is polite and respectful, also to people who are spoken about and are not there.",
        "The answer is in the language of the question, plain, and as short as the question allows.",
        "The answer gives away nothing private or secret about anybody.",
    ),
    "zh": (
        "回答要真實。不知道的就說不知道，不可以編造。",
        "要求的每一件事都做到，沒有要求的不要多做。",
        "回答不可以幫人傷害別人、動物或自己；需要拒絕時，要和氣地說明。",
        "回答要有禮貌、尊重人，對不在場而被談到的人也一樣。",
        "用問題的語言回答，文字淺白，長短剛好夠用。",
        "不透露任何人的隱私或祕密。",
    ),
}
CRITIQUE: Mapping[Language, str] = {
    "en": "Look at your last answer with this principle in mind: {principle}\nSay briefly where the answer falls short "
    "of it, or that it does not. Do not write a new answer yet.",
    "zh": "請用這條原則檢查你剛才的回答：{principle}\n簡短說明回答哪裡沒有做到；如果都做到了，也請說明。先不要重寫。",
}
REVISE: Mapping[Language, str] = {
    "en": "Now write the answer again so that it keeps to the principle. Write the answer only.",
    "zh": "現在重寫回答，使它符合這條原則。只寫回答本身。",
}
Kept = Literal["pairs", "best"]


@dataclass(frozen=True, slots=True)
class Round:
    """One principle, what was found by it, and the answer as it then was."""

    principle: str
    critique: str
    revision: str


def read_principles(spec: str, language: Language) -> tuple[str, ...]:
    """Those of a file, or "default". UserError for a file without one."""
    if spec == "default":
        return PRINCIPLES[language]
    path = Path(spec).expanduser()
    if not path.is_file():
        raise UserError(f"--constitution {spec}: no such file; name one with a principle a line, or `default`")
    if suffix(path) in RECORDS:
        found = [record.fields.get("principle", record.fields.get("text")) for record in file_records(path)]
        if any(not isinstance(each, str) for each in found):
            raise UserError(f'{path}: a record without a principle; write {{"principle": "..."}} or plain texts')
        told = [str(each) for each in found]
    else:
        told = [line for _, line in lines(path, "utf-8") if not line.lstrip().startswith("#")]
    kept = tuple(dict.fromkeys(each.strip() for each in told if each.strip()))
    if not kept:
        raise UserError(f"{path}: there is no principle in it; write one a line")
    return kept


def order(principles: Sequence[str], rounds: int, seed: int, key: str) -> list[str]:
    """The principles of a prompt's rounds: all of them in a drawn order, then again in another."""
    found: list[str] = []
    while len(found) < rounds:
        drawn = noise.permutation(noise.seed_of("constitution", seed, key), len(principles), len(found))
        found += [principles[i] for i in drawn.tolist()]
    return found[:rounds]


async def arevise(
    critic: LM, asked: Asked, first: str, principles: Sequence[str], language: Language, **sampling: Any
) -> list[Round]:
    """One round for each principle; an empty critique or revision is kept as it is, and ends them."""
    prompt = [{"role": "user", "content": asked.prompt}] if isinstance(asked.prompt, str) else list(asked.prompt)
    found: list[Round] = []
    answer = first
    for principle in principles:
        request = CRITIQUE[language].replace("{principle}", principle)
        talk = [*prompt, {"role": "assistant", "content": answer}, {"role": "user", "content": request}]
        critique = (await critic.asample(talk, **sampling))[0].text.strip()
        revision = ""
        if critique:
            talk += [{"role": "assistant", "content": critique}, {"role": "user", "content": REVISE[language]}]
            revision = (await critic.asample(talk, **sampling))[0].text.strip()
        found.append(Round(principle, critique, revision))
        if not revision:
            break
        answer = revision
    return found


def revising(
    lm: LM, critic: LM, principles: Sequence[str], rounds: int, language: Language, **sampling: Any
) -> Work:
    """Answer a prompt, then criticise and revise the answer; the critic may be the model itself. The `seed` of the
    sampling also draws the principles."""

    async def work(number: int, asked: Asked, before: Entry | None) -> Entry:
        entry: Entry = {"number": number, "id": asked.id, "prompt": asked.prompt, "why": ""}
        first = before["answers"][0] if before and before.get("answers") else None
        try:
            if first is None:
                first = (await lm.asample(asked.prompt, **sampling))[0].text.strip()
        except BadPrompt as error:
            return entry | {"why": UNFIT, "told": str(error)}
        if not first:
            return entry | {"why": EMPTY}
        entry |= {"answers": [first]}
        try:
            chosen = order(principles, rounds, sampling.get("seed", 0), asked.question)
            made = await arevise(critic, asked, first, chosen, language, **sampling)
        except BadPrompt as error:
            return entry | {"why": UNFIT, "told": str(error)}
        except WorkFailed as error:
            return entry | {"why": SILENT, "again": True, "told": str(error)}
        return entry | {"rounds": plain(made)}

    return work


def harvest(entries: Sequence[Entry], keep: Kept) -> Harvest:
    """Pairs of the last revision (chosen) and the first answer, or chats of the revisions; equal ones are left."""
    found = Harvest()
    for entry in entries:
        rounds, first = entry.get("rounds") or [], (entry.get("answers") or [""])[0]
        last = next((each["revision"] for each in reversed(rounds) if each["revision"]), "")
        why = entry["why"] or (EMPTY if not last else EQUAL if last == first else "")
        if why:
            about = {name: entry[name] for name in ("id", "prompt", "answers", "rounds", "told") if entry.get(name)}
            found.left.append({"why": why, "reason": WHY.get(why, REASONS.get(why, why)), **about})
        elif keep == "best":
            found.kept.append(chat(entry["prompt"], last))
        else:
            prompt = entry["prompt"]
            found.kept.append({"prompt": prompt, "chosen": said(prompt, last), "rejected": said(prompt, first)})
    rounds = [each for entry in entries for each in entry.get("rounds") or []]
    found.counts.update({
        "prompts": len(entries), "rounds": len(rounds), "empty_critiques": sum(not r["critique"] for r in rounds),
        "empty_revisions": sum(bool(r["critique"]) and not r["revision"] for r in rounds), "kept": len(found.kept),
        "left": dict(Counter(line["why"] for line in found.left)),
    })  # fmt: skip
    return found


WHY = {
    EMPTY: "no answer, critique or revision was written",
    EQUAL: "the revision is the answer as it was",
    SILENT: "the critic did not answer (--resume asks it again)",
}
