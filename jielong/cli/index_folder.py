"""``jielong index FOLDER``: documents into an index of passages, and a look at what it finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.store.index import Passage

SHOWN = 160  # characters of a passage that was found
TOLD = 10  # files that were skipped


@Parameter(name="*", group="Folders of documents")
@dataclass(frozen=True)
class Folders:
    """How a folder of documents is kept."""

    embed: str = ""
    "Vectors of the passages too, by this model: a checkpoint folder, a run, or URL#MODEL (key in $JIELONG_REMOTE_KEY)."
    rights: Path | None = None
    'Who may read what, a TOML file: "salaries/*" = ["boss"]. What was said last stays until another file is given.'
    reader: str = ""
    "With --find: the groups of who looks, with commas between them."
    remove: Annotated[bool, Parameter(negative=())] = False
    "Take the folder out of the index."


FOLDERS = Folders()


def is_documents(data: str | None, out: Path) -> bool:
    """Whether the texts are documents for an index of passages, or (without texts) the file is such an index."""
    import sqlite3

    if data is None:
        from jielong.store.index_file import MARK

        try:
            with out.open("rb") as file:
                return file.read(72)[68:72] == MARK.to_bytes(4, "big")  # SQLite's header has the mark there
        except (OSError, sqlite3.Error):
            return False
    if data == "world" or data.startswith(("world:", "hf:")):
        return False
    from jielong.data.documents import kinds
    from jielong.data.sources import RECORDS, suffix

    path = Path(data).expanduser()
    return path.is_dir() or (path.is_file() and suffix(path) in kinds() and suffix(path) not in RECORDS)


def index_folder(talk: Talk, data: str | None, out: Path, find: str, most: int, device: str, how: Folders) -> None:
    """Bring the index up to what the folder holds now, or look into it."""
    from jielong.store.index import load

    model: Any = None
    done: dict[str, Any] = {}
    if data is not None:
        model = _embedder(how.embed, device) if how.embed else None
        done = _update(talk, data, out, model, how)
    groups = [each.strip() for each in how.reader.split(",") if each.strip()]
    with load(out) as index:
        about, held = index.about, index.held(groups)
    if find and about.width and model is None:
        model = _embedder(how.embed or about.model_name, device)
    name = {} if model is None else {"model": model.model, "model_name": model.name}
    with load(out, model, **name) as index:
        found = index.search(find, most, reader=groups) if find else []
    if find:
        _show(talk, find, found)
    else:
        vectors = f", with vectors of {about.model_name}" if about.width else ""
        whose = "" if groups else ", of what is open to all"
        talk.say(f"{held.documents} documents, {held.passages} passages in {out}{vectors}{whose}")
    talk.document({"out": str(out), "bytes": out.stat().st_size, **asdict(about), **asdict(held), **done, "find": find,
                   "found": [{**asdict(each), "source": each.source} for each in found]})  # fmt: skip
    talk.next_command(f'jielong ask "..." --index {out}')


def _embedder(name: str, device: str) -> Any:
    from jielong.lm.embeddings import open_embedder

    return open_embedder(name, device)


def _update(talk: Talk, data: str, out: Path, model: Any, how: Folders) -> dict[str, Any]:
    from jielong.store.rights import read_rules
    from jielong.store.update import update

    rules = None if how.rights is None else read_rules(how.rights)
    name = {} if model is None else {"model": model.model, "model_name": model.name}
    with talk.progress(None, "index", "documents") as bar:
        report = update(out, data, rules=rules, embed=model, remove=how.remove,
                        progress=lambda done, all_: bar.update(done, all=all_), **name)  # fmt: skip
    for line in report.skipped[:TOLD]:
        talk.warn(line)
    counts = {"added": len(report.added), "changed": len(report.changed), "deleted": len(report.deleted),
              "same": report.same, "skipped": len(report.skipped), "other files": report.others}  # fmt: skip
    talk.say(", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing new")
    return {**counts, "why skipped": report.skipped}


def _show(talk: Talk, query: str, found: list[Passage]) -> None:
    from jielong.base.talk import table_text

    if not found:
        talk.answer(f"nothing in it has any word of {query!r}")
        return
    rows = [(f"{each.score:.4f}", each.source, " ".join(each.text.split())[:SHOWN]) for each in found]
    talk.answer(table_text(("score", "where", "text"), rows))
