"""Chat turns as ids: a Jinja template writes the turns, and what people wrote can never become a turn mark.

    ids, trained = encode_chat(codec, [{"role": "user", "content": "2+3?"},
                                       {"role": "assistant", "content": "5"}])

``trained`` marks the targets: what the assistant wrote and the mark that ends its turn. It is found by
rendering the conversation up to each turn, so any template will do. The same text and, but for forged marks,
the same ids as transformers' ``apply_chat_template``; how forging is prevented stands in ``guard.py``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jielong.base.errors import UserError
from jielong.units import sandbox
from jielong.units.codec import TURN_ENDS, Tokenizer, check_unicode
from jielong.units.guard import Guarded, guarded

ROLES = ("system", "user", "assistant", "tool")
CHATS_AT_ONCE = 512

TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages and messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}{{- '\n\n' }}
    {%- endif %}
    {{- '# Tools' }}
    {%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\nTo call one: <tool_call>{"name": ..., "arguments": {...}}</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message['role'] == 'system') %}
        {{- '<|im_start|>' }}{{- message['role'] }}{{- '\n' }}{{- message['content'] or '' }}
        {%- for item in message['tool_calls'] or [] %}
            {%- set call = item.function if item.function is defined else item %}
            {%- set given = call.arguments if call.arguments is string else call.arguments | tojson %}
            {{- '\n' if message['content'] or not loop.first else '' }}
            {{- '<tool_call>{"name": ' }}{{- call.name | tojson }}
            {{- ', "arguments": ' }}{{- given }}{{- '}</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
""".strip()  # ChatML (OpenAI 2023), with calls as in Hermes and Qwen


@dataclass(frozen=True)
class _Turns:
    """A rendered conversation; ``spans`` are the places in ``made.text`` that are trained on."""

    made: Guarded
    spans: tuple[tuple[int, int], ...]


