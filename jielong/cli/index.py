"""``jielong index``: documents into an index of passages, texts into a store, and a look at what they find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.cli.common import Common
from jielong.cli.index_folder import FOLDERS, Folders, index_folder, is_documents

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.data.read import Document
    from jielong.store.store import Found, Writer

WORLD_TEXTS = 20_000
SHOWN = 160  # characters of a text that was found


def index(
    data: str | None = None,
    *,
    out: Path = Path("store.db"),
    model: Path | None = None,
    vectors: int = 0,
    n: int = WORLD_TEXTS,
    seed: int = 0,
    find: str = "",
    most: int = 5,
    add: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    folders: Folders = FOLDERS,
    common: Common = Common(),
) -> None:
    """Put a folder of documents into an index to ask from, or texts into a store; or find texts in either.

    A folder (or file) of text, Markdown, HTML, PDF and DOCX becomes an index of passages, one SQLite file; the same
    command again takes over what was added, changed and deleted. `jielong ask --index` answers from it. Texts of JSONL,
    Parquet or the world become a store, as does all that is indexed with --model: their tokens are kept too, to guess
    from what followed them (drafting); with --vectors also what the model made of their contexts (kNN-LM). Words are
    found folded, Chinese by characters and pairs.

    Parameters
    ----------
    data
        A folder or file of documents; a file of JSONL or Parquet, world:KIND, or `world` for a mixture of the built-in
        world.
    out
        The index, or the store.
    model
        A checkpoint folder or a run, whose tokenizer cuts the texts.
    vectors
        Keep the vectors of this many contexts of the texts (0: none).
    n
        How many texts of `world`.
    seed
        Which world.
    find
        Show the texts of the store that this finds; without texts to put in, only that.
    most
        Show at most so many.
    add
        Add to a store that is there.
    overwrite
        Replace a store that is there.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.base.errors import UserError

    talk = common.talk()
    if data is None and not find:
        raise UserError("name the texts, or what to find: jielong index world --out store.db --find river")
    if model is None and not vectors and is_documents(data, out):
        if add or overwrite:
            raise UserError("an index of documents takes over what changed by itself: leave out --add and --overwrite")
        index_folder(talk, data, out, find, most, device, folders)
        return
    if folders != FOLDERS:
        raise UserError("--embed, --rights, --reader and --remove are for folders of documents (without --model)")
    if vectors < 0 or (vectors and model is None):
        raise UserError("--vectors wants a number of contexts, and a --model that reads them")
    if data is not None:
        texts = _world(n, seed) if data == "world" else _read(data)
        _put(talk, texts, out, model, vectors, device, add, overwrite)
    from jielong.store.store import load

    with load(out) as store:
        found = store.search(find, most)
        held = {"out": str(out), "bytes": out.stat().st_size, **asdict(store.about)}
        if find:
            _show(talk, find, found)
        else:
            about = store.about
            talk.say(f"{about.documents} texts, {about.tokens} tokens, {about.vectors} vectors in {out}")
    talk.document({**held, "find": find, "found": [asdict(each) for each in found]})
    talk.next_command(f"jielong index --out {out} --find river" if not find else "jielong lab run knn_lm")


def _read(data: str) -> Iterator[Document]:
    from jielong.data.read import read

    return read(data)


def _world(n: int, seed: int) -> Iterable[Document]:
    """About `n` texts of the world in the shares from which models learn, shuffled."""
    from jielong.base import noise
    from jielong.base.errors import UserError
    from jielong.data.read import read
    from jielong.train.curriculum import Curriculum

    if n < 1:
        raise UserError(f"--n must be 1 or more, not {n}")
    plan = Curriculum(seed=seed)
    specs = [f"world:{kind}:{max(1, round(n * share))}" for kind, share in plan.text_shares.items()]
    texts = [document for spec in specs for document in read(spec, world=plan.world)]
    return [texts[i] for i in noise.permutation(noise.seed_of("index", seed), len(texts)).tolist()]


def _put(
    talk: Talk, texts: Iterable[Document], out: Path, model: Path | None, vectors: int, device: str, add: bool,
    overwrite: bool,
) -> None:  # fmt: skip
    from jielong.store.store import build, extend

    codec: Any = None
    loaded: Any = None
    if model is not None:
        from jielong.base.device import pick
        from jielong.nets import checkpoint

        loaded = checkpoint.load(model, device=pick(device))
        codec = loaded.codec
    name = "" if loaded is None or not vectors else _fingerprint(loaded)
    if add:
        with extend(out, codec, model=name) as writer:
            _fill(talk, writer, texts, loaded, vectors)
        return
    called = "" if model is None else str(model)
    with build(out, codec, model=name, codec_name=called, model_name=called, overwrite=overwrite) as writer:
        _fill(talk, writer, texts, loaded, vectors)


def _fingerprint(loaded: Any) -> str:
    from jielong.infer.fingerprint import fingerprint

    return fingerprint(loaded.model, loaded.codec)


def _fill(talk: Talk, writer: Writer, texts: Iterable[Document], loaded: Any, vectors: int) -> None:
    """Texts to the store, and on the way the first of them through the model, until there are enough contexts."""
    from jielong.store.store import AT_ONCE

    begun = writer.documents
    left = vectors
    with talk.progress(None, "index", "texts") as bar:
        for some in _groups(texts, AT_ONCE):
            writer.add(some)
            if left:
                from jielong.infer.knn import remember

                ids = loaded.codec.encode_batch([each.text for each in some])
                left -= remember(loaded.model, writer, ids, loaded.codec.end, left)
            bar.update(writer.documents - begun, **({"vectors": vectors - left} if vectors else {}))
    if left:
        talk.warn(f"the texts have only {vectors - left} contexts")


def _groups(texts: Iterable[Document], size: int) -> Iterator[list[Document]]:
    from itertools import islice

    rest = iter(texts)
    while group := list(islice(rest, size)):
        yield group


def _show(talk: Talk, query: str, found: list[Found]) -> None:
    from jielong.base.talk import table_text

    if not found:
        talk.answer(f"nothing in it has any word of {query!r}")
        return
    rows = [(f"{each.score:.2f}", each.id, " ".join(each.text.split())[:SHOWN]) for each in found]
    talk.answer(table_text(("score", "id", "text"), rows))
