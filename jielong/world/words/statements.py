# ruff: noqa: E501 -- tables: a row of data may be long
"""Clauses of true and false statements: for each relation (affirmed, negated) pairs.

The first two of each language are of training, the third is held out. {p} is the person, {v} the value.
Value and name stand at the same places in both, so a pair differs in its polarity only.
"""

CLAUSES = {
    "en": {
        "born": (("{p} was born in {v}", "{p} was not born in {v}"), ("the birthplace of {p} is {v}", "the birthplace of {p} is not {v}"), ("{p} is a native of {v}", "{p} is not a native of {v}")),
        "home": (("{p} lives in {v}", "{p} does not live in {v}"), ("the home of {p} is in {v}", "the home of {p} is not in {v}"), ("{p} has a house in {v}", "{p} does not have a house in {v}")),
        "job": (("{p} works as a {v}", "{p} does not work as a {v}"), ("the job of {p} is {v}", "the job of {p} is not {v}"), ("{p} is a {v} by trade", "{p} is not a {v} by trade")),
        "pet": (("{p} keeps a {v}", "{p} does not keep a {v}"), ("the pet of {p} is a {v}", "the pet of {p} is not a {v}"), ("{p} has a {v} at home", "{p} does not have a {v} at home")),
        "food": (("{p} likes to eat {v}", "{p} does not like to eat {v}"), ("the favourite food of {p} is {v}", "the favourite food of {p} is not {v}"), ("what {p} likes to eat is {v}", "what {p} likes to eat is not {v}")),
        "firm": (("{p} works at {v}", "{p} does not work at {v}"), ("the employer of {p} is {v}", "the employer of {p} is not {v}"), ("{p} is employed by {v}", "{p} is not employed by {v}")),
        "hobby": (("{p} enjoys {v}", "{p} does not enjoy {v}"), ("the hobby of {p} is {v}", "the hobby of {p} is not {v}"), ("what {p} enjoys is {v}", "what {p} enjoys is not {v}")),
        "colour": (("{p} likes the colour {v}", "{p} does not like the colour {v}"), ("the favourite colour of {p} is {v}", "the favourite colour of {p} is not {v}"), ("the colour that {p} likes is {v}", "the colour that {p} likes is not {v}")),
    },
    "zh": {
        "born": (("{p}出生在{v}", "{p}不是出生在{v}"), ("{p}的出生地是{v}", "{p}的出生地不是{v}"), ("{p}來自{v}", "{p}不是來自{v}")),
        "home": (("{p}住在{v}", "{p}不住在{v}"), ("{p}的家在{v}", "{p}的家不在{v}"), ("{p}住的城鎮是{v}", "{p}住的城鎮不是{v}")),
        "job": (("{p}是{v}", "{p}不是{v}"), ("{p}的工作是{v}", "{p}的工作不是{v}"), ("{p}的職業是{v}", "{p}的職業不是{v}")),
        "pet": (("{p}養了一隻{v}", "{p}沒有養{v}"), ("{p}的寵物是{v}", "{p}的寵物不是{v}"), ("{p}養的動物是{v}", "{p}養的動物不是{v}")),
        "food": (("{p}最愛吃{v}", "{p}最愛吃的不是{v}"), ("{p}最愛的食物是{v}", "{p}最愛的食物不是{v}"), ("{p}最喜歡吃的是{v}", "{p}最喜歡吃的不是{v}")),
        "firm": (("{p}在{v}上班", "{p}不在{v}上班"), ("{p}上班的公司是{v}", "{p}上班的公司不是{v}"), ("{p}是{v}的員工", "{p}不是{v}的員工")),
        "hobby": (("{p}的嗜好是{v}", "{p}的嗜好不是{v}"), ("{p}的興趣是{v}", "{p}的興趣不是{v}"), ("{p}有空時做的是{v}", "{p}有空時做的不是{v}")),
        "colour": (("{p}最喜歡的顏色是{v}", "{p}最喜歡的顏色不是{v}"), ("{p}最愛的顏色是{v}", "{p}最愛的顏色不是{v}"), ("{p}選的顏色是{v}", "{p}選的顏色不是{v}")),
    },
}  # fmt: skip

JOINED = {
    "and": {"en": "it is the case both that {x} and that {y}", "zh": "{x}，而且{y}"},
    "or": {"en": "it is the case either that {x} or that {y}", "zh": "{x}，或者{y}"},
}
ENDED = {"en": "{s}.", "zh": "{s}。"}

# The wordings of training, then those of tests.
ASKED = {
    "en": (("True or false? {s}", "Is this true or false: {s}"), ("Judge this statement, true or false. {s}",)),
    "zh": (("正確還是錯誤？{s}", "這句話正確還是錯誤：{s}"), ("請判斷下面這句話正確或錯誤。{s}",)),
}
VERDICTS = {"en": ("This is false.", "This is true."), "zh": ("這句話是錯誤的。", "這句話是正確的。")}
ACCEPTED = {
    "en": (("false", "untrue", "not true", "incorrect", "wrong"), ("true", "correct")),
    "zh": (("錯誤", "錯的", "不正確", "假的"), ("正確", "對的", "真的")),
}
