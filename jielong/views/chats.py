"""Conversations as bubbles. What was said is shown as it was said: escaped, with its own line ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jielong.views.markup import Html, Prose, Words, element, escape, join, text

ROLES: Mapping[str, Words] = {
    "user": Words("user", "使用者"),
    "assistant": Words("assistant", "助理"),
    "system": Words("system", "系統"),
    "tool": Words("tool", "工具"),
}


def bubbles(messages: Sequence[Mapping[str, str]], *, lang: str = "", note: Prose = "") -> Html:
    """Messages ({"role", "content"}) one below another; `lang` marks the language of what is said."""
    spoken = {"zh": "zh-Hant", "": None}.get(lang, lang)
    parts = []
    for message in messages:
        role, content = str(message.get("role", "")), str(message.get("content", ""))
        kind = role if role in ROLES else "system"
        parts.append(element("div", text(ROLES.get(role, role)), class_=f"who {kind}"))
        said = escape(content) if content else element("i", text(Words("(nothing)", "（沒有內容）")))
        parts.append(element("div", said, class_=f"bubble {kind}", lang=spoken))
    if note:
        parts.append(element("p", text(note), class_="note"))
    return element("div", join(parts), class_="chat")
