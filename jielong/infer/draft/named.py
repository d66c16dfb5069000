"""A drafter by its name on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.infer.draft.types import Drafter

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded

NAMES = "lookup, int8, int4, early:LAYERS, store:FILE, the folder of a smaller model, or one of `train draft`"


def named(name: str, model: Any, codec: Any) -> Drafter:
    """`name` as in NAMES, for this model and its tokenizer. UserError for what there is not."""
    kind, _, rest = name.partition(":")
    if name == "lookup":
        from jielong.infer.draft.lookup import Lookup

        return Lookup()
    if name in ("int8", "int4"):
        from jielong.infer.draft.selves import quantised

        return quantised(model, int(name[3:]))
    if kind == "early":
        from jielong.infer.draft.selves import early_exit

        if not rest.isdecimal():
            raise UserError(f"--draft {name}: say after how many layers, as early:2")
        return early_exit(model, int(rest))
    if kind == "store":
        from jielong.infer.draft.retrieval import Retrieval
        from jielong.store.store import load

        return Retrieval(load(rest, codec))
    if not Path(name).is_dir():
        raise UserError(f"--draft {name}: there is no such folder; give {NAMES}")
    return _folder(Path(name), model, codec)


def _folder(path: Path, model: Any, codec: Any) -> Drafter:
    """What was trained to guess for this model; or another model: one with another tokenizer guesses in its own
    tokens, which are translated."""
    from jielong.infer.draft.other_tokenizer import OtherTokenizer
    from jielong.nets import checkpoint
    from jielong.nets.drafts import folder

    if folder.find(path) is not None:
        from jielong.infer.draft.trained import trained

        return trained(path, model, codec)
    loaded = checkpoint.load(path)
    if loaded.codec.fingerprint == codec.fingerprint:
        return _whole(loaded, model.config.vocab)
    return OtherTokenizer(_whole(loaded, loaded.config.vocab), loaded.codec, codec)


def _whole(loaded: Loaded, vocab: int) -> Drafter:
    """A model that guesses by itself, token by token or a block at once; `vocab` tokens are known to who asks."""
    from jielong.infer.draft.diffusion import DiffusionDrafter
    from jielong.infer.draft.model import ModelDrafter
    from jielong.infer.slots import marks_of

    marks = marks_of(loaded.info, loaded.codec.size, loaded.config.vocab)
    if marks is None:
        return ModelDrafter(loaded.model, vocab, name=loaded.path.name)
    return DiffusionDrafter(loaded.model, marks, vocab, name=loaded.path.name)
