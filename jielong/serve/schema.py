"""The bodies that may be posted, endpoint by endpoint (`/v1/responses` has a file of its own)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from jielong.serve.errors import wrong
from jielong.serve.fields import MOST_TOP, Count, Harmless, Ids, Sampled, listed
from jielong.serve.strict import Strict, without_nulls

Prompts = list[str] | Ids | list[Ids]
NAME = r"^[A-Za-z0-9_.-]{1,64}$"  # of a tool or a schema


class TextPart(Strict):
    """A piece of a message; pictures, sounds and files have other types, which are refused."""

    type: Literal["text"]
    text: str


def an_object(text: str) -> str:
    """The text, when it is a JSON object. ValueError otherwise."""
    try:
        fine = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        fine = False
    if not fine:
        raise ValueError("the arguments of a call are a JSON object, as text")
    return text


Arguments = Annotated[str, AfterValidator(an_object)]


class Function(Strict):
    """What a call calls."""

    name: Annotated[str, Field(pattern=NAME)]
    arguments: Arguments


class ToolCall(Strict):
    """A call that the assistant made earlier."""

    id: str
    type: Literal["function"] = "function"
    function: Function


class Message(Strict):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    "Of an answer given back: only the empty list, which is what this server writes."

    def text(self) -> str | None:
        """The content as one text; None when there is none."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content

    @model_validator(mode="after")
    def _complete(self) -> Message:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("a message needs content")
        if self.tool_calls is not None and self.role != "assistant":
            raise ValueError("only an assistant message has tool_calls")
        if (self.tool_call_id is None) == (self.role == "tool"):
            raise ValueError("tool_call_id belongs to tool messages, and they need it")
        return self


class ToolFunction(Strict):
    """A function the model may call. `strict`: its arguments follow the schema to the letter."""

    name: Annotated[str, Field(pattern=NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool; functions are the only kind there is here."""

    type: Literal["function"]
    function: Annotated[ToolFunction, BeforeValidator(without_nulls)]


class Named(Strict):
    """The name of a function."""

    name: str


class NamedChoice(Strict):
    """The function that must be called."""

    type: Literal["function"]
    function: Named


class Schema(Strict):
    """A JSON schema that the answer follows; it does so to the letter whatever `strict` says."""

    name: Annotated[str, Field(pattern=NAME)]
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    strict: bool | None = None


class Format(Strict):
    """What the answer looks like: text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Annotated[Schema, BeforeValidator(without_nulls)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Format:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError('json_schema belongs to the type "json_schema", and it needs it')
        return self


class ChatRequest(Sampled, Harmless):
    """POST /v1/chat/completions"""

    model: str
    messages: Annotated[list[Annotated[Message, BeforeValidator(without_nulls)]], Field(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    tools: list[Tool] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool = True
    response_format: Annotated[Format, BeforeValidator(without_nulls)] | None = None
    modalities: list[Literal["text"]] | None = None
    "Text is all there is."
    reasoning_effort: Literal["none"] | None = None
    "No model here has a reasoning of its own to set."
    verbosity: Literal["medium"] | None = None
    "The models here write as long as they write."

    def limit(self) -> int | None:
        """The most new tokens. ApiError when it is said twice, differently."""
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) == 2:
            raise wrong("max_tokens", "differs from max_completion_tokens: give one of them")
        return both.pop() if both else None

    def check(self) -> None:
        """ApiError for fields that do not go together."""
        self.check_stream()
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "only allowed when logprobs is true")
        check_tools([t.function.name for t in self.tools], self.tool_choice)
        asked: set[str] = set()
        for number, message in enumerate(self.messages):
            asked |= {call.id for call in message.tool_calls or ()}
            if message.role == "tool" and message.tool_call_id not in asked:
                raise wrong(f"messages[{number}].tool_call_id", "no assistant message before it made this call")


class CompletionRequest(Sampled, Harmless):
    """POST /v1/completions"""

    model: str
    prompt: Annotated[Prompts, Field(min_length=1), BeforeValidator(listed)]
    max_tokens: Count = 16
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    "Only as many as n: nothing is drawn to be thrown away."

    def check(self) -> None:
        """ApiError for fields that do not go together."""
        self.check_stream()
        if self.best_of is not None and self.best_of != self.n:
            raise wrong("best_of", f"only n ({self.n}) is implemented: draw n and choose yourself")


class EmbeddingRequest(Strict):
    """POST /v1/embeddings"""

    model: str
    input: Annotated[Prompts, Field(min_length=1, max_length=2048), BeforeValidator(listed)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    "Only the model's own width."
    user: str | None = None


class TokenizeRequest(Strict):
    """POST /tokenize: a text, or a chat as the model reads it."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Annotated[Message, BeforeValidator(without_nulls)]] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool = True
    "Whether what the model's family puts before every text is put there, as in /v1/completions."
    return_token_strs: bool = False


class DetokenizeRequest(Strict):
    """POST /detokenize"""

    model: str | None = None
    tokens: Ids


def check_tools(names: list[str], choice: Any) -> None:
    """ApiError for a choice without tools, a name without a tool, or a name given twice."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise wrong("tools", f"two tools are named {twice!r}: give each a name of its own")
    if choice is not None and choice != "none" and not names:
        raise wrong("tool_choice", "only allowed when tools are given")
    if isinstance(choice, NamedChoice) and choice.function.name not in names:
        raise wrong("tool_choice", f"no tool is named {choice.function.name[:60]!r}")