def render(
    messages: Sequence[Any],
    template: str = TEMPLATE,
    generation_prompt: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """The text of a conversation, to be read. For ids use ``encode_chat`` or ``encode_prompt``.

    ``names``: the variables bos_token, eos_token, ... (``codec.names``). ``generation_prompt``: open the
    assistant's turn at the end. Raises UserError for wrong messages and for any fault of the template.
    """
    return _render(check_messages(messages), template, generation_prompt, tools, names or {})


def encode_prompt(
    codec: Tokenizer,
    messages: Sequence[Any],
    template: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """The ids that make a model answer: the conversation, then the opening of the assistant's turn."""
    form = _form(codec, template)

    def write(some: Sequence[Any], kit: Any) -> str:
        return _render(some, form, True, kit, codec.names)

    turns = _Turns(guarded(codec, check_messages(messages), tools, write), ())
    return _encode(codec, [turns])[0][0]


def encode_chat(
    codec: Tokenizer,
    messages: Sequence[Any],
    template: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[list[int], list[bool]]:
    """(ids, trained), equally long: ``trained[i]`` says that ``ids[i]`` is a target of fine-tuning.

    ``messages``: {"role", "content"} with roles system, user, assistant, tool; an assistant may have
    "tool_calls". ``template``: the codec's own when None. Raises UserError for wrong messages. A conversation
    without an assistant turn gives no target: see ``require_trained``.
    """
    return _encode(codec, [_turns(codec, messages, _form(codec, template), tools)])[0]


def encode_chats(
    codec: Tokenizer, conversations: Iterable[Sequence[Any]], template: str | None = None
) -> Iterator[tuple[list[int], list[bool]]]:
    """``encode_chat`` of each, some hundred at a time on all cores."""
    form = _form(codec, template)
    waiting: list[_Turns] = []
    for messages in conversations:
        waiting.append(_turns(codec, messages, form, None))
        if len(waiting) == CHATS_AT_ONCE:
            yield from _encode(codec, waiting)
            waiting = []
    yield from _encode(codec, waiting)


def require_trained(trained: Sequence[bool], where: str = "this conversation") -> None:
    """Raises UserError, naming ``where``, when nothing in it is trained on."""
    if not any(trained):
        raise UserError(f"nothing in {where} is trained on: it has no assistant turn")


def check_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages as dictionaries. Raises UserError naming the one that is wrong."""
    if not messages or isinstance(messages, str | Mapping):
        raise UserError('a conversation is a list of one or more {"role": ..., "content": ...}')
    checked = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) and hasattr(message, "role") and hasattr(message, "content"):
            message = {"role": message.role, "content": message.content}
        if not isinstance(message, Mapping):
            raise UserError(f'message {number} is not {{"role": ..., "content": ...}}')
        if message.get("role") not in ROLES:
            role = message.get("role")
            raise UserError(f"message {number} has the role {role!r}; it must be one of {', '.join(ROLES)}")
        calls = message["role"] == "assistant" and message.get("tool_calls")
        content = message.get("content")
        if not isinstance(content, str) and not (content is None and calls):
            raise UserError(f"message {number} ({message['role']}) has no text as its content")
        checked.append(dict(message))
    return checked


def _form(codec: Tokenizer, template: str | None) -> str:
    form = codec.template if template is None else template
    if not form:
        raise UserError("this tokenizer has no chat template; give one, or use a model made for chat")
    return form


def _render(
    messages: Sequence[Any], template: str, generation: bool, tools: Any, names: Mapping[str, str]
) -> str:
    given = {"messages": messages, "tools": tools or None, "add_generation_prompt": generation}
    return sandbox.render(template, {**names, **given})


def _turns(codec: Tokenizer, messages: Sequence[Any], template: str, tools: Any) -> _Turns:
    def write(some: Sequence[Any], kit: Any, generation: bool = False) -> str:
        return _render(some, template, generation, kit, codec.names)

    made = guarded(codec, check_messages(messages), tools, write)
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(made.messages):
        if message["role"] != "assistant":
            continue
        earlier = made.messages[:index]
        opened = write(earlier, made.tools, True)
        start = len(opened)
        if not made.text.startswith(opened):  # the opening says more than the finished turn (<think>)
            start = _common(opened, made.text)
            if not made.text.startswith(write(earlier, made.tools)):
                raise UserError("the chat template rewrites earlier turns, so a turn's place cannot be found")
        end = len(made.text)
        if index + 1 < len(made.messages):
            closed = write(made.messages[: index + 1], made.tools)
            end = len(closed) if made.text.startswith(closed) else _turn_end(codec, made, start)
        marks = [stop for begin, stop in made.marks if start <= begin and stop <= end]
        spans.append((start, marks[-1] if marks else end))
    return _Turns(made, tuple(spans))


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _turn_end(codec: Tokenizer, made: Guarded, start: int) -> int:
    """The template writes a turn differently when others follow (Qwen3): its end is its first end mark."""
    ends = {*TURN_ENDS, codec.names.get("eos_token")}
    for begin, stop in made.marks:
        if begin >= start and made.text[begin:stop] in ends:
            return stop
    raise UserError("the chat template does not mark where a turn ends, so it cannot be trained on")


def _encode(codec: Tokenizer, batch: Sequence[_Turns]) -> list[tuple[list[int], list[bool]]]:
    try:
        whole = codec.trusted.encode_batch([turns.made.text for turns in batch], add_special_tokens=False)
    except TypeError:
        for turns in batch:
            check_unicode(turns.made.text, "a conversation")
        raise
    results = []
    for turns, encoding in zip(batch, whole, strict=True):
        trained = _mask(encoding.offsets, turns.spans)
        ids: list[int] = encoding.ids
        marks = [codec.special[turns.made.text[begin:stop]] for begin, stop in turns.made.marks]
        clean = not turns.made.replaced and [id for id in ids if id in codec.control] == marks
        results.append((ids, trained) if clean and trained is not None else _encode_parts(codec, turns))
    return results


def _mask(offsets: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int]]) -> list[bool] | None:
    """Which tokens lie in the spans; None when one lies across an edge (a reply that begins with a line
    break, say): the model answers from the edge on, so the token must be cut there."""
    starts = [start for start, _ in offsets]
    trained = [False] * len(starts)
    for start, end in spans:
        low, high = bisect_left(starts, start), bisect_left(starts, end)
        if any(offsets[place - 1][1] > edge for place, edge in ((low, start), (high, end)) if place):
            return None
        trained[low:high] = [True] * (high - low)
    return trained


def _encode_parts(codec: Tokenizer, turns: _Turns) -> tuple[list[int], list[bool]]:
    """Piece by piece: the template's marks as themselves, all between them as plain text."""
    made = turns.made
    edges = {0, len(made.text), *(edge for span in turns.spans for edge in span)}
    edges |= {edge for mark in made.marks for edge in mark}
    cuts = sorted(edges)
    ids: list[int] = []
    trained: list[bool] = []
    for begin, stop in pairwise(cuts):
        part = made.text[begin:stop]
        new = [codec.special[part]] if (begin, stop) in made.marks else codec.encode(made.restore(part))
        ids += new
        trained += [any(start <= begin < end for start, end in turns.spans)] * len(new)
    return ids, trained
