"""What an answer is worth: the shared face of everything that rewards.

    reward(prompts, completions, **columns) -> one float an answer; NaN or None: not judged

A prompt is a text or a list of messages, as it stood in the data; a completion is the text that was written; `columns`
are what else the data says of each prompt ("answer", "id", ...), one list each, as long as the prompts.

    from_path("reward.py:right")        a person's own function, called as TRL calls them
    from_model("runs/reward", "safe")   a reward model's head
    summed([(a, 1.0), (b, 0.5)])        several, with weights
    judged(reward, prompts, completions, columns)      the numbers, checked

What is not judged is kept apart and counted, never guessed. In a sum None means "this does not apply here" and leaves
the other parts as they are (TRL's convention); NaN means that a part failed, and then so has the sum.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from jielong.base.errors import UserError, WorkFailed

if TYPE_CHECKING:
    from jielong.nets.reward import Loaded

Worths = npt.NDArray[np.float64]  # NaN where nothing was judged
BATCH = 32  # answers that a reward model reads together


class Reward(Protocol):
    """Judges answers. What it is called with is in the docstring above."""

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]: ...


def judged(
    reward: Reward, prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> Worths:
    """(N,) what each answer is worth, NaN where it was not judged. UserError for a reward that does not give one
    number an answer."""
    found = numbers(called(reward), reward(list(prompts), list(completions), **columns), len(completions))
    return np.array([math.nan if value is None else value for value in found], dtype=np.float64)


def called(reward: Reward) -> str:
    """What messages call it."""
    return str(getattr(reward, "name", getattr(reward, "__name__", "the reward")))


def numbers(name: str, given: Any, n: int) -> list[float | None]:
    """What a reward gave, as `n` numbers or None. UserError naming the reward for anything else."""
    if given is None or isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__"):
        raise UserError(f"{name} gave {_kind(given)} where a list of {n} numbers is needed, one for each answer")
    if len(given) != n:
        raise UserError(f"{name} gave {len(given)} rewards for {n} answers: it must give one for each")
    return [_number(name, value) for value in given]


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} gave {value!r:.60} for an answer: it must give a number, or None where it cannot "
                        "judge") from None  # fmt: skip
    if math.isinf(found):
        raise UserError(f"{name} gave {found} for an answer: it must give a finite number, or None where it cannot "
                        "judge")  # fmt: skip
    return found


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Own:
    """A person's own function, called as TRL calls reward functions: by the names `prompts`, `completions` and those
    of the data's columns. Where the prompt is a list of messages the completion is one too. A function without
    **kwargs is given only what it names."""

    function: Callable[..., Any]
    name: str

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """One number an answer. UserError where the function breaks or names what the data lacks."""
        said = [text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
                for prompt, text in zip(prompts, completions)]  # fmt: skip
        given = self._fitting({**columns, "prompts": list(prompts), "completions": said})
        try:
            found = self.function(**given)
            if inspect.isawaitable(found):
                found = _waited(found)
        except (UserError, WorkFailed):
            raise
        except Exception as error:  # somebody else's code
            raise UserError(f"{self.name} broke{_place(error, self.name)}: {_line(error)}") from error
        return numbers(self.name, found, len(completions))

    def _fitting(self, given: dict[str, Any]) -> dict[str, Any]:
        taken = inspect.signature(self.function).parameters.values()
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken):
            return given
        named = [each for each in taken if each.kind is not inspect.Parameter.VAR_POSITIONAL]
        wanted = [each.name for each in named if each.default is inspect.Parameter.empty]
        if missing := [name for name in wanted if name not in given]:
            raise UserError(f"{self.name} asks for {', '.join(missing)}, and the data has {', '.join(sorted(given))}")
        return {each.name: given[each.name] for each in named if each.name in given}


def _waited(coming: Any) -> Any:
    import asyncio

    async def whole() -> Any:
        return await coming

    return asyncio.run(whole())


def _place(error: Exception, name: str) -> str:
    """The last line of the person's own file that was reached."""
    own = Path(name.rpartition(":")[0]).name
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == own]
    return f" in line {lines[-1]}" if lines else ""


def _line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' * bool(said)}{said:.200}"


def from_path(spec: str) -> Own:
    """The function that "file.py:fn" names. UserError where there is none.

    The file is run as Python runs a script: its own folder is where it imports from.
    """
    path, _, name = spec.rpartition(":")
    if not path or not name:
        raise UserError(f"--reward {spec}: name a function of a Python file, as in reward.py:right")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{path}: no such file; --reward is FILE.py:FUNCTION")
    function = getattr(_module(file), name, None)
    if not callable(function):
        raise UserError(f"{path} has no function {name!r}: --reward is FILE.py:FUNCTION")
    return Own(function, spec)


