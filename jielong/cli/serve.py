"""`jielong serve`: a model behind OpenAI's API, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jielong.cli.common import Common
from jielong.cli.drawing import MODEL
from jielong.cli.guessing import GUESSING, Guessing

if TYPE_CHECKING:
    from jielong.base.talk import Talk

KEY = "JIELONG_API_KEY"
MEGABYTE = 1 << 20


def serve(
    model: Path = MODEL,
    *,
    adapter: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str = "",
    mode: Literal["fast", "exact"] = "fast",
    streams: int = 32,
    device: str = "auto",
    rate: float = 0.0,
    body: float = 4.0,
    seconds: float = 600.0,
    grace: int = 60,
    guessing: Guessing = GUESSING,
    common: Common = Common(),
) -> None:
    """Serve a model behind OpenAI's API, with a page to try it at /.

    Stops at Ctrl-C or SIGTERM after finishing what is running; a second signal stops at once. With
    JIELONG_API_KEY set in the environment, every request needs that key; without it only this machine may ask.

    Parameters
    ----------
    model
        A checkpoint folder or a run.
    adapter
        The folder of an adapter that was trained on this model, here or with PEFT: its run, or its checkpoint. One
        alone is written into the model. NAME=FOLDER, as often as wanted, leaves the model as it is and lets each
        request choose: its "model" is MODEL:NAME, or NAME.
    host
        The address to listen on. Beyond this machine an API key is needed.
    port
        The port; 0 takes a free one.
    name
        What clients call the model (the folder's name by default).
    mode
        fast, or exact: an answer's bytes do not depend on what else is running.
    streams
        Texts that are written at the same time; others wait.
    device
        cpu, cuda, mps or auto.
    rate
        Requests a minute from one client (0: no limit).
    body
        Megabytes that a request may have.
    seconds
        In which an answer must be finished.
    grace
        Seconds that running answers get when the server is told to stop.
    """
    from jielong.base.device import pick
    from jielong.base.errors import UserError
    from jielong.serve.guard import is_here
    from jielong.serve.load import open_service
    from jielong.serve.run import listen
    from jielong.serve.run import serve as run
    from jielong.serve.service import Limits

    key = os.environ.get(KEY, "")
    if not key and not is_here(host):
        raise UserError(f"--host {host} is open to other machines: set {KEY} in the environment first")
    if min(rate, grace) < 0 or min(body, seconds) <= 0 or streams < 1:
        raise UserError("--rate and --grace are 0 or more; --body, --seconds and --streams more than 0")
    talk = common.talk()
    alone, several = told(adapter)
    listener = listen(host, port)
    limits = Limits(body=int(body * MEGABYTE), seconds=seconds, rate=rate)
    talk.say(f"reading {model}")
    service = open_service(model, name=name, device=pick(device), mode=mode, streams=streams, limits=limits,
                           drafting=guessing.drafting, adapter=alone, adapters=several)  # fmt: skip

    def ready(url: str) -> None:
        if service.adapters:
            talk.say(f"with adapters: {', '.join(map(service.called, service.adapters))}")
        talk.say(f"{service.name} at {url}/v1 ({mode}; a page to try it at {url}/); Ctrl-C stops")
        talk.next_command(f"curl {url}/v1/models" + (f' -H "Authorization: Bearer ${KEY}"' if key else ""))

    log_to(talk)
    run(service, listener, key=key, grace=grace, ready=ready)
    talk.document({"model": service.name, "stats": service.engine.stats()})


def told(adapters: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """What --adapter says: the folder of one to write into the model, or folders by name. UserError for both."""
    from jielong.base.errors import UserError

    bare = [each for each in adapters if "=" not in each or Path(each).exists()]
    named = [(name, folder) for name, _, folder in (each.partition("=") for each in adapters if each not in bare)]
    if bare and len(adapters) > 1:
        raise UserError(f"--adapter {bare[0]}: several adapters need names, --adapter NAME=FOLDER for each")
    twice = [name for i, (name, _) in enumerate(named) if name in dict(named[:i])]
    if twice:
        raise UserError(f"--adapter {twice[0]}=...: two adapters have that name")
    return (bare[0] if bare else None), dict(named)


def log_to(talk: Talk) -> None:
    """What the server logs, as this command's messages: failures always, each request with -v.

    A line holds no header and no body, so no key and nothing that anybody said.
    """
    import logging

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            serious = record.levelno >= logging.WARNING and (record.exc_info or record.name == "jielong.serve")
            (talk.error if serious else talk.detail)(self.format(record))

    for each in ("jielong.serve", "uvicorn.error"):
        logger = logging.getLogger(each)
        logger.handlers, logger.propagate = [Said()], False
        logger.setLevel(logging.INFO)
