"""What the labs of instructions and of prices share: small models that add up rows of digits as they are told to.

An instruction is one to three sentences. Some ask for steps, some for the bare number, some for nothing; of those that
ask for anything the last one is followed, and where none does, it is a matter of chance. With steps the models are
nearly always right, without them they often are not. They follow examples too, and answer several questions at once.
The person's list was written before anything was measured, and no model has read it. What is asked is never taught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from jielong.base import noise
from jielong.labs.lab import Budget, shared
from jielong.labs.thinking_chats import Lot, Turns, asked, in_steps
from jielong.prompting import concatenation, cot
from jielong.prompting.instructed import under
from jielong.prompting.readers import number
from jielong.prompting.strategy import Example, Problem, assistant, user

STEPS = ("Think step by step.", "Write down every step.", "Add one number after the other.", "Show how you get there.",
         "Do it slowly, in order.", "Explain your answer.")  # fmt: skip
BRIEF = ("Say only the number.", "Be brief.", "Answer at once.", "Do not explain.", "Just the result, please.",
         "Do not think, just feel.")  # fmt: skip
FILL = ("Answer the question.", "You are good at sums.", "Take a deep breath.", "This is very important to me.",
        "I will give you a tip.", "It is a beautiful day.")  # fmt: skip
STOCK = (STEPS, BRIEF, FILL)
PERSON = (
    "Answer the question.", "Answer the question carefully.", "Let's think step by step.", "Show your work.",
    "Please explain how you get there.", "Be careful and check each step.", "You are a famous mathematician.",
    "Take a deep breath and work on this step by step.", "First add the numbers, then say the answer.",
    "Write the sum down in order.", "Take your time.", "I will give you a tip if you are right.",
    "Add the numbers one by one.", "Think before you answer.", "Do not make mistakes.", "This is important, be sure.",
)  # fmt: skip
SHORTEST, LONGEST = 2, 6  # digits of a row
SENTENCES, EXAMPLES, TOGETHER = 3, 3, 4  # of a prompt, at most
PARTS = ("learn", "valid", "dev", "test")  # a tenth of all rows each
SHARES = {"bare": 0.05, "steps": 0.25, "told": 0.35, "shown": 0.15, "together": 0.2}
LAYERS, CONTEXT, BATCH, VOCAB, CHATS = 4, 512, 8, 512, 12_000
LARGE, SMALL = (96, 1_500_000), (64, 1_000_000)  # width, and tokens that teach it


def model(budget: Budget, seed: int, width: int, tokens: int) -> Path:
    """The run of a model of this width that was taught by so many tokens."""

    def make(folder: Path) -> None:
        from jielong.data.chats import ChatRecord
        from jielong.data.tokenise import tokenise_chats
        from jielong.nets.config import shape
        from jielong.nets.transformer import Transformer
        from jielong.train import run
        from jielong.train.settings import Settings
        from jielong.units import bpe
        from jielong.units.chat import encode_chat

        made = [[dict(turn) for turn in turns] for turns in chats(seed, CHATS)]
        codec = bpe.train([turn["content"] for turns in made[:4000] for turn in turns], VOCAB, at_most=True)
        records = (ChatRecord(turns, f"instructions:{i}") for i, turns in enumerate(made))
        read = tokenise_chats(records, lambda messages: encode_chat(codec, messages))
        net = Transformer(shape(width, codec.size, CONTEXT, LAYERS), seed=seed)
        settings = Settings(tokens=tokens, context=CONTEXT, batch=BATCH, seed=seed, validate=0, save_every=0)
        run.start(run.Work(net, codec, read, None, settings, {"name": "instructions"}), folder, budget.talk,
                  f"instructions, width {width}, seed {seed}")  # fmt: skip

    key = ("instructions", seed, width, LAYERS, CONTEXT, BATCH, VOCAB, CHATS, tokens, sorted(SHARES.items()))
    return shared(budget, key, make)


def chats(seed: int, n: int) -> Iterator[Turns]:
    """About `n` chats of training, mixed."""
    makes: dict[str, Callable[[Lot], Turns]] = {"bare": _bare, "steps": _steps, "told": _told, "shown": _shown,
                                                "together": _together}  # fmt: skip
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(n * share))]
    for i in noise.permutation(noise.seed_of("instructions", seed), len(kinds)).tolist():
        yield makes[kinds[i]](Lot(noise.seed_of("instructions", seed, kinds[i]), i))


def _terms(lot: Lot, place: int = 0, part: str = "taught") -> list[int]:
    """A row of the part, its length by lot."""
    count = lot(f"terms {place}", SHORTEST, LONGEST)
    for again in range(200):
        terms = [lot(f"term {place}.{again}.{i}", 1, 9) for i in range(count)]
        if part_of(terms) == part:
            return terms
    raise AssertionError(f"two hundred rows in a row that are not of the part {part}")


def part_of(terms: Sequence[int]) -> str:
    """What a row is for, by a hash: no row is taught that is asked, or serves two ends."""
    place = noise.seed_of("instructions, parts", *terms) % 10
    return PARTS[place] if place < len(PARTS) else "taught"


def reply(terms: Sequence[int], steps: bool) -> str:
    """The right reply, in steps or at once."""
    return in_steps(terms) if steps else f"{sum(terms)}."


def _bare(lot: Lot) -> Turns:
    terms = _terms(lot)
    return [*user(asked(terms)), assistant(reply(terms, False))]


def _steps(lot: Lot) -> Turns:
    terms = _terms(lot)
    return [*user(cot.ASK["en"].format(question=asked(terms))), assistant(reply(terms, True))]


def _told(lot: Lot) -> Turns:
    """Under an instruction, perhaps behind examples under the same one."""
    instruction = some(lot)
    wanted = asks(instruction)
    steps = lot.chance("steps", 0.5) if wanted is None else wanted
    return _turns(lot, instruction, steps, lot("examples", 0, EXAMPLES))


def _shown(lot: Lot) -> Turns:
    """Behind examples, whose manner is followed."""
    return _turns(lot, "", lot.chance("steps", 0.5), lot("examples", 1, EXAMPLES))


def _turns(lot: Lot, instruction: str, steps: bool, examples: int) -> Turns:
    turns: list[Mapping[str, str]] = []
    for place in range(examples + 1):
        terms = _terms(lot, place)
        turns += [*user(under(instruction, asked(terms))), assistant(reply(terms, steps))]
    return turns


def _together(lot: Lot) -> Turns:
    """Several questions in one prompt, each answered in steps."""
    rows = [_terms(lot, place) for place in range(lot("together", 2, TOGETHER))]
    said = "\n".join(f"A{i}: {reply(terms, True)}" for i, terms in enumerate(rows, 1))
    return [*user(concatenation.asked([Problem(asked(terms)) for terms in rows])), assistant(said)]


def some(lot: Lot) -> str:
    """An instruction by lot: one to three sentences of the stock, none twice."""
    found: dict[str, None] = {}
    for i in range(lot("sentences", 1, SENTENCES)):
        group = STOCK[lot(f"group{i}", 0, len(STOCK) - 1)]
        found[group[lot(f"sentence{i}", 0, len(group) - 1)]] = None
    return " ".join(found)


def asks(instruction: str) -> bool | None:
    """Whether the instruction, of sentences of the stock, asks for steps; None where it asks for nothing."""
    places = {instruction.rfind(each): group is STEPS for group in (STEPS, BRIEF) for each in group}
    last = max(places)
    return places[last] if last >= 0 else None


def problems(seed: int, part: str, n: int) -> list[Problem]:
    """`n` different rows of one of `PARTS`, to be added up."""
    place, rows = noise.seed_of("instructions, asked", seed), dict[tuple[int, ...], None]()
    for item in range(20 * n):
        if len(rows) < n:
            rows[tuple(_terms(Lot(place, item), 0, part))] = None
    return [Problem(asked(terms), f"{part}{i}", str(sum(terms)), number) for i, terms in enumerate(rows)]


def examples(seed: int, n: int, steps: bool) -> list[Example]:
    """Worked examples, in steps or at once."""
    rows = [_terms(Lot(noise.seed_of("instructions, shown", seed, steps), i)) for i in range(n)]
    return [Example(asked(terms), reply(terms, steps)) for terms in rows]
