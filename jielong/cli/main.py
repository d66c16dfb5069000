"""`jielong VERB`: the table of verbs, and what happens when something goes wrong.

A verb's module is imported when that verb is asked for, and no module here imports torch at its top, so every
`--help` answers at once. Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError
from cyclopts.config import Toml

import jielong
from jielong.base.errors import UserError, WorkFailed
from jielong.cli.common import DONE, FAILED, INTERRUPTED, WRONG_INPUT

# Words of a verb: (where its function is, what it does).
VERBS: Mapping[str, tuple[str, str]] = {
    "demo": ("jielong.cli.demo:demo", "Make a small bilingual assistant from nothing, and prove it."),
    "doctor": ("jielong.cli.doctor:doctor", "Say what this machine can do."),
    "train tokenizer": ("jielong.cli.tokenizer:tokenizer", "Learn a vocabulary from text."),
    "train lm": ("jielong.cli.train:lm", "Pretrain a language model on text."),
    "train sft": ("jielong.cli.train:sft", "Fine-tune a language model on chats."),
    "train dpo": ("jielong.cli.train_preferences:dpo", "Align a model with pairs of answers."),
    "train kto": ("jielong.cli.train_preferences:kto", "Align a model with answers that are wanted or not."),
    "train reward": ("jielong.cli.train_preferences:reward", "Train a judge of answers from pairs of them."),
    "train ppo": ("jielong.cli.train_rollouts:ppo", "Align a model with rewards of its answers, with a critic."),
    "train grpo": ("jielong.cli.train_rollouts:grpo", "Align a model with rewards of groups of its answers."),
    "train prompt": ("jielong.cli.train_prompt:prompt", "Find words that make a frozen model answer better."),
    "train parallel": ("jielong.cli.parallel:parallel", "Train a model that writes all places at once."),
    "train draft": ("jielong.cli.train_draft:draft", "Train a drafter: it guesses what a model will write."),
    "train image": ("jielong.cli.pictures:image", "Train a model of pictures, from words to pictures."),
    "draw picture": ("jielong.cli.pictures:picture", "Draw what words say: the word `picture` can be left out."),
    "draw score": ("jielong.cli.pictures:score", "How often what is drawn is what was asked for."),
    "chat": ("jielong.cli.chat:chat", "Talk with a model in the terminal."),
    "generate": ("jielong.cli.generate:generate", "Continue a text."),
    "score": ("jielong.cli.score:score", "Log-probabilities of texts under a model."),
    "ask": ("jielong.cli.ask:ask", "Answer a question with a strategy: prompts, votes, your documents."),
    "compare": ("jielong.cli.compare:compare", "Compare strategies at equal budget, with intervals."),
    "replay": ("jielong.cli.traces:replay", "Run a trace's strategies again, without a model."),
    "cost": ("jielong.cli.traces:cost", "What a trace used, and its price."),
    "diff": ("jielong.cli.traces:diff", "How two traces differ."),
    "index": ("jielong.cli.index:index", "Put texts into a store: search, drafting, kNN-LM."),
    "pull": ("jielong.cli.pull:pull", "Fetch a model from the Hugging Face Hub."),
    "export": ("jielong.cli.export:export", "Write a model for other programs (GGUF, Hugging Face)."),
    "quantize": ("jielong.cli.quantize:quantize", "Write a model's weights in 8 or 4 bits."),
    "serve": ("jielong.cli.serve:serve", "Serve a model behind OpenAI's API, with a page to try it."),
    "sandbox run": ("jielong.cli.sandbox:run", "Run a Python program where it can do no harm."),
    "sandbox check": ("jielong.cli.sandbox:check", "Which sandboxes work here; every known way out, tried."),
    "mcp serve": ("jielong.cli.mcp:serve", "Serve tools over the Model Context Protocol."),
    "mcp tools": ("jielong.cli.mcp:tools", "List the tools of an MCP server, or call one."),
    "prove": ("jielong.cli.prove:prove", "Show that guessing ahead changes no text's probability."),
    "data world": ("jielong.cli.data:world", "Write a part of the built-in world to a file."),
    "data prefer": ("jielong.cli.prefer:prefer", "Draw answers, have them judged, write preferences."),
    "lab list": ("jielong.cli.lab:list_", "The claims, and what was measured of each."),
    "lab run": ("jielong.cli.lab:run", "Measure claims."),
    "lab report": ("jielong.cli.lab:report", "Write the pages of claims and results."),
    "homework 4": ("jielong.cli.homework:four", "Write a prompt for word problems; see how good it really is."),
    "bench train": (
        "jielong.cli.bench:train",
        "Training tokens per second beside PyTorch and the HF Trainer.",
    ),
    "bench infer": ("jielong.cli.bench:infer", "Tokens written per second beside transformers and CTranslate2."),
    "bench adapters": ("jielong.cli.bench:adapters", "Sixteen adapters in one batch beside one."),
    "bench align": ("jielong.cli.bench_align:align", "Fine-tuning, LoRA and DPO beside TRL and PEFT."),
    "bench prompting": ("jielong.cli.bench_prompting:prompting", "A vote of forty beside forty free streams."),
    "bench draft": ("jielong.cli.bench:draft", "Guessing ahead beside writing token by token."),
}
GROUPS: Mapping[str, str] = {
    "train": "Find a model's parameters.",
    "data": "Write and inspect data.",
    "lab": "The course's claims, measured.",
    "homework": "Homework of the course.",
    "draw": "Draw with a model of `train image`.",
    "bench": "Speed beside peers, in one run.",
    "sandbox": "Programs that nobody vouches for.",
    "mcp": "Tools over the Model Context Protocol.",
}
DEFAULTS: Mapping[str, str] = {"draw": "picture"}  # what a group does where no word of its own follows
EPILOGUE = "Every verb takes --config FILE.toml, whose keys are its flags; a flag given as well wins."


def build(tokens: Sequence[str]) -> App:
    """The application. A verb named in `tokens` speaks for itself in its docstring; of every other the
    table's line is enough, and its module stays unimported."""
    app = App(
        name="jielong",
        help="Jielong (接龍): everything a generative model makes is a chain of units.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"jielong {jielong.__version__}",
        version_flags=("--version",),
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=()),  # no --empty-data beside --data
    )
    groups = {name: App(name=name, help=line, version_flags=()) for name, line in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for words, (target, line) in VERBS.items():
        first, _, second = words.partition(" ")
        asked = words.split() == list(tokens[: len(words.split())])
        (groups[first] if second else app).command(target, name=second or first, help=None if asked else line)
    return app


def take_config(tokens: Sequence[str]) -> tuple[list[str], Path | None]:
    """The tokens without `--config FILE`, and the file. Raises UserError when it cannot be read."""
    rest: list[str] = []
    path = None
    after = iter(tokens)
    for token in after:
        if token == "--":
            return [*rest, token, *after], path
        if token != "--config" and not token.startswith("--config="):
            rest.append(token)
            continue
        value = token.partition("=")[2] if "=" in token else next(after, "")
        path = Path(value)
        if not value or not path.is_file():
            raise UserError(
                f"--config: no file at {value}" if value else "--config wants the name of a TOML file"
            )
    return rest, path


def spelt_out(tokens: Sequence[str]) -> list[str]:
    """With the second word of a group that may stand without one: `draw "a dog"` is `draw picture "a dog"`."""
    first, second = [*tokens[:2], "", ""][:2]
    if first in DEFAULTS and second not in ("--help", "-h") and f"{first} {second}" not in VERBS:
        return [first, DEFAULTS[first], *tokens[1:]]
    return list(tokens)


def dispatch(tokens: Sequence[str]) -> None:
    """Run one command line. Raises what the verb raises, and CycloptsError for a wrong one."""
    rest, path = take_config(spelt_out(tokens))
    app = build(rest)
    if path is not None:
        app.config = (Toml(path, must_exist=True, use_commands_as_keys=False),)
    app(rest, exit_on_error=False, print_error=False, result_action="return_value")


def unknown(tokens: Sequence[str]) -> str:
    """One line about a command line that names no verb. (The library's own would import every verb.)"""
    if tokens[0].startswith("-"):
        return (
            f"unknown option {tokens[0]} before the verb: flags of a verb come after it. See `jielong --help`"
        )
    group = tokens[0] if tokens[0] in GROUPS else ""
    word = tokens[1] if group else tokens[0]
    names = {words.split()[-1] if group else words.split()[0] for words in VERBS if words.startswith(group)}
    near = difflib.get_close_matches(word, sorted(names), n=1)
    said = " ".join(part for part in (group, word) if part)
    hint = f", did you mean `jielong {' '.join(filter(None, (group, near[0])))}`?" if near else "."
    return f"no verb `{said}`{hint} See `jielong {(group + ' ').lstrip()}--help`"


def one_line(error: CycloptsError, tokens: Sequence[str]) -> str:
    """What is wrong with the command line, in one line that says where to look."""
    if isinstance(error, UnknownCommandError):
        return unknown(tokens)
    verb = next((words for words in VERBS if words.split() == list(tokens[: len(words.split())])), "")
    return f"{error} See `jielong {(verb + ' ').lstrip()}--help`"


def complain(message: str, code: int, *, as_json: bool) -> int:
    """Say what went wrong on standard error, and with `--json` as the one document too. Returns the code."""
    line = " ".join(message.split())
    print(f"jielong: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": line, "exit": code}, ensure_ascii=False))
    return code


def explain_os(error: OSError) -> tuple[str, int]:
    """One line and the exit code for a file system that would not."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: make room, or choose another place with --out", FAILED
    return f"{error.filename}: {error.strerror}", WRONG_INPUT


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return the exit code. A mistake of ours, and only
    that, leaves as an exception with its traceback."""
    given = list(sys.argv[1:] if tokens is None else tokens)
    as_json = "--json" in given
    try:
        dispatch(given)
        sys.stdout.flush()
    except CycloptsError as error:
        return complain(one_line(error, given), WRONG_INPUT, as_json=as_json)
    except UserError as error:
        return complain(str(error), WRONG_INPUT, as_json=as_json)
    except WorkFailed as error:
        return complain(str(error), FAILED, as_json=as_json)
    except KeyboardInterrupt as error:
        return complain(str(error) or "interrupted", INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        _drop_output()  # the reader has left (`| head`)
        return FAILED
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        message, code = explain_os(error)
        if error.filename is None:  # it was standard output that could not be written
            _drop_output()
        return complain(message, code, as_json=as_json)
    return DONE


def _drop_output() -> None:
    """What Python would still write to standard output, now or at exit, has nowhere to go."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> NoReturn:
    """The console script."""
    sys.exit(main())
