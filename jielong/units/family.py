"""How families of tokenizers differ: which tokens are control tokens, and what bytes a token stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jielong.units import alphabet


def with_guards(backend: Any, names: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """Mark as special what is one in all but name: <|...|>, and what the configuration names."""
    import tokenizers

    model = json.loads(backend.to_str())
    changed = False
    for token in model["added_tokens"]:
        control = re.fullmatch(r"<[|｜].*[|｜]>", token["content"]) or token["content"] in names.values()
        if control and not token["special"]:
            token["special"] = changed = True
    return tokenizers.Tokenizer.from_str(json.dumps(model)) if changed else backend, model


def unknown_id(model: Mapping[str, Any], special: Mapping[str, int]) -> int:
    """The id for what the vocabulary lacks, -1 for none: a special that plain text may well give."""
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return special.get(model.get("unk_token") or "", -1)


def pieces(backend: Any, decoder: Any, added: Mapping[int, Any]) -> tuple[list[bytes], bool]:
    """The bytes of every id (b"" in holes), and whether joining them is all there is to decoding."""
    steps = {step["type"] for step in (decoder or {}).get("decoders", [decoder]) if step}
    vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    found = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, id in vocabulary.items():
        if id in added:
            found[id] = added[id].content.encode()
        elif "ByteLevel" in steps:
            known = all(character in alphabet.BYTE_OF for character in token)
            found[id] = alphabet.read(token) if known else token.encode()
        elif "ByteFallback" in steps and re.fullmatch("<0x[0-9A-F]{2}>", token):
            found[id] = bytes([int(token[3:5], 16)])
        elif steps <= {"ByteFallback", "Fuse"}:
            found[id] = token.encode()
        elif "WordPiece" in steps:
            found[id] = token[2:].encode() if token.startswith("##") else b" " + token.encode()
        else:
            found[id] = token.replace("\u2581", " ").encode()  # SentencePiece's mark for a space
    return found, "ByteLevel" in steps or (bool(steps) and steps <= {"ByteFallback", "Fuse"})
