"""What guessing must compose with: features of the engine and of requests, small models, and who guesses for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from jielong.infer import grammar
from jielong.infer.core import Core
from jielong.infer.draft.cases import codec
from jielong.infer.draft.diffusion import DiffusionDrafter
from jielong.infer.draft.lookup import Lookup
from jielong.infer.draft.model import ModelDrafter
from jielong.infer.draft.other_tokenizer import OtherTokenizer
from jielong.infer.draft.retrieval import Retrieval, Texts
from jielong.infer.draft.scripted import Rule, Scripted
from jielong.infer.draft.selves import early_exit, quantised
from jielong.infer.draft.several import AllOf, BestOf
from jielong.infer.draft.trained import beside
from jielong.infer.draft.types import Choose, Draft, Drafter
from jielong.infer.pieces import Pieces
from jielong.infer.request import Request
from jielong.infer.sampling import Sampling
from jielong.infer.schedule import Row
from jielong.infer.slots import Marks
from jielong.nets import drafts
from jielong.nets.adapters import attach
from jielong.nets.adapters.adapter import Adapter
from jielong.nets.adapters.config import Config, Ia3, Lora
from jielong.nets.config import TransformerConfig
from jielong.nets.drafts import KINDS
from jielong.nets.pages import page_bytes
from jielong.nets.quant import quantise
from jielong.nets.transformer import Transformer

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
OURS = (*LETTERS, *(a + b for a in "abc" for b in "abcd"))
THEIRS = (*LETTERS, *(a + b for a in "cde" for b in "abc"))
SIZE = len(OURS) + 1  # and the end
GUESS = 4  # guesses a row and step
LONG = 24  # tokens of a text
Written = tuple[Any, ...]  # of a text: ids, log-probabilities, likeliest, reason, what stopped it, report of the prompt
Truth = Mapping[int, Sequence[int]]  # what texts will be, by the id of their request
Make = Callable[[Transformer, Truth], Drafter]


@dataclass(frozen=True)
class Setup:
    """Models with random weights, large enough that the past matters; tokens are letters and pairs of them."""

    seed: int = 1

    @cached_property
    def ours(self) -> Any:
        return codec(OURS)

    @cached_property
    def theirs(self) -> Any:
        return codec(THEIRS)

    @cached_property
    def pieces(self) -> Pieces:
        return Pieces(self.ours)

    @cached_property
    def model(self) -> Transformer:
        return random_model(SIZE, 2, self.seed)

    @cached_property
    def int8(self) -> Transformer:
        model = random_model(SIZE, 2, self.seed)
        quantise(model, 8)
        return model

    @cached_property
    def small(self) -> Transformer:
        """Of another seed, but for the table of tokens."""
        model = random_model(SIZE, 1, self.seed + 1)
        model.embed.data.copy_(self.model.embed)
        return model

    @cached_property
    def slots(self) -> tuple[Transformer, Marks]:
        """A model that fills the places of a block."""
        marks = Marks(SIZE, GUESS)
        return random_model(marks.vocab, 1, self.seed + 3, causal=False), marks

    @cached_property
    def other(self) -> Transformer:
        return random_model(len(THEIRS) + 1, 1, self.seed + 2)


def random_model(vocab: int, layers: int, seed: int, scale: float = 0.3, causal: bool = True) -> Transformer:
    """A Transformer whose every matrix is drawn."""
    config = TransformerConfig(vocab=vocab, dim=32, layers=layers, heads=2, kv_heads=1, head_dim=16, hidden=64,
                               context=128, causal=causal)  # fmt: skip
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, scale, generator=generator)
    return model.eval()


@dataclass(frozen=True)
class Feature:
    """`waves`: requests that are submitted together, wave after wave. `happened`: whether the thing took place; asked
    after the run, of the core and of what was written. `options` are the core's; `weights`: which model of the setup.
    """

    name: str
    waves: Callable[[Setup], list[list[Request]]]
    happened: Callable[[Core, Sequence[Written]], bool] = lambda core, out: True
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "model"
    exact: bool = True


def prompt(i: int, n: int) -> tuple[int, ...]:
    """n tokens, the same few again and again."""
    return tuple((7 * i + 3 * (j % 5) + (j % 5) ** 2) % len(OURS) for j in range(n))


def some(n: int, size: int = 14, **settings: Any) -> list[Request]:
    """n requests with these settings, greedy and sampled by turns, their prompts of `size` tokens and more."""
    return [
        Request(prompt(i, size + i), Sampling(seed=i, max_tokens=LONG, temperature=(0.0, 0.7, 1.0)[i % 3], **settings))
        for i in range(n)
    ]


def mixed(n: int, size: int = 14, long: int = LONG) -> list[Request]:
    """Requests of all kinds side by side, each of `long` tokens."""
    kinds: list[dict[str, Any]] = [
        {}, {"top_p": 0.9}, {"repetition_penalty": 1.3}, {"presence_penalty": 0.5, "bad_words": ((3, 4), (7,))},
        {"frequency_penalty": 0.4, "typical": 0.9}, {"logit_bias": {5: 2.0}, "stop_ids": (9,)}, {"top_k": 5},
    ]  # fmt: skip
    asked = [r.sampling.with_(max_tokens=long, **kinds[i % 7]) for i, r in enumerate(some(n, size))]
    return [Request(prompt(i, size + i), sampling, index=i % 2) for i, sampling in enumerate(asked)]


def one_prompt(n: int, seeds: bool) -> list[Request]:
    """One prompt, n seeds; or one seed, n draws."""
    base = Sampling(max_tokens=LONG, temperature=0.9)
    return [Request(prompt(1, 21), base.with_(seed=i * seeds), index=i * (not seeds)) for i in range(n)]


def ruled(setup: Setup, asked: Sequence[Request]) -> list[Request]:
    """Texts of a form: they end by themselves, or are cut."""
    rules = [grammar.regex(setup.ours, each) for each in ("(ab|ca+){2,6}", "[a-f]{3,9}(x|yz)", "(b|cd)+")]
    return [Request(r.prompt, r.sampling, r.index, (rules[i % 3],), r.echo) for i, r in enumerate(asked)]


def together(setup: Setup) -> list[Request]:
    """Requests that ask for nearly everything."""
    biased = {"logit_bias": {4: 3.0, 9: -2.0, 11: -torch.inf}, "min_p": 0.05, "logprobs": 3, "stop_ids": (30,)}
    asked = [Request(r.prompt, r.sampling.with_(**biased), echo=i % 4 == 0) for i, r in enumerate(mixed(9, 4, 44))]
    asked += [Request(prompt(3, 40), asked[7].sampling, index=i) for i in (5, 6, 7)]
    return [*ruled(setup, asked[::2]), *asked[1::2]]


def adapters(model: Transformer) -> dict[str, Adapter]:
    """Adapters of several kinds, drawn as the model is."""
    kinds: Mapping[str, Config] = {"lora": Lora(rank=3), "dora": Lora(rank=2, dora=True), "ia3": Ia3()}
    found = {name: attach.fresh(model, kind, seed=3) for name, kind in kinds.items()}
    generator = torch.Generator().manual_seed(3)
    for adapter in found.values():
        for parameter in adapter.requires_grad_(False).eval().parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.1, generator=generator))
    return found


def by_adapter() -> list[Request]:
    """Each request by the base and by every adapter: the same prompt, and another text."""
    return [replace(r, adapter=name) for r in some(4) for name in ("", "lora", "dora", "ia3")]


def features() -> list[Feature]:
    """Those of the engine and of requests that a drafter must live with."""
    tight = {"memory": 12 * page_bytes(Setup().model.config)}
    begins = [Request((*prompt(0, 37), 1 + i), r.sampling) for i, r in enumerate(some(7))]
    return [
        Feature("batch", lambda s: [mixed(14)], lambda core, out: len(out) == 14),
        Feature("chunked prefill", lambda s: [mixed(7, 40)], lambda core, out: core.scheduler.chunk < 40,
                {"chunk": 28, "streams": 4}),
        Feature("preemption", lambda s: [mixed(12, 4, 44)], lambda core, out: core.scheduler.preemptions > 0, tight),
        Feature("prefix hit", lambda s: [begins[:1], begins[1:]], lambda core, out: core.scheduler.hits >= 32 * 6),
        Feature("int8 weights", lambda s: [mixed(9)], weights="int8"),
        Feature("int8 cache", lambda s: [some(9, logprobs=SIZE)], options={"bits": 8}, exact=False),
        Feature("grammar", lambda s: [ruled(s, some(9))], lambda core, out: sum(o[3] == "stop" for o in out) > 2),
        Feature("bias", lambda s: [some(9, logit_bias={4: 3.0, 9: -2.0, 11: -torch.inf})],
                lambda core, out: all(11 not in o[0] for o in out) and any(4 in o[0] for o in out)),
        Feature("min-p", lambda s: [some(9, min_p=0.2)]),
        Feature("logprobs", lambda s: [[Request(r.prompt, r.sampling, echo=True) for r in some(9, logprobs=5)]],
                lambda core, out: all(len(o[5][0]) > 9 and all(len(top) == 5 for top in o[2]) for o in out)),
        Feature("seed", lambda s: [one_prompt(6, True), one_prompt(6, True)[::-1]],
                lambda core, out: len({o[0] for o in out}) > 3),
        Feature("stop", lambda s: [some(15, stop=("ab", "q", "c"), stop_ids=(4, 30, 32))],
                lambda core, out: sum(o[3] == "stop" for o in out) > 5),
        Feature("n > 1", lambda s: [one_prompt(6, False)], lambda core, out: core.scheduler.hits >= 20 * 5),
        Feature("adapters", lambda s: [by_adapter()], lambda core, out: len({o[0] for o in out[:4]}) == 4,
                {"adapters": adapters(Setup().model)}),
        Feature("all together", lambda s: [together(s)], lambda core, out: core.scheduler.preemptions > 0,
                {"memory": 11 * page_bytes(Setup().model.config), "chunk": 36, "streams": 8}),
    ]  # fmt: skip


def drafters(setup: Setup) -> dict[str, Make]:
    """Who guesses for a model, by name. Scripted ones are told what comes."""
    return {
        "small model": lambda model, truth: ModelDrafter(setup.small, SIZE),
        "int8 self": lambda model, truth: quantised(model, 8),
        "int4 self": lambda model, truth: quantised(model, 4),
        "early exit": lambda model, truth: early_exit(model, 1),
        "lookup": lambda model, truth: Lookup(least=1),
        "retrieval store": lambda model, truth: Retrieval(Texts(list(truth.values())[::2]), least=1, several=2),
        "other tokenizer": lambda model, truth: OtherTokenizer(
            ModelDrafter(setup.other, len(THEIRS) + 1), setup.theirs, setup.ours
        ),
        "best of": lambda model, truth: BestOf([Lookup(least=1), early_exit(model, 1)], every=4),
        "all of": lambda model, truth: AllOf([Lookup(least=1), ModelDrafter(setup.small, SIZE)]),
        **{kind: lambda model, truth, kind=kind: head(kind, model) for kind in KINDS},  # type: ignore[misc]
        "diffusion": lambda model, truth: DiffusionDrafter(*setup.slots, SIZE, passes=2),
        "all wrong": lambda model, truth: Scripted("all wrong", told(truth, 1)),
        "all right": lambda model, truth: Scripted("all right", told(truth, 0)),
    }


def head(kind: str, model: Transformer) -> Drafter:
    """A drafter that watches the model, with an untrained head."""
    fresh = drafts.fresh(kind, model.config, GUESS, seed=3)
    generator = torch.Generator().manual_seed(3)
    for parameter in fresh.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0.0, 0.2, generator=generator)
    return beside(kind, fresh.eval(), model, kind)


def told(truth: Truth, off: int) -> Rule:
    """The tokens that would come without guesses, each `off` beside."""

    def rule(row: Row, most: int, choose: Choose) -> Draft:
        coming = [*truth[id(row.request)][row.written :], 0, 0][:most]
        return Draft(tuple((token + off) % SIZE for token in coming))

    return rule
