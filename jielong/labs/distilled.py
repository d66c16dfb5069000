"""Distilled against merely small: whose guesses does a model keep?

A model has read the world. Two small ones of one shape, from the same weights, read the same rows in the same order for
as many steps: one learns the tokens that stand there, the other the model's whole law at each place. Then both guess
ahead for the model on fresh documents, and what it keeps is counted. Whatever they guess, the text must stay as it is;
and a drafter that is the model itself must lose nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import stages
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.views.charts import Axes, Series
from jielong.views.markup import Words
from jielong.views.pictures import lines

if TYPE_CHECKING:
    from jielong.infer.draft.drafting import Drafting, Tally
    from jielong.infer.draft.types import Verify
    from jielong.nets.checkpoint import Loaded
    from jielong.nets.transformer import Transformer

CLAIM = {
    "en": "A small model that has learnt a large one's probabilities has more of its guesses kept than one of the same "
    "size that has read the same text for as long.",
    "zh": "向大模型學過機率的小模型，比起大小相同、讀過同樣文字同樣久的小模型，猜的字有更多被大模型留下。",
}
SOURCE = {
    "en": "Lecture 16 (2024); Hinton et al. 2015 (arXiv 1503.02531); DistillSpec, Zhou et al. 2023 (arXiv 2310.08461), "
    "sections 3 and 5.1",
    "zh": "第 16 講（2024）；Hinton et al. 2015（arXiv 1503.02531）；DistillSpec，Zhou et al. 2023"
    "（arXiv 2310.08461），第 3、5.1 節",
}
EXPECT = {
    "en": "More guesses kept, at temperature 1 and greedy; the same text whoever guesses.",
    "zh": "溫度 1 與貪婪解碼時留下的猜測都較多；不論誰來猜，寫出的文字都一樣。",
}
MINUTES, SEEDS = 4.0, 3
WIDTH, LAYERS = 32, 2  # of those that guess
TOKENS = 1_000_000  # that each of them reads
TEXTS, BEGUN, WRITTEN = 640, 10, 48  # documents of which the model writes more, behind so many tokens, so many
CHECKED = 128  # texts for the controls
GUESSES = 4
TAUGHT, READ, SAME = "distilled", "text alone", "the model itself"
SHOWN = {TAUGHT: Words("distilled", "蒸餾過"), READ: Words("read the text alone", "只讀文字"),
         "untrained": Words("untrained", "沒訓練過")}  # fmt: skip
KINDS = {"at temperature 1": 1.0, "greedy": 0.0}


def run(budget: Budget) -> Result:
    """Each seed has a world, a model and two drafters of its own; differences are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    columns = {name: [one[name] for one in found] for name in found[0]}
    n = TEXTS * len(found)
    rows = []
    for kind in KINDS:
        more = [a - b for a, b in zip(columns[f"{TAUGHT} kept {kind}"], columns[f"{READ} kept {kind}"])]
        rows.append(over_seeds(f"guesses kept {kind}, distilled less text alone", more, "above", 0.0, "no more", n,
                               unit="share"))  # fmt: skip
    rows += _controls(columns, n)
    for name in SHOWN:
        for what, unit in (("kept {}", "share"), ("tokens a step {}", "")):
            for kind in KINDS:
                rows.append(context(what.format(kind), columns[f"{name} {what.format(kind)}"], n, unit, name))
        rows.append(context("overlap of the laws on fresh text", columns[f"{name} overlap"], n, "share", name))
        rows.append(context("nats a token of fresh text", columns[f"{name} loss"], n, "", name))
    return Result("distilled", "Distilled drafters", tuple(rows), series=_picture(columns),
                  meta={"mode": f"{GUESSES} guesses a step, float32"})  # fmt: skip


def _controls(columns: dict[str, list[float]], n: int) -> list[Row]:
    """Nobody changes a text; who is the model loses no guess; who has learnt nothing loses most."""
    same, own = min(columns["same text"]), min(min(columns[f"{SAME} kept {kind}"]) for kind in KINDS)
    most, least = max(columns["untrained kept at temperature 1"]), min(columns[f"{READ} kept at temperature 1"])
    beside = Row("guesses kept, untrained, beside text alone", most / max(least, 1e-9), None, n, unit="share")
    return [
        check(Row("texts that stay the same, whoever guesses", same, None, n, truth=1.0, unit="share")),
        check(Row("guesses kept, the model itself", own, None, n, truth=1.0, unit="share"), low=0.99),
        check(beside, high=0.5),
    ]


