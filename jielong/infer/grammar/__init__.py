"""Texts of a given form: regular expressions, JSON schemas and Lark grammars as processors of the engine.

    from jielong.infer import grammar

    rule = grammar.regex(codec, "(yes|no)")            # also json_schema(codec, schema), lark(codec, text)
    Request(prompt, sampling, processors=(rule,))

``teach`` is an engine of two hundred lines that gives the same masks; ``truth`` says what masking does to
probabilities, exactly; ``rejection`` draws without that distortion.
"""

from jielong.infer.grammar.mask import guided, json_schema, lark, make, regex

__all__ = ["guided", "json_schema", "lark", "make", "regex"]
