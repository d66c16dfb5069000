"""A small aligned model against a larger one that is not.

Three times as many parameters read the same text. Asked as it is, with four questions and good answers written before
each question, the large model shows what it has read; taught by the crowd it imitates the crowd. The small model has
been taught by the crowd too, and then learnt from comparisons (DPO, KTO). Who answers better by the true reward?
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs import aligning, learning, stages
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import check, context, mean, over_seeds
from jielong.world.text import Question
from jielong.world.world import World

if TYPE_CHECKING:
    from jielong.nets.checkpoint import Loaded

CLAIM = {
    "en": "A small model that was aligned answers better than a model of three times its size that was not.",
    "zh": "經過對齊的小模型，答得比三倍大而沒有對齊的模型好。",
}
SOURCE = {
    "en": "Lecture 8 (2024); Ouyang et al. 2022 (arXiv 2203.02155), figure 1",
    "zh": "第 8 講（2024）；Ouyang et al. 2022（arXiv 2203.02155），圖 1",
}
EXPECT = {
    "en": "The small model after DPO and after KTO above the large one, shown examples and taught by the crowd alike.",
    "zh": "小模型經 DPO 與 KTO 之後，都高於看過範例的大模型，也高於由群眾教過的大模型。",
}
MINUTES, SEEDS = 12.0, 3
WIDTH, LAYERS = 160, 5  # of the large one
SHOTS = 4
SMALL, LARGE, SHOWN = "small, imitating", "large, imitating", "large, shown examples"


def run(budget: Budget) -> Result:
    """The small model's leads, seed by seed."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    n = len(found) * aligning.ASKED * aligning.DRAWN
    rows = []
    for name in ("DPO", "KTO"):
        for other in (LARGE, SHOWN):
            lead = [one["rewards"][f"small, {name}"] - one["rewards"][other] for one in found]
            title = f"true reward more, small after {name} beside {other}"
            rows.append(over_seeds(title, lead, "above", 0.0, other, n))
    knows = [one["loss"]["small"] - one["loss"]["large"] for one in found]
    better = Row("nats a token of fresh text, small less large", mean(knows), None, len(found),
                 unit="nats a token",
                 note="size helps with the text")  # fmt: skip
    rows.append(check(better, low=0.0))
    for name in found[0]["rewards"]:
        rows.append(context("true reward", [one["rewards"][name] for one in found], n, group=name))
    sizes = found[0]["parameters"]
    rows += [Row("parameters", float(sizes[name]), None, 1, group=name) for name in sizes]
    return Result("small_aligned", "Small and aligned beside large", tuple(rows),
                  meta={"mode": "temperature 1, float32"})  # fmt: skip


def measure(budget: Budget, seed: int) -> dict[str, Any]:
    """Of one seed: true rewards by model, losses on fresh text, and sizes."""
    from jielong.nets import checkpoint
    from jielong.nets.transformer import count

    start = aligning.start(budget, seed)
    world, codec = start.world, start.loaded.codec
    small = checkpoint.load(stages.base(budget, world.seed, aligning.PEOPLE, aligning.READ))
    large = checkpoint.load(stages.base(budget, world.seed, aligning.PEOPLE, aligning.READ, WIDTH, LAYERS))
    loss = {"small": fresh(small, world.seed), "large": fresh(large, world.seed)}
    rewards = {SHOWN: mean(shown(large, world))}
    plan = stages.curriculum(world.seed, aligning.PEOPLE)
    imitating = learning.learnt(aligning.imitation(large, plan, aligning.TUNED), budget.talk)
    pairs = aligning.compared(world, start.questions, start.said, each=0)
    models = {
        SMALL: start.loaded.model,
        LARGE: imitating,
        "small, DPO": learning.learnt(learning.dpo(start.loaded, pairs, start.seed, 1.0), budget.talk),
        "small, KTO": learning.learnt(learning.kto(start.loaded, pairs, start.seed, 0.5), budget.talk),
    }
    rewards |= {name: mean(aligning.true_reward(model, codec, world)) for name, model in models.items()}
    return {"rewards": rewards, "loss": loss,
            "parameters": {"small": count(start.loaded.model), "large": count(imitating)}}  # fmt: skip


def fresh(loaded: Loaded, seed: int) -> float:
    """Nats a token of documents that no training used."""
    import torch

    from jielong.data.pack import Packer
    from jielong.train import curriculum as plans
    from jielong.train.next_token import NextToken

    _, held = plans.pretraining(stages.curriculum(seed, aligning.PEOPLE), loaded.codec)
    rows = Packer(held, stages.CONTEXT, stages.BATCH)
    return NextToken(loaded.model, rows, rows, dtype=torch.float32).validate()["val_loss"]


def shown(loaded: Loaded, world: World) -> list[float]:
    """True rewards of a base model's first line behind examples of the same kind, in the question's language."""
    from jielong.infer.generate import generate
    from jielong.infer.sampling import Sampling

    some = aligning.questions(world, aligning.ASKED, "asked", 2)
    examples = aligning.questions(world, 400)
    prompts = [text_of(question, examples) for question in some]
    codec, found = loaded.codec, []
    encoded = [[codec.end, *codec.encode(prompt)][-stages.CONTEXT :] for prompt in prompts]
    loaded.model.eval()
    for draw in range(aligning.DRAWN):
        how = [Sampling(max_tokens=aligning.ANSWER, seed=1000 * draw + i, stop_ids=(codec.end,))
               for i in range(len(some))]  # fmt: skip
        said = [codec.decode(list(one.answer), skip_special=True) for one in generate(loaded.model, encoded, how)]
        found.append([world.reward(q, answer.split("\n")[0].strip()) for q, answer in zip(some, said, strict=True)])
    return [mean(values) for values in zip(*found, strict=True)]


def text_of(question: Question, examples: Sequence[Question]) -> str:
    """Examples of the question's kind and language, then the question, a line each."""
    alike = [e for e in examples if (e.origin.kind, e.origin.lang) == (question.origin.kind, question.origin.lang)]
    return "".join(f"{e.prompt}\n{e.answer}\n" for e in alike[:SHOTS]) + f"{question.prompt}\n"