def _module(file: Path) -> ModuleType:
    named = f"jielong_reward_{file.stem}"
    found = importlib.util.spec_from_file_location(named, file)
    if found is None or found.loader is None:
        raise UserError(f"{file}: not a Python file; --reward is FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(found)
    folder = str(file.resolve().parent)
    sys.modules[named] = module  # dataclasses of the file look for it there
    sys.path.insert(0, folder)
    try:
        found.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{file} line {error.lineno}: not Python ({error.msg})") from error
    except Exception as error:  # somebody else's code
        raise UserError(f"{file} broke{_place(error, f'{file}:')}: {_line(error)}") from error
    finally:
        sys.path.remove(folder)
    return module


@dataclass(frozen=True, eq=False)
class Model:
    """A head of a reward model. What is longer than it can read is not judged."""

    loaded: Loaded
    head: int
    name: str

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """The head's number at the end of each answer."""
        import torch

        from jielong.train.compiled import plainly
        from jielong.train.preferences.pairs import lay
        from jielong.train.preferences.reward import worth

        model, found = self.loaded.model, [math.nan] * len(completions)
        documents = [self._read(prompt, text) for prompt, text in zip(prompts, completions)]
        fit = [i for i, (ids, _) in enumerate(documents) if len(ids) <= model.config.context]
        fit.sort(key=lambda i: -len(documents[i][0]))  # rows are as long as their longest
        with torch.no_grad(), plainly(model.body):
            for first in range(0, len(fit), BATCH):
                some = fit[first : first + BATCH]
                laid = lay([documents[i] for i in some], np.array(some), last=True)
                for i, value in zip(some, worth(model, laid)[:, self.head].tolist()):
                    found[i] = value
        return found

    def _read(self, prompt: Any, text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        from jielong.train.preferences.prepare import encode

        plain = bool(self.loaded.info.get("text"))
        asked = prompt if plain or not isinstance(prompt, str) else [{"role": "user", "content": prompt}]
        ids, marks = encode(self.loaded.codec, asked, text if plain else [{"role": "assistant", "content": text}])
        return np.array(ids, dtype=np.int64), np.array(marks)


def from_model(folder: str | Path, head: str = "", device: str = "cpu") -> Model:
    """A reward model's head (default: its first). UserError for a folder of another kind, and an unknown head."""
    from jielong.nets import reward

    loaded = reward.load(folder, device)
    heads = loaded.model.heads
    if head and head not in heads:
        raise UserError(f"{folder} has no head {head!r}; there are: {', '.join(heads)}")
    loaded.model.requires_grad_(False)
    return Model(loaded, heads.index(head) if head else 0, f"{folder}{':' * bool(head)}{head}")


@dataclass(frozen=True)
class Sum:
    """Rewards and their weights."""

    parts: tuple[tuple[Reward, float], ...]

    @property
    def name(self) -> str:
        """All names."""
        return " + ".join(called(reward) for reward, _ in self.parts)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float | None]:
        """sum of weight x reward over the parts that apply; None where none does, NaN where one failed."""
        total: list[float | None] = [None] * len(completions)
        for reward, weight in self.parts:
            found = numbers(called(reward), reward(prompts, completions, **columns), len(completions))
            total = [b if a is None else a if b is None else a + b
                     for a, b in zip(total, (None if x is None else weight * x for x in found))]  # fmt: skip
        return total


def summed(parts: Sequence[tuple[Reward, float]]) -> Reward:
    """Several rewards as one; a single one of weight 1 is itself."""
    if not parts:
        raise UserError("no reward: give --reward FILE.py:FUNCTION or --judge FOLDER")
    if len(parts) == 1 and parts[0][1] == 1.0:
        return parts[0][0]
    return Sum(tuple(parts))


def weighted(spec: str) -> tuple[str, float]:
    """"a.py:f=0.5" -> ("a.py:f", 0.5); without "=" the weight is 1. UserError for a weight that is no number."""
    name, mark, weight = spec.rpartition("=")
    if not mark:
        return spec, 1.0
    try:
        found = float(weight)
    except ValueError:
        raise UserError(f"{spec}: the weight {weight!r} is not a number; write {name}=0.5") from None
    if not math.isfinite(found) or found == 0:
        raise UserError(f"{spec}: the weight must be a finite number other than 0")
    return name, found
