"""``jielong chat``: talk with a model in the terminal.

Also with a script on standard input, one line a turn. Ctrl-C stops the reply, not the program; Ctrl-D leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError
from jielong.cli.common import Common
from jielong.cli.drawing import DRAWING, MODEL, Drawing, bar, open_model
from jielong.cli.guessing import GUESSING, Guessing

if TYPE_CHECKING:
    from jielong.base.talk import Talk
    from jielong.lm.local import Local

HELP = """\
/undo              take back the last message and its reply
/temperature X     0: always the most probable token; 1: the model's own law
/seed N            another number, another reply to the same words
/system TEXT       what the assistant is told before (nothing: no more)
/probs [N]         the N most probable tokens a reply to your last message begins with
/save FILE         append the chat to a JSONL file
/reset             forget everything said
/quit              leave (so does Ctrl-D; Ctrl-C stops a reply)"""
ROOM = 4  # a reply may always have this part of the context: 1 / ROOM


@dataclass
class Session:
    """A running chat: what was said, and how replies are drawn."""

    lm: Local
    talk: Talk
    settings: dict[str, Any]
    system: str = ""
    turns: list[dict[str, str]] = field(default_factory=list)
    open: bool = True

    @property
    def messages(self) -> list[dict[str, str]]:
        """The system message, if there is one, and all turns."""
        before = [{"role": "system", "content": self.system}] if self.system else []
        return before + self.turns


def chat(
    model: Path = MODEL,
    *,
    adapter: Path | None = None,
    system: str = "",
    device: str = "auto",
    guessing: Guessing = GUESSING,
    drawing: Drawing = DRAWING,
    common: Common = Common(),
) -> None:
    """Talk with a model in the terminal; /help inside says what else it understands.

    Parameters
    ----------
    model
        A checkpoint folder or a run.
    adapter
        The folder of an adapter that was trained on this model, here or with PEFT: its run, or its checkpoint.
    system
        What the assistant is told before the first message.
    device
        cpu, cuda, mps or auto.
    """
    from jielong.infer.sampling import Sampling

    talk = common.talk()
    settings = Sampling(**drawing.settings()).changes()  # wrong settings are told before the model is read
    session = Session(open_model(model, device, guessing, adapter), talk, settings, system)
    talk.say(f"{session.lm.name}: write a message, or /help. Ctrl-D leaves.")
    while session.open:
        line = read_line(session)
        if line is None:
            break
        try:
            turn(session, line)
        except UserError as error:
            talk.error(str(error))
    talk.document({"model": session.lm.name, "messages": session.messages, "usage": session.lm.usage})
    beside = f" --adapter {adapter}" if adapter else ""
    talk.next_command(f"jielong generate --chat --model {model}{beside} TEXT")


def turn(session: Session, line: str) -> None:
    """One line of the user's: a command, or a message to reply to. UserError for a wrong command."""
    line = line.strip()
    if not line:
        return
    if not line.startswith("/"):
        reply(session, line)
        return
    name, _, rest = line.partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        raise UserError(f"no command {name}: there are {', '.join(COMMANDS)}")
    command(session, rest.strip())


def read_line(session: Session) -> str | None:
    """The next line; None at the end. Ctrl-C at the prompt only begins a new line."""
    if sys.stdin is None:
        return None
    if not sys.stdin.isatty():
        try:
            return sys.stdin.readline() or None
        except UnicodeDecodeError as error:
            raise UserError(f"standard input is not UTF-8 (byte {error.start}): convert it first") from error
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (arrow keys and history for input())
    while True:
        try:
            return input("> ")
        except EOFError:
            session.talk.say("")
            return None
        except KeyboardInterrupt:
            session.talk.say("\n(Ctrl-D leaves)")


