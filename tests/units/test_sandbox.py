"""Templates from strangers: what ordinary ones write, and that the others end in one line, soon."""

from __future__ import annotations

import time

import pytest

from jielong.base.errors import UserError
from jielong.units import limits, sandbox


class Thing:
    def __init__(self) -> None:
        self.shown = 1


@pytest.mark.parametrize(
    "template, expected",
    [
        ("{{ 'a' ~ 1 ~ x }}", "a1xyz"),
        ("{% for c in x %}{{ loop.index }}{{ c }}{% if loop.last %}.{% endif %}{% endfor %}", "1x2y3z."),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% for i in [] %}a{% else %}none{% endfor %}", "none"),
        ("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=[2];"),
        ("{% set a, b = (1, 2) %}{{ a + b }}{{ 'a%sb' % 3 }}{{ '{}-{}'.format(1, 'z') }}", "3a3b1-z"),
        ("{% set ns = namespace(n=0) %}{% for i in x %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"),
        ("{% macro m(c) %}<{{ c }}>{% endmacro %}{{ m('q') }}{{ m(c=2) }}", "<q><2>"),
        ("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "<in>"),
        ("{% set t %}a{{ x }}{% endset %}{{ t|upper }}{% filter lower %}QQ{% endfilter %}", "AXYZqq"),
        ("{% generation %}hi{{ 1 }}{% endgeneration %}!", "hi1!"),
        ("{{ {'é': '<x>', 'n': none} | tojson }}", '{"é": "<x>", "n": null}'),
        ("{{ [1, 2] | tojson(indent=1) }}", "[\n 1,\n 2\n]"),
        ("{{ l|map(attribute='a')|join(', ') }}{{ l|join('|', attribute='a') }}", "1, 21|2"),
        ("{{ l|selectattr('a', 'equalto', 2)|list|length }}{{ ', '.join(x) }}", "1x, y, z"),
        ("{{ x.replace('y', 'QQ') }}{{ x|replace('z', '') }}{{ 'a-b'.split('-')[1] }}", "xQQzxyb"),
        ("{{ ' a '|trim }}{{ 'ab'|first }}{{ [3, 1]|sort|last }}{{ 'a\nb'|indent(2) }}", "aa3a\n  b"),
        ("{{ 'n' if m is not defined else m }}{{ 'a' in ('a', 'b') }}{{ [1] + [2] }}", "nTrue[1, 2]"),
        ("{{ '%.2f'|format(1.234) }}{{ 'ab' * 2 }}{{ 2 ** 8 }}{{ 7 % 4 }}", "1.23abab2563"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),  # white space as transformers sets it
        ("{{ raise_exception is defined }}{{ strftime_now('%%') }}", "True%"),
        ("{{ thing.shown }}{{ x[1:] }}{{ x|length }}{{ nothing }}", "1yz3"),
    ],
)
def test_what_templates_write(template, expected):
    given = {"x": "xyz", "d": {"a": 1, "b": [2]}, "l": [{"a": 1}, {"a": 2}], "thing": Thing()}
    assert sandbox.render(template, given) == expected


@pytest.mark.parametrize(
    "template, said",
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ thing.__init__.__globals__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", "unsafe"),
        ("{{ '{0.__class__.__init__.__globals__}'.format(thing) }}", "unsafe"),
        ("{{ (x|attr('__class__')).y }}", "unsafe"),
        ("{{ self._TemplateReference__context.x }}", "unsafe"),
        ("{{ l.append(1) }}", "unsafe"),
        ("{{ d.update({1: 2}) }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "loader"),
        ("{% import 'os' as os %}", "loader"),
        ("{{ lipsum() }}", "undefined"),
    ],
)
def test_no_way_out(template, said):
    with pytest.raises(UserError, match=said) as caught:
        sandbox.render(template, {"x": "", "l": [], "d": {}, "thing": Thing()})
    assert "\n" not in str(caught.value)


