"""The models that `bench draft` writes with: trained on pages of the world, once, and kept under runs/.

Half of what is read is a few pages, each told twice with a line between: they are known by heart in the end, and a
model that is shown one of them tells it again. That stands for text that repeats its input, which is what guesses
copied from the text are for. (Minutes of training do not teach a model to copy what it has never seen; two tries did
not.) `reader` is small, which is where guessing ahead pays least; `large` has more than ten million parameters,
`little` a tenth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jielong.base.talk import Talk
from jielong.labs.lab import Budget, shared

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded
    from jielong.train.curriculum import Curriculum
    from jielong.units.codec import Tokenizer

VOCAB, CONTEXT, WINDOW, PAGE = 1024, 2048, 256, 110  # PAGE tokens, about
AGAIN, KNOWN = "\n=\n", 12  # what stands between a page and itself; how many are known by heart
# name: width, layers, tokens of training
SIZES = {"reader": (128, 4, 2_000_000), "large": (384, 6, 500_000), "little": (160, 2, 2_000_000)}
QUICK = {"reader": (64, 2, 60_000), "large": (96, 2, 60_000), "little": (32, 2, 60_000)}


def plan() -> Curriculum:
    """What is read."""
    from jielong.train.curriculum import Curriculum

    return Curriculum(seed=0, people=60, vocab=VOCAB, texts=40_000)


@cache
def codec() -> Tokenizer:
    """The tokenizer of all of them."""
    from jielong.train import curriculum as plans

    return plans.codec(plan())


def pages(documents: Sequence[str]) -> Iterator[str]:
    """Documents side by side until they fill a page."""
    page: list[str] = []
    size = 0
    for text, ids in zip(documents, codec().encode_batch(list(documents))):
        if size + len(ids) + 1 > PAGE and page:
            yield "\n".join(page)
            page, size = [], 0
        page.append(text)
        size += len(ids) + 1


def twice(page: str) -> str:
    """A page, and again."""
    return page + AGAIN + page


def known() -> list[str]:
    """The pages that all models know by heart."""
    from jielong.train import curriculum as plans

    return list(islice(pages(plans.documents(plan(), plan().texts)), KNOWN))


def model(name: str, talk: Talk, quick: bool = False, out: Path = Path("runs/labs")) -> Loaded:
    """One of SIZES, or of QUICK; trained if it is not there."""
    from jielong.nets import checkpoint

    width, layers, tokens = (QUICK if quick else SIZES)[name]
    key = ("bench draft", name, width, layers, tokens)
    loaded = checkpoint.load(shared(Budget(out=out, talk=talk), key, _Make(name, (width, layers, tokens), talk)))
    loaded.model.eval()
    return loaded


class _Make:
    def __init__(self, name: str, size: tuple[int, int, int], talk: Talk) -> None:
        self.name, self.size, self.talk = name, size, talk

    def __call__(self, folder: Path) -> None:
        from jielong.data.tokens import Tokens
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import curriculum as plans
        from jielong.train import run
        from jielong.train.settings import Settings

        width, layers, tokens = self.size
        every = list(pages(plans.documents(plan(), plan().texts)))
        texts = [text for i, page in enumerate(every[KNOWN:]) for text in (twice(every[i % KNOWN]), page)]
        end = codec().end
        made = Tokens.from_documents(([end, *ids, end], None) for ids in codec().encode_batch(texts))
        settings = Settings(tokens=tokens, context=WINDOW, batch=8, validate=0, save_every=0, compile=False)
        net = Transformer(shape(width, codec().size, CONTEXT, layers), seed=0)
        run.start(run.Work(net, codec(), made, None, settings, {"name": self.name}), folder, self.talk, self.name)
