"""`jielong train lm` and `jielong train sft`: from files to a checkpoint that everybody's loaders read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from jielong.cli.adapting import ADAPTING, Adapting, put_on, slower
from jielong.cli.common import Common
from jielong.cli.train_run import Place, talk_of, train
from jielong.train.settings import Settings

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.nets.adapters.config import Config
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.config import TransformerConfig
    from jielong.nets.transformer import Transformer
    from jielong.train.prepare import Prepared

NO_SETTINGS = Settings(steps=1)
GENTLE = 1 / 40  # of the usual rates, to align a model: what was learnt before is to stay
ADAPTED = 0.001  # AdamW's, for an adapter that aligns
ADAPTER_RATE = 0.01  # AdamW's, for an adapter: `adapting.slower`


@Parameter(name="*", group="Budget")
@dataclass(frozen=True)
class Budget:
    """How long to train: one of the three."""

    minutes: float | None = None
    "Choose shape and tokens for so many minutes of two cores (default 5; draft 2; preferences, prompts: once through)."
    steps: int | None = None
    "Train so many steps."
    tokens: int | None = None
    "Train on so many tokens."

    @property
    def given(self) -> bool:
        """Whether one is. UserError for two."""
        from jielong.base.errors import UserError

        names = [name for name in ("minutes", "steps", "tokens") if getattr(self, name) is not None]
        if len(names) > 1:
            raise UserError(f"give one budget, not {' and '.join('--' + name for name in names)}")
        return bool(names)


@Parameter(name="*", group="Rows and rates")
@dataclass(frozen=True)
class Rows:
    """How steps are made and how fast they move."""

    context: int = NO_SETTINGS.context
    "Positions in a row."
    batch: int = NO_SETTINGS.batch
    "Rows in a micro-batch."
    accumulate: int = NO_SETTINGS.accumulate
    "Micro-batches in a step."
    matrix_rate: float | None = None
    "Muon's learning rate (default 0.02; a third of it from pretrained weights)."
    other_rate: float | None = None
    "AdamW's learning rate, for embeddings and norms (default 0.008; a third of it from pretrained weights)."
    optimizer: Literal["muon", "adamw"] = "muon"
    "muon for matrices and AdamW for the rest, or AdamW for all, at --other-rate."
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    "Arithmetic: bf16 where the processor or GPU multiplies it faster."
    compile: bool | None = None
    "Compile the blocks: some ten seconds at the start, sooner afterwards (default: in runs of a minute or more)."
    validation: float = 0.05
    "Share of the documents kept apart."
    save_every: float = NO_SETTINGS.save_every
    "Seconds between two saved states."
    seed: int = 0
    "Seed of the weights and of the order of the data."


@dataclass(frozen=True)
class Sizes:
    """Of a model from nothing; 0: by the budget."""

    width: int
    layers: int


def lm(
    data: list[str],
    *,
    tokenizer: str = "bpe",
    vocab: int = 0,
    model: Path | None = None,
    width: int = 0,
    layers: int = 0,
    split_on: str | None = None,
    adapting: Adapting = ADAPTING,
    budget: Budget = Budget(),
    rows: Rows = Rows(),
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Pretrain a language model on text: predict the next token.

    Parameters
    ----------
    data
        Files (.txt .md .jsonl .json .parquet), folders, hf:NAME or world:KIND[:N]; NAME=WEIGHT to mix.
    tokenizer
        bpe or chars to learn one from the data, or a folder with a tokenizer.
    vocab
        Size of the byte-pair vocabulary (default by the size of the data, 512 to 4096).
    model
        Go on from this checkpoint instead of from nothing (its tokenizer is used).
    width
        Width of the model, a multiple of 32 (default by --minutes).
    layers
        Number of blocks (default one for each 32 of width).
    split_on
        Cut text files into documents at this string, or at "blank" lines, or at every "line".
    """
    from jielong.train import prepare

    talk = talk_of(common)
    config = adapting.config()
    loaded = load(model, place)
    specs = list(data)
    vocab = vocab or prepare.default_vocab(prepare.bytes_of(specs))
    chosen = str(loaded.path) if loaded else tokenizer
    made = prepare.texts(specs, rows.validation, rows.seed, chosen, vocab, split_on)
    _fit("lm", loaded, made, config, Sizes(width, layers), budget, rows, specs, place, talk)


