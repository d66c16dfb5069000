"""Who guesses for the labs' large model, by name, and how many multiply-adds that takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.labs import ahead, guessers, stages
from jielong.labs.lab import Budget
from jielong.views.markup import Words

if TYPE_CHECKING:
    from jielong.infer.draft.types import Drafter
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.config import TransformerConfig

STORED = 4000  # documents in the store of texts
LOOKUP, STORE, SMALLER, EXITS = "lookup", "store", "smaller model", (2, 4)
SHOWN = {
    LOOKUP: Words("the text itself", "文章本身"), STORE: Words("a store of texts", "文字庫"),
    "int8": Words("itself in 8 bits", "8 位元的自己"), "int4": Words("itself in 4 bits", "4 位元的自己"),
    **{f"exit{n}": Words(f"its first {n} layers", f"自己的前 {n} 層") for n in EXITS},
    SMALLER: Words("a smaller model", "小模型"), "small": Words("a distilled model", "蒸餾的小模型"),
    "medusa": Words("Medusa heads", "Medusa 頭"), "eagle": Words("an EAGLE head", "EAGLE 頭"),
    "block": Words("a block head", "區塊頭"), "diffusion": Words("masked diffusion", "遮罩擴散"),
}  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """Multiply-adds of guessing: for each draft, for each guess, and once more where all guesses stayed (then the last
    of them has still to be read)."""

    draft: float = 0.0
    guess: float = 0.0
    whole: float = 0.0

    def of(self, drafts: list[tuple[int, int]]) -> float:
        """In all, for drafts of (guesses, stayed)."""
        return sum(
            self.draft * (k > 0) + self.guess * k + self.whole * (0 < k == stayed) for k, stayed in drafts
        )


@dataclass(frozen=True)
class Who:
    """A drafter; `make` gives a new one, with nothing read yet."""

    make: Callable[[], Drafter]
    spent: Spent = Spent()


def reading(config: TransformerConfig, length: int) -> float:
    """Multiply-adds of reading one token of a text of this length: every parameter once (a tied table as the head), and
    attention."""
    return config.matrix_flops(length) / 2


def everyone(budget: Budget, seed: int, loaded: Loaded, length: int, names: tuple[str, ...] = ()) -> dict[str, Who]:
    """Those of SHOWN that are named (none: all), for texts of at most `length` tokens by `guessers.large`."""
    from jielong.infer.draft.lookup import Lookup
    from jielong.infer.draft.retrieval import Retrieval, Texts
    from jielong.infer.draft.selves import early_exit, first_layers, quantised

    model, wanted = loaded.model, names or tuple(SHOWN)
    how: dict[str, Any] = {"streams": ahead.STREAMS, "length": length}
    found: dict[str, Who] = {}
    for name in wanted:
        if name == LOOKUP:
            found[name] = Who(Lookup)
        elif name == STORE:
            read, _ = ahead.held_out(loaded.codec, seed)
            store = Texts([read.document(i)[0].tolist() for i in range(min(STORED, read.documents))])
            found[name] = Who(partial(Retrieval, store))
        elif name.startswith("int"):
            found[name] = Who(partial(quantised, model, int(name[3:]), **how), _each(reading(model.config, length)))
        elif name.startswith("exit"):
            config = first_layers(model, int(name[4:])).config
            found[name] = Who(partial(early_exit, model, int(name[4:]), **how), _each(reading(config, length)))
        else:
            found[name] = _trained(budget, seed, name, loaded, length, how)
    return found


def _each(guess: float) -> Spent:
    return Spent(guess=guess, whole=guess)


def _trained(budget: Budget, seed: int, name: str, loaded: Loaded, length: int, how: dict[str, Any]) -> Who:
    """What was trained: `stages.base`, or a guesser of `jielong train draft`."""
    from jielong.infer.draft.model import ModelDrafter
    from jielong.infer.draft.named import named
    from jielong.nets import checkpoint

    model = loaded.model
    if name in (SMALLER, "small"):
        path = stages.base(budget, seed) if name == SMALLER else guessers.guesser(budget, "small", seed)
        small = checkpoint.load(path).model
        make = partial(ModelDrafter, small, model.config.vocab, name=name, **how)
        return Who(make, _each(reading(small.config, length)))
    path = guessers.guesser(budget, name, seed)  # type: ignore[arg-type]
    drafter = named(str(path), model, loaded.codec)
    return Who(partial(named, str(path), model, loaded.codec), _head(name, drafter, model.config))


def _head(name: str, drafter: Any, target: TransformerConfig) -> Spent:
    """What looks at the model's stream or fills slots: by its parameters and the places that it reads."""
    head = target.dim * target.vocab
    if name == "medusa":
        heads = drafter.heads
        return Spent(guess=heads.flops(1) / 2 / heads.config.reach)
    if name == "eagle":
        eagle = drafter.head
        place = eagle.flops(eagle.config.window) / 2 / eagle.config.rounds - head
        return Spent(draft=place * (eagle.config.window - 1), guess=place + head)
    if name == "block":
        block = drafter.head
        whole = block.flops(1) * block.config.every / 2
        return Spent(draft=whole - head * block.config.reach, guess=head)
    config = drafter.model.config
    own = config.dim * config.vocab
    return Spent(draft=config.context * (reading(config, config.context) - own), guess=own)
