"""The body of POST /v1/responses, for text and function calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from jielong.serve.errors import wrong
from jielong.serve.fields import MOST_TOP, Harmless, Share
from jielong.serve.schema import (
    NAME,
    Arguments,
    Function,
    Message,
    NamedChoice,
    Schema,
    ToolCall,
    ToolFunction,
    check_tools,
)
from jielong.serve.strict import Strict, without_nulls


class InputText(Strict):
    """A piece of a message: what was said to the model, or what it said (`output_text`, given back as it came)."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[Any] | None = None
    "Of an answer given back: it says nothing to the model."


class Said(Strict):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[InputText, BeforeValidator(without_nulls)]]
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class Called(Strict):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: Annotated[str, Field(pattern=NAME)]
    arguments: Arguments
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class Output(Strict):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


def kind(value: Any) -> str:
    """Which of the items a dictionary is; without a type it is a message."""
    found = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", "message")
    return found if isinstance(found, str) else "message"


Item = Annotated[
    Annotated[Said, Tag("message")] | Annotated[Called, Tag("function_call")]
    | Annotated[Output, Tag("function_call_output")],
    Discriminator(kind),
    BeforeValidator(without_nulls),
]  # fmt: skip


class FlatTool(ToolFunction):
    """A function, as this endpoint writes it: without an object around it."""

    type: Literal["function"]


class FlatChoice(Strict):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class TextFormat(Strict):
    """As `response_format`, flat."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, Field(pattern=NAME)] | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    def schema_of(self) -> Schema | None:
        """The schema to follow. ApiError where it is missing, or not asked for."""
        if (self.type == "json_schema") != (self.schema_ is not None):
            raise wrong("text.format.schema", 'belongs to the type "json_schema", and it needs it')
        if self.type != "json_schema":
            return None
        if self.name is None:
            raise wrong("text.format.name", "is missing")
        return Schema.model_validate({"name": self.name, "schema": self.schema_})


class TextConfig(Strict):
    """What the text looks like."""

    format: Annotated[TextFormat, BeforeValidator(without_nulls)] = TextFormat()
    verbosity: Literal["medium"] | None = None


class ResponseOptions(Strict):
    """Nothing is obfuscated."""

    include_obfuscation: Literal[False] = False


class ResponseRequest(Harmless):
    """POST /v1/responses. Nothing is kept: a conversation goes on by sending its items again."""

    model: str | None = None
    input: Annotated[str | list[Item], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Share = 1.0
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    include: list[Literal["message.output_text.logprobs"]] = Field(default_factory=list)
    stream: bool = False
    stream_options: Annotated[ResponseOptions, BeforeValidator(without_nulls)] | None = None
    tools: list[Annotated[FlatTool, BeforeValidator(without_nulls)]] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool = True
    text: Annotated[TextConfig, BeforeValidator(without_nulls)] = TextConfig()
    truncation: Literal["disabled"] | None = None
    "What is too long is refused, as by default at OpenAI."
    background: Literal[False] | None = None

    def check(self) -> None:
        """ApiError for fields that do not go together."""
        check_tools([t.name for t in self.tools], self.choice())
        self.text.format.schema_of()
        if self.stream_options is not None and not self.stream:
            raise wrong("stream_options", "only allowed when stream is true")
        asked: set[str] = set()
        for number, item in enumerate(self.input if isinstance(self.input, list) else ()):
            if isinstance(item, Called):
                asked.add(item.call_id)
            if isinstance(item, Output) and item.call_id not in asked:
                raise wrong(f"input[{number}].call_id", "no function_call before it has this call_id")

    def choice(self) -> Any:
        """`tool_choice` as the chat endpoint writes it."""
        given = self.tool_choice
        if not isinstance(given, FlatChoice):
            return given
        return NamedChoice.model_validate({"type": "function", "function": {"name": given.name}})

    def functions(self) -> list[ToolFunction]:
        """The tools as the chat endpoint writes them."""
        return [ToolFunction(**t.model_dump(exclude={"type"})) for t in self.tools]

    def messages(self) -> list[Message]:
        """The instructions and the input as turns of a chat; calls in a row are one turn."""
        found = [Message(role="system", content=self.instructions)] if self.instructions is not None else []
        if isinstance(self.input, str):
            return [*found, Message(role="user", content=self.input)]
        for item in self.input:
            found = _with(found, item)
        return found


def _with(found: list[Message], item: Any) -> list[Message]:
    if isinstance(item, Output):
        return [*found, Message(role="tool", content=item.output, tool_call_id=item.call_id)]
    if isinstance(item, Called):
        call = ToolCall(id=item.call_id, function=Function(name=item.name, arguments=item.arguments))
        last = found[-1] if found and found[-1].role == "assistant" else Message(role="assistant", content="")
        rest = found[:-1] if last in found[-1:] else found
        return [*rest, Message(role="assistant", content=last.text(), tool_calls=[*(last.tool_calls or ()), call])]
    text = item.content if isinstance(item.content, str) else "".join(p.text for p in item.content)
    return [*found, Message(role=item.role, content=text)]
