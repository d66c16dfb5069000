"""A base model goes on with a question as its text did: with more questions. Fine-tuning makes it answer.

Both models are the same weights before and after fine-tuning on chats, and both get the same questions (about facts
that were only ever stated), each in the form it has seen: plain lines for the base model, chat turns for the other.
The base model is asked in chat turns as well, so that the form alone is not the difference.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from jielong.base.result import Result, Row
from jielong.labs.lab import Budget, part
from jielong.labs.verdict import Side, mean, over_seeds

if TYPE_CHECKING:
    from jielong.lm.local import Local

CLAIM = {
    "en": "A base model continues a question rather than answering it; the same weights answer after fine-tuning.",
    "zh": "基礎模型遇到問題只會接著寫下去，不會回答；同樣的權重經過微調後就會回答。",
}
SOURCE = {"en": "Lectures 6 and 7 (2024); Ouyang et al. 2022", "zh": "第 6、7 講（2024）；Ouyang et al. 2022"}
EXPECT = {
    "en": "The base model answers almost nothing and mostly writes another question; the assistant answers most.",
    "zh": "基礎模型幾乎什麼都不回答，多半再寫一個問題；助理大多能回答。",
}
MINUTES, SEEDS = 6.0, 3
QUESTIONS = 150


def run(budget: Budget) -> Result:
    """Every seed trains its own pair; shares are judged over seeds."""
    found = [part(budget, ("seed", seed), partial(measure, budget, seed)) for seed in budget.seeds]
    columns = {name: [one[name] for one in found] for name in found[0]}

    def row(name: str, title: str, side: Side, control: str, control_name: str) -> Row:
        low = mean(columns[control])
        return over_seeds(title, columns[name], side, low, control_name, len(found) * QUESTIONS, unit="share")

    plain, tuned = "base model, plain text", "after fine-tuning"
    rows = (
        row("assistant answers", "answers, after fine-tuning", "above", "base answers", plain),
        row("assistant right", "answers right, after fine-tuning", "above", "base right", plain),
        row("base asks", "writes another question, before", "above", "assistant asks", tuned),
        row("base chat answers", "answers, before, asked in chat turns", "below", "assistant answers", tuned),
    )
    return Result("base_continues", "Continuing or answering", rows, meta={"mode": "greedy, float32"})


def measure(budget: Budget, seed: int) -> dict[str, float]:
    """Shares over the questions of one seed's world."""
    from jielong.evals.scorecard import MOST_TOKENS, as_chat, as_text
    from jielong.labs import stages
    from jielong.lm.local import load

    world = stages.curriculum(seed).world
    questions = world.questions("facts", QUESTIONS, split="test")
    base, assistant = load(stages.base(budget, seed)), load(stages.assistant(budget, seed))

    def replies(lm: Local, ask: Any) -> list[str]:
        draws = lm.sample_many([ask(q) for q in questions], temperature=0.0, max_tokens=MOST_TOKENS)
        return [some[0].text.strip() for some in draws]

    said = {
        "base": replies(base, as_text(base.codec)),
        "base chat": replies(base, as_chat),
        "assistant": replies(assistant, as_chat),
    }
    shares = {}
    for name, texts in said.items():
        verdicts = [world.check(q, text) for q, text in zip(questions, texts)]
        asks = [text.split("\n")[0].endswith(("?", "？")) for text in texts]
        answered = [v != "nonsense" and not a for v, a in zip(verdicts, asks)]
        shares[f"{name} answers"] = sum(answered) / len(questions)
        shares[f"{name} right"] = sum(v == "right" and not a for v, a in zip(verdicts, asks)) / len(questions)
        shares[f"{name} asks"] = sum(asks) / len(questions)
    return shares
