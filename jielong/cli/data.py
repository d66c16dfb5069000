"""``jielong data``: the built-in world in files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.world import Chat, Question, Text, World
    from jielong.world.text import Origin

Form = Literal["texts", "chats", "questions"]
FORMS: tuple[Form, ...] = ("texts", "chats", "questions")
STEP = 4096


def world(
    *,
    kind: str = "",
    part: Literal["scenes", "faces"] | None = None,
    n: int = 1000,
    out: Path | None = None,
    form: Form | None = None,
    split: Literal["train", "test", "asked", "unseen"] = "train",
    lang: Literal["en", "zh"] | None = None,
    people: int = 300,
    most: int = 3,
    seed: int = 0,
    draw: int = 0,
    overwrite: bool = False,
    common: Common = Common(),
) -> None:
    """Write a part of the built-in world to a JSONL file, or its pictures to a folder; without --kind and --part, list
    what there is.

    Each line holds a text, a chat or a question, and `origin`: the fact, person and wording behind it. Pictures are PNG
    files beside a metadata.jsonl of file names, captions and what is truly shown (Hugging Face's imagefolder).

    Parameters
    ----------
    kind
        What to write, such as facts, bios, sums, unknown.
    part
        Pictures instead: scenes (32x32) or faces (24x24), with captions.
    n
        How many lines or pictures.
    out
        The file (default KIND-FORM.jsonl here), or the folder of pictures (default the name of the part).
    form
        texts, chats or questions (default: the first of them that the kind has).
    split
        train, test (people, wordings or operands that training never asks; of pictures another stream of the same
        law), asked (texts) or unseen (scenes with a pair of shape and colour that is never in train).
    lang
        One language only.
    people
        How many people live in the world; a smaller world is the beginning of a larger one.
    most
        How many things a scene has at most: 1, 2 or 3.
    seed
        Which world.
    draw
        Which stream: another number, other draws of the same kind.
    overwrite
        Replace the file where it exists.
    """
    from jielong.base.errors import UserError
    from jielong.base.files import atomic_file, digest
    from jielong.cli.data_pictures import write
    from jielong.world import World

    talk, here = common.talk(), World(seed, people)
    if kind and part:
        raise UserError("give --kind for texts or --part for pictures, not both")
    if not kind and not part:
        kinds = here.kinds()
        talk.table(("kind", "what it is"), list(kinds.items()))
        talk.document({"kinds": kinds})
        talk.next_command("jielong data world --kind facts --n 1000")
        return
    if n < 1:
        raise UserError(f"--n must be 1 or more, not {n}")
    if part:
        write(part, n, out or Path(part), split, lang, seed, draw, most, overwrite, talk)
        return
    wanted = form if form is not None else next(each for each in FORMS if each in here.forms(kind))
    out = out or Path(f"{kind}-{wanted}.jsonl")
    if out.is_file() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite")
    items = _items(here, kind, wanted, n, draw, split, lang)
    written = 0
    with (
        atomic_file(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
        talk.progress(n, kind, "lines") as bar,
    ):
        for record in map(_record, items):
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            written += 1
            if written % STEP == 0:
                bar.update(written)
        bar.update(written)
    if written < n:
        talk.warn(f"there are only {written} different {wanted} of '{kind}' in this split")
    talk.say(f"{written} lines in {out}")
    about = {"kind": kind, "form": wanted, "split": split, "lang": lang, "people": people, "seed": seed}
    talk.document({"out": str(out), "lines": written, **about, "draw": draw, "digest": digest(out)})
    talk.next_command(f"jielong train {'lm' if wanted == 'texts' else 'sft'} --data {out}")


def _items(
    here: World, kind: str, form: Form, n: int, draw: int, split: str, lang: str | None
) -> Iterable[Text | Chat | Question]:
    if form == "texts":
        return here.texts(kind, n, draw, split, lang)
    if form == "chats":
        return here.chats(kind, n, draw, split, lang)
    return here.questions(kind, n, draw, split, lang)


def _record(item: Text | Chat | Question) -> dict[str, Any]:
    """The line of an item: text; messages; or prompt, answer, accept. Then its origin."""
    from jielong.world import Chat, Text

    if isinstance(item, Text):
        body: dict[str, Any] = {"text": item.text}
    elif isinstance(item, Chat):
        body = {"messages": [{"role": m.role, "content": m.content} for m in item.messages]}
    else:
        body = {"prompt": item.prompt, "answer": item.answer, "accept": list(item.accept)}
    return {**body, "origin": dict(_origin(item.origin))}


def _origin(origin: Origin) -> Iterator[tuple[str, Any]]:
    """What is not empty of an origin; `extra` becomes an object."""
    for name in ("kind", "lang", "fact", "template", "split", "person"):
        if value := getattr(origin, name):
            yield name, value
    if origin.extra:
        yield "extra", dict(origin.extra)