def _picture(columns: dict[str, list[float]]) -> dict[str, Any]:
    def curve(name: str) -> Series:
        by_place = [columns[f"{name} kept at temperature 1, {place}"] for place in range(1, GUESSES + 1)]
        return Series(SHOWN[name], list(range(1, GUESSES + 1)), [mean(v) for v in by_place], dots=True)

    axes = Axes(x=Words("place of the guess", "第幾個猜測"), y=Words("kept", "留下的比例"))
    title = Words("Guesses kept at temperature 1", "溫度 1 時留下的猜測")
    return {"kept": lines(title, [curve(name) for name in SHOWN], axes=axes)}


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Shares, tokens a step and nats by name, of one seed."""
    import torch

    from jielong.nets import checkpoint
    from jielong.nets.config import shape
    from jielong.nets.transformer import Transformer
    from jielong.train import curriculum as plans

    loaded = checkpoint.load(stages.base(budget, seed))
    train, held = plans.pretraining(stages.curriculum(seed), loaded.codec)
    fresh = [held.document(i)[0].tolist() for i in range(held.documents)]
    prompts = [ids[:BEGUN] for ids in fresh if len(ids) > BEGUN][:TEXTS]
    config = shape(WIDTH, loaded.codec.size, 2 * stages.CONTEXT, LAYERS)
    some = prompts[:CHECKED]
    plain = {kind: written(loaded.model, some, heat) for kind, heat in KINDS.items()}
    found, same = dict[str, float](), list[bool]()
    for name in (*SHOWN, SAME):
        model = loaded.model if name == SAME else Transformer(config, seed=seed)
        if name in (TAUGHT, READ):
            learn(model, loaded, train, name == TAUGHT, seed, budget)
        if name != SAME:
            with torch.no_grad():
                found |= {f"{name} {what}": value for what, value in beside(model, loaded, held).items()}
        for kind, heat in KINDS.items():
            again = written(loaded.model, some, heat, drafting(model))
            same += [a == b for a, b in zip(plain[kind], again, strict=True)]
            asked = prompts if name in (TAUGHT, READ) else some
            found |= {f"{name} {what}": value for what, value in kept(loaded.model, asked, model, kind).items()}
    return {**found, "same text": sum(same) / len(same)}


def learn(model: Transformer, teacher: Loaded, tokens: Any, taught: bool, seed: int, budget: Budget) -> None:
    """The small model reads the text, and is told the laws of the large one or not."""
    from jielong.train import distil, run

    count = budget.tokens or round(TOKENS * (budget.minutes or MINUTES) / MINUTES)
    settings = replace(stages.settings(max(count, stages.CONTEXT * stages.BATCH), seed), validate=0, compile=False)
    objective = partial(distil.of_work, teacher=teacher.model) if taught else None
    name = TAUGHT if taught else READ
    with tempfile.TemporaryDirectory() as folder:
        work = run.Work(model, teacher.codec, tokens, None, settings, {"name": name}, objective=objective)
        run.start(work, Path(folder), budget.talk, f"{name}, seed {seed}")
    model.eval()


def beside(model: Transformer, teacher: Loaded, held: Any) -> dict[str, float]:
    """On fresh text: nats a token, and the mean overlap of both laws, which is how probably a guess is kept there."""
    import torch

    from jielong.data.pack import Packer
    from jielong.train.distil import Distil
    from jielong.train.next_token import NextToken

    rows = Packer(held, stages.CONTEXT, stages.BATCH)
    figures = Distil(NextToken(model, rows, rows, dtype=torch.float32), teacher.model).validate()
    return {"overlap": figures["val_overlap"], "loss": figures["val_loss"]}


def drafting(model: Transformer, verify: Verify | None = None) -> Drafting:
    """This model guesses; `verify` None: the text is the one without guesses."""
    from jielong.infer.draft.drafting import Drafting
    from jielong.infer.draft.model import ModelDrafter

    return Drafting(ModelDrafter(model, model.config.vocab), verify, GUESSES)


def written(
    model: Transformer, prompts: list[list[int]], heat: float, ahead: Drafting | None = None
) -> list[list[int]]:
    """What the model writes behind each prompt, whoever guesses ahead."""
    from jielong.infer.core import Core
    from jielong.infer.request import Request
    from jielong.infer.sampling import Sampling

    core = Core(model, mode="exact", streams=32, length=BEGUN + WRITTEN, drafting=ahead)
    sampling = Sampling(temperature=heat, max_tokens=WRITTEN)
    rows = [core.submit(Request(tuple(ids), sampling, index=i)) for i, ids in enumerate(prompts)]
    while core.busy:
        for token in core.step():
            if token.error is not None:
                raise token.error
    return [row.text[BEGUN:] for row in rows]


def kept(model: Transformer, prompts: list[list[int]], guesser: Transformer, kind: str) -> dict[str, float]:
    """The share of all guesses that are kept by rejection (greedy: where they are the model's choice), the same by
    place, and tokens written a step."""
    from jielong.infer.draft.verify import token

    ahead = drafting(guesser, token)
    written(model, prompts, KINDS[kind], ahead)
    tally: Tally = ahead.tally
    by_place = [a / p for a, p in zip([*tally.accepted, *[0] * GUESSES], tally.proposed)]
    return {
        f"kept {kind}": sum(tally.accepted) / sum(tally.proposed),
        f"tokens a step {kind}": tally.tokens / tally.steps,
        **{f"kept {kind}, {place}": share for place, share in enumerate(by_place, 1)},
    }