DOUBLING = (
    "{% set ns = namespace(x=SEED) %}{% for i in range(99) %}{% set ns.x = MORE %}{% endfor %}{{ ns.x }}"
)
BIG = "{% set a = 'a' * 100000 %}"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(10000000000) %}{% endfor %}",
        "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(9) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% for i in range(99999) %}{% set x = range(99999)|list|sort|reverse|list %}{% endfor %}",
        "{% for i in range(99999) %}" + "text " * 500 + "{% endfor %}",
        "{% set s %}{% for i in range(99999) %}" + "text " * 5000 + "{% endfor %}{% endset %}",
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "ns.x ~ ns.x"),
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "ns.x + ns.x"),
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "ns.x * 2"),
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "[ns.x, ns.x]|join"),
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "'%s%s' % (ns.x, ns.x)"),
        DOUBLING.replace("SEED", "'ab'").replace("MORE", "'{}{}'.format(ns.x, ns.x)"),
        DOUBLING.replace("SEED", "[1]").replace("MORE", "[ns.x, ns.x]"),
        DOUBLING.replace("SEED", "[1]").replace("MORE", "(ns.x, ns.x)"),
        DOUBLING.replace("SEED", "[1]").replace("MORE", "{1: ns.x, 2: ns.x}"),
        DOUBLING.replace("SEED", "[1]").replace("MORE", "dict(a=ns.x, b=ns.x)"),
        DOUBLING.replace("SEED", "'ab'").replace("{% set ns.x = MORE %}", "{% set y %}{{ ns.x }}{{ ns.x }}"
            "{% endset %}{% set ns.x = y %}"),
        DOUBLING.replace("SEED", "9").replace("MORE", "ns.x * ns.x"),
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10 ** 10 * 'a' }}",
        "{{ 9 ** 9999999 }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a'.ljust(width=1000000000) }}",
        "{{ '%1000000000d' % 3 }}",
        "{{ '%*d' % (1000000000, 3) }}",
        "{{ '%1000000000d'|format(3) }}",
        "{{ '{:1000000000}'.format(3) }}",
        "{{ '{:{}}'.format(3, 99999) }}",
        "{{ '{a:99999}'.format_map({'a': 1}) }}",
        BIG + "{{ a|replace('a', a) }}",
        BIG + "{{ a.replace('a', a) }}",
        BIG + "{{ a.join(a) }}",
        BIG + "{{ a|join(a) }}",
        BIG + "{{ a.translate({97: a}) }}",
        BIG + "{{ range(99999)|map(attribute='no', default=a)|join }}",
        BIG + "{{ ''.join(range(99999)|map(attribute='no', default=a)) }}",
        BIG + "{{ ('\n' * 9999)|indent(a) }}",
        BIG + "{{ a|wordwrap(1, true, a) }}",
        "{{ ('\\t' * 99999).expandtabs(99999) }}",
        "{% if x %}" * 3000 + "{% endif %}" * 3000,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "x" * (sandbox.TEMPLATE_CHARACTERS + 1),
    ],
)  # fmt: skip
def test_no_running_away(template):
    start = time.process_time()
    with pytest.raises(UserError, match="the chat template") as caught:
        sandbox.render(template, {})
    assert time.process_time() - start < 8
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_slow_template_is_stopped_by_the_clock(monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", -1.0)
    with pytest.raises(UserError, match="seconds"):
        sandbox.render("{% for i in range(500) %}{% endfor %}", {})


@pytest.mark.parametrize(
    "template, said",
    [
        ("a\n{% for %}", "broken at line 2"),
        ("{% break %}", "broken"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ x.y.z }}", "undefined"),
        ("{{ raise_exception('no\nway') }}", "refuses these messages: no way"),
        ("{{ 'a' + 1 }}", "failed"),
        ("{{ [][3].x }}", "failed"),
        ("{{ x|nofilter }}", "nofilter"),
    ],
)
def test_faults_are_one_line(template, said):
    with pytest.raises(UserError, match=said):
        sandbox.render(template, {})


def test_a_long_conversation_is_within_the_limits():
    template = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] | trim ~ '\n' }}{% endfor %}"
    messages = [{"role": "user", "content": "word " * 200}] * 2000
    assert len(sandbox.render(template, {"messages": messages})) > 1_900_000
