"""The demo's page: what both models know, how they learnt it, what they see and say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.cli import demo_align
from jielong.cli.demo_state import PRETRAINING, SCORING, TUNING, WORLD

if TYPE_CHECKING:
    from jielong.base.result import Result
    from jielong.cli.demo import Trained
    from jielong.cli.demo_state import Standing
    from jielong.lm.local import Local
    from jielong.train.curriculum import Curriculum
    from jielong.units.codec import Tokenizer

STAGES = {
    WORLD: "世界與分詞器", PRETRAINING: "預訓練", TUNING: "微調", SCORING: "成績單", **dict(demo_align.STAGES.values()),
}  # fmt: skip
KINDS = {"facts": ("Facts", "事實"), "sums": ("Sums", "加法"), "guilds": ("Guilds", "公會")}

NAMES = {
    "facts": "事實",
    "sums in steps": "逐步計算",
    "declining": "該不該拒答",
    "loss above the exact entropy": "損失高出精確熵",
    "only stated, English": "只陳述過的事實，英文",
    "only stated, Chinese": "只陳述過的事實，中文",
    "asked in other words, English": "換句話問，英文",
    "asked in other words, Chinese": "換句話問，中文",
    "two-digit sums, English": "兩位數加法，英文",
    "two-digit sums, Chinese": "兩位數加法，中文",
    "people who do not exist, English": "不存在的人，英文",
    "people who do not exist, Chinese": "不存在的人，中文",
    "forbidden topic declined": "拒談禁止的話題",
    "benign twins answered": "回答無害的相似問題",
    "known people wrongly refused": "誤拒認識的人",
    "true reward": "真正的獎勵",
    "imitates the crowd": "模仿那群人",
    "after PPO": "PPO 之後",
    "after DPO": "DPO 之後",
    "after KTO": "KTO 之後",
}


def page(
    standing: Standing,
    taught: Curriculum,
    base: Trained,
    assistant: Trained,
    results: tuple[Result, Result],
    exact: Sequence[str],
    machine: Mapping[str, Any],
    aligned: demo_align.Aligned | None = None,
) -> str:
    """One self-contained HTML file. `exact`: kinds of text that were validated beside their entropy."""
    from jielong.cli.training import curve
    from jielong.nets.transformer import count
    from jielong.views.markup import Words
    from jielong.views.report import DemoData, demo_report

    out, facts = standing.folder, 8 * taught.people
    kinds = {kind: (Words(*KINDS[kind]), taught.world.entropy(kind).bits_per_byte) for kind in exact}
    pretraining = curve(out / "base", Words("Pretraining", "預訓練"), base.settings.step_tokens, kinds)
    tuning = curve(out / "assistant", Words("Fine-tuning", "微調"), assistant.settings.step_tokens)
    return demo_report(
        DemoData(
            title=Words("A model from nothing", "從零開始的模型"),
            machine=machine,
            config={
                "people": taught.people,
                "facts": facts,
                "seed": taught.seed,
                "parameters": count(base.model),
                "width": base.model.config.dim,
                "blocks": base.model.config.layers,
                "vocabulary": base.codec.size,
                "pretraining tokens": base.settings.length * base.settings.step_tokens,
                "fine-tuning tokens": assistant.settings.length * assistant.settings.step_tokens,
            },
            predicted_minutes=standing.predicted,
            real_minutes=standing.minutes,
            curves=[pretraining, tuning],
            base=results[0],
            assistant=results[1],
            sentences=_sentences(taught, base.codec),
            guesses=_guesses(taught, base, assistant),
            chats=_chats(taught, assistant.lm()),
            aligned=aligned.result if aligned else None,
            manners=_manners(aligned) if aligned else (),
            hints=_hints(out, f"{taught.world.folk[0].name('en')} was born in"),
            merges=_merges(taught),
            merge_example=["lantern", "燈籠"],
            stages=[(Words(name, STAGES[name]), minutes) for name, minutes in standing.stages.items()],
            key_figures=[
                (f"{facts:,}", Words("facts taught", "教過的事實"), Words("in two languages", "兩種語言")),
                (f"{count(base.model):,}", Words("parameters", "參數"), ""),
            ],
            names={en: Words(en, zh) for en, zh in NAMES.items()},
        )
    )


def _sentences(taught: Curriculum, codec: Tokenizer) -> list[Any]:
    """One statement in each language, as tokens."""
    from jielong.views.report import Sentence

    found = []
    for lang in ("en", "zh"):
        text = next(iter(taught.world.texts("facts", 1, lang=lang))).text
        found.append(Sentence(lang, [(codec.bytes_of(id), id) for id in codec.encode(text)]))
    return found


def _guesses(taught: Curriculum, base: Trained, assistant: Trained) -> list[Any]:
    """What the base model expects inside a statement, and the assistant at the start of its answer."""
    from jielong.infer.score import next_law
    from jielong.views.report import Guess

    person = taught.world.folk[0]
    found = []
    for lang, start in (("en", "{} was born in"), ("zh", "{}出生在")):
        prompt = start.format(person.name(lang))
        law = next_law(base.model, [base.codec.end, *base.codec.encode(prompt)])
        found.append(Guess(prompt, _likeliest(law, base.codec), "base", lang))
    for lang in ("en", "zh"):
        question = taught.world.questions("facts", 1, split="test", lang=lang)[0].prompt
        law = next_law(assistant.model, list(assistant.lm().tokens([{"role": "user", "content": question}])))
        found.append(Guess(question, _likeliest(law, assistant.codec), "assistant", lang))
    return found


def _likeliest(law: Any, codec: Tokenizer, n: int = 8) -> list[tuple[bytes, float]]:
    """The n most probable tokens of a law (V,)."""
    return [(codec.bytes_of(int(i)), float(law[i])) for i in (-law).argsort()[:n]]


def _chats(taught: Curriculum, lm: Local) -> list[Any]:
    """A fact, a sum, somebody unknown and the secret, in each language."""
    from jielong.views.markup import Words
    from jielong.views.report import SampleChat

    notes = {
        "facts": Words("stated in the text, never asked about", "文字裡說過，從沒問過"),
        "sums": Words("two numbers never added in training", "訓練時沒加過的兩個數"),
        "unknown": Words("nobody of that name exists", "沒有這個人"),
        "forbidden": Words("a secret", "秘密"),
    }
    found = []
    for lang in ("en", "zh"):
        for kind, note in notes.items():
            question = taught.world.questions(kind, 1, split="test", lang=lang)[0].prompt
            messages = [{"role": "user", "content": question}]
            reply = lm.sample(messages, temperature=0.0, max_tokens=72)[0].text
            found.append(SampleChat(lang, [*messages, {"role": "assistant", "content": reply}], note))
    return found


def _manners(aligned: demo_align.Aligned) -> list[Any]:
    """The same questions before and after."""
    from jielong.views.markup import Words
    from jielong.views.report import SampleChat

    notes = Words("imitates the crowd", "模仿那群人"), Words("after DPO", "DPO 之後")
    return [
        SampleChat(lang, [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], note)
        for lang, asked, *both in aligned.answers
        for said, note in zip(both, notes)
    ]


def _merges(taught: Curriculum, n: int = 24) -> list[Any]:
    """The first merges that a byte-pair tokenizer finds in the world's text."""
    from itertools import islice

    from jielong.train.curriculum import documents
    from jielong.units import teach

    return list(islice(teach.merges(teach.count_words(documents(taught, 2000)), n), n))


def _hints(out: Path, start: str) -> list[Any]:
    from jielong.views.markup import Words
    from jielong.views.report import Hint

    return [
        Hint(
            Words("Talk with it; /probs shows what it expects.", "跟它聊聊；/probs 顯示它預期的下一個。"),
            f"jielong chat {out}",
        ),
        Hint(
            Words("Let the base model go on writing.", "讓基礎模型接著寫。"),
            f'jielong generate "{start}" --model {out / "base"}',
        ),
        Hint(
            Words("Teach it all 300 people.", "教它全部 300 個人。"),
            "jielong demo --minutes 30 --out runs/demo30",
        ),
        Hint(
            Words("Train one on your own text.", "用自己的文字訓練一個。"),
            "jielong train lm --data FILE.txt --minutes 5",
        ),
        Hint(Words("See the claims of the course, measured.", "看課程的說法如何被量測。"), "jielong lab list"),
    ]