def reply(session: Session, text: str) -> None:
    """Stream the answer to a message. What was said until Ctrl-C is kept."""
    session.turns.append({"role": "user", "content": text})
    said = ""
    try:
        trim(session)
        pieces = session.lm.stream(session.messages, **session.settings)
        try:
            for piece in pieces:
                said += piece
                show(session, piece)
        except KeyboardInterrupt:
            show(session, " ...")
        finally:
            pieces.close()  # type: ignore[attr-defined]
    except BaseException:
        del session.turns[-1]  # a message that could not be answered was not said
        raise
    show(session, "\n")
    session.turns.append({"role": "assistant", "content": said})


def show(session: Session, text: str) -> None:
    """On standard output, unless that is for the one JSON document."""
    if not session.talk.json:
        sys.stdout.write(text)
        sys.stdout.flush()


def trim(session: Session) -> None:
    """Forget the oldest turns until the messages leave room for a reply."""
    context = session.lm.context
    if context is None:
        return
    most = session.settings.get("max_tokens", Drawing.max_tokens)
    limit = context - min(most, context // ROOM)
    forgotten = 0
    while len(session.turns) > 1 and len(session.lm.tokens(session.messages)) > limit:
        del session.turns[0]
        forgotten += 1
        while len(session.turns) > 1 and session.turns[0]["role"] != "user":
            del session.turns[0]
            forgotten += 1
    if forgotten:
        session.talk.say(f"(the context of {context} tokens is full: {forgotten} oldest turns are forgotten)")


def undo(session: Session, rest: str) -> None:
    """/undo"""
    if not session.turns:
        raise UserError("nothing was said yet")
    while session.turns and session.turns.pop()["role"] != "user":
        pass
    session.talk.say("(taken back)")


def set_number(name: str, kind: Callable[[str], float | int]) -> Callable[[Session, str], None]:
    """/temperature and /seed: show or change one setting."""

    def command(session: Session, rest: str) -> None:
        from jielong.infer.sampling import Sampling

        if rest:
            try:
                value = kind(rest)
            except ValueError:
                raise UserError(f"/{name} {rest}: give a number") from None
            session.settings = Sampling(**session.settings | {name: value}).changes()
        session.talk.say(f"({name} is {getattr(Sampling(**session.settings), name)})")

    return command


def tell(session: Session, rest: str) -> None:
    """/system"""
    session.system = rest
    session.talk.say("(the assistant is told so from now on)" if rest else "(no system message)")


def probs(session: Session, rest: str) -> None:
    """/probs"""
    if rest and not (rest.isdecimal() and int(rest) > 0):
        raise UserError(f"/probs {rest}: give a number of tokens")
    asked = session.messages
    while asked and asked[-1]["role"] == "assistant":
        asked = asked[:-1]
    if not any(m["role"] == "user" for m in asked):
        raise UserError("nothing was asked yet: write a message first")
    for token, share in session.lm.likeliest(asked, int(rest or 10)):
        session.talk.answer(f"{share:7.2%} {bar(share):30} {token!r}")


def save(session: Session, rest: str) -> None:
    """/save"""
    from jielong.base.files import append_jsonl

    if not rest:
        raise UserError("/save FILE: name the file")
    if not session.turns:
        raise UserError("nothing was said yet")
    append_jsonl(Path(rest).expanduser(), {"messages": session.messages})
    session.talk.say(f"(appended to {rest})")


def reset(session: Session, rest: str) -> None:
    """/reset"""
    session.turns.clear()
    session.talk.say("(everything said is forgotten)")


def leave(session: Session, rest: str) -> None:
    """/quit"""
    session.open = False


def show_help(session: Session, rest: str) -> None:
    """/help"""
    session.talk.say(HELP)


COMMANDS: Mapping[str, Callable[[Session, str], None]] = {
    "/undo": undo,
    "/temperature": set_number("temperature", float),
    "/seed": set_number("seed", int),
    "/system": tell,
    "/probs": probs,
    "/save": save,
    "/reset": reset,
    "/help": show_help,
    "/quit": leave,
}