def sft(
    data: list[str],
    *,
    model: Path | None = None,
    vocab: int = 0,
    width: int = 0,
    layers: int = 0,
    adapting: Adapting = ADAPTING,
    budget: Budget = Budget(),
    rows: Rows = Rows(),
    place: Place = Place(),
    common: Common = Common(),
) -> None:
    """Fine-tune a language model on chats: only the assistant's turns are targets.

    Parameters
    ----------
    data
        JSON or JSONL of messages, Alpaca, ShareGPT or prompt and completion; folders, hf:NAME or world:KIND[:N].
    model
        The pretrained checkpoint or run to start from (default: random weights and a new vocabulary).
    vocab
        Size of the vocabulary where there is no --model.
    width
        Width of a model from random weights (default by --minutes).
    layers
        Its number of blocks.
    """
    from jielong.train import prepare

    talk = talk_of(common)
    config = adapting.config()
    loaded = load(model, place)
    specs = list(data)
    if loaded is None:
        texts = prepare.chat_texts(specs)
        codec = prepare.find_codec("bpe", vocab or prepare.default_vocab(prepare.bytes_of(specs)), texts)
    else:
        codec = loaded.codec
    made = prepare.chats(specs, rows.validation, rows.seed, codec)
    _fit("sft", loaded, made, config, Sizes(width, layers), budget, rows, specs, place, talk)


def _fit(
    name: str, loaded: Loaded | None, made: Prepared, config: Config | None, sizes: Sizes, budget: Budget, rows: Rows,
    specs: list[str], place: Place, talk: Talk,
) -> None:  # fmt: skip
    """Train the whole model, or an adapter on it."""
    if config is None:
        shaped, settings = settle(loaded, made, budget, rows, sizes.width, sizes.layers)
        train(name, shaped, made, settings, specs, place, talk)
        return
    adapter = put_on(loaded, config, rows.seed)
    assert loaded is not None
    fits(rows, loaded.config)
    settings = beside_settings(loaded.config, budget, rows)
    info = {"model": str(loaded.path)}
    train(name, adapter, made, settings, specs, place, talk, info, beside=loaded.model)


def load(model: Path | None, place: Place) -> Loaded | None:
    """A checkpoint that writes one token after another; None where none is named."""
    if model is None:
        return None
    from jielong.base import device
    from jielong.infer import slots
    from jielong.nets import checkpoint

    loaded = checkpoint.load(model, device.pick(place.device))
    slots.refuse(loaded.info, model)
    return loaded


def settle(
    loaded: Loaded | None, made: Prepared, budget: Budget, rows: Rows, width: int, layers: int
) -> tuple[Transformer, Settings]:
    """The model (as given, or of the shape that the budget buys) and the settings of its run."""
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer
    from jielong.train.settings import Plan, plan, tokens_for

    minutes = budget.minutes if budget.given else 5.0
    if loaded:
        model, gentle = loaded.model, 1 / 3
        fits(rows, model.config)
    else:
        found = plan(minutes, made.codec.size, rows.context) if minutes is not None else Plan(128, 4, 0)
        config = shape(width or found.width, made.codec.size, max(256, rows.context), layers or None)
        model, gentle = Transformer(config, seed=rows.seed), 1.0
    tokens = tokens_for(minutes, model.config, rows.context) if minutes is not None else 0
    return model, made_settings(rows, budget, tokens, gentle)


def beside_settings(config: TransformerConfig, budget: Budget, rows: Rows) -> Settings:
    """The settings of an adapter's run: no gradient of the model's own weights, a third of the work, is needed."""
    from jielong.train.settings import tokens_at

    minutes = budget.minutes if budget.given else 5.0
    tokens = tokens_at(minutes, 2.0 * config.matrix_flops(rows.context)) if minutes is not None else 0
    return made_settings(rows, budget, tokens, slower(ADAPTER_RATE, config.dim) / NO_SETTINGS.other_rate)


def fits(rows: Rows, config: TransformerConfig) -> None:
    """UserError for rows that are longer than a model's context."""
    from jielong.base.errors import UserError

    if rows.context > config.context:
        raise UserError(f"--context {rows.context} is longer than the model's {config.context}")


def made_settings(rows: Rows, budget: Budget, tokens: int, gentle: float = 1.0) -> Settings:
    """A run's settings; `tokens` where minutes are the budget. `gentle` scales the usual rates."""
    steps = budget.steps or 0
    return Settings(
        steps=steps,
        tokens=(budget.tokens or 0) if budget.tokens is not None else (0 if steps else tokens),
        context=rows.context,
        batch=rows.batch,
        accumulate=rows.accumulate,
        matrix_rate=rows.matrix_rate or NO_SETTINGS.matrix_rate * gentle,
        other_rate=rows.other_rate or NO_SETTINGS.other_rate * gentle,
        muon=rows.optimizer == "muon",
        precision=rows.precision,
        compile=rows.compile,
        save_every=rows.save_every,
        seed=rows.seed,
    )
