# ruff: noqa: E501 -- tables: a row of data may be long
"""Outcomes and wordings of the stochastic facts."""

# Each family: its outcomes (English, Chinese).
OUTCOMES = {
    "weather": (("rain", "下雨"), ("sun", "放晴"), ("fog", "起霧"), ("snow", "下雪"), ("wind", "颳風")),
    "inn": (("tea", "喝茶"), ("coffee", "喝咖啡"), ("milk", "喝牛奶"), ("juice", "喝果汁"), ("water", "喝水")),
    "die": (("one", "一點"), ("two", "兩點"), ("three", "三點"), ("four", "四點"), ("five", "五點"), ("six", "六點")),
}

# Chances in twentieths, from certain to even; an outcome beyond the list never happens.
SHAPES = (
    (20,), (19, 1), (17, 2, 1), (15, 5), (14, 3, 2, 1), (12, 8), (11, 6, 2, 1), (10, 10), (9, 6, 5),
    (8, 6, 4, 2), (7, 5, 4, 3, 1), (6, 5, 4, 3, 2), (5, 5, 5, 5), (4, 4, 4, 4, 4),
)  # fmt: skip

# {x} is the condition, {y} the outcome; the wordings of training, then those of tests.
SAID = {
    ("weather", "en"): (("The weather in {x}: {y}.", "In {x} the sky brings {y}.", "Weather report for {x}: {y}."),
                        ("What {x} got: {y}.",)),
    ("weather", "zh"): (("{x}的天氣：{y}。", "{x}會{y}。", "天氣預報，{x}：{y}。"), ("{x}的天空：{y}。",)),
    ("inn", "en"): (("At the inn the {x} has {y}.", "The {x} at the inn ordered {y}.", "Inn, table of the {x}: {y}."),
                    ("What the {x} drank at the inn: {y}.",)),
    ("inn", "zh"): (("{x}在客棧裡{y}。", "客棧裡的{x}選了{y}。", "客棧，{x}那一桌：{y}。"), ("{x}來客棧是為了{y}。",)),
    ("die", "en"): (("The {x} die shows {y}.", "A throw of the {x} die: {y}.", "Someone rolled the {x} die and got {y}."),
                    ("On the table the {x} die came up {y}.",)),
    ("die", "zh"): (("{x}的骰子擲出{y}。", "擲一次{x}的骰子：{y}。", "有人丟{x}的骰子，得到{y}。"), ("桌上{x}的骰子是{y}。",)),
}  # fmt: skip

# What is asked: which outcome is likeliest, and how likely one outcome is.
LIKELIEST = {
    ("weather", "en"): (("What is the weather in {x} most often?", "Which weather is likeliest in {x}?"),
                        ("Name the most usual weather in {x}.",)),
    ("weather", "zh"): (("{x}最常是什麼天氣？", "{x}最可能是什麼天氣？"), ("請說出{x}最常見的天氣。",)),
    ("inn", "en"): (("What does the {x} have at the inn most often?", "Which drink is likeliest for the {x} at the inn?"),
                    ("Name the usual drink of the {x} at the inn.",)),
    ("inn", "zh"): (("{x}在客棧最常做什麼？", "客棧裡的{x}最可能喝什麼？"), ("請說出{x}在客棧最常喝的東西。",)),
    ("die", "en"): (("What does the {x} die show most often?", "Which number is likeliest on the {x} die?"),
                    ("Name the most frequent number of the {x} die.",)),
    ("die", "zh"): (("{x}的骰子最常擲出幾點？", "{x}的骰子最可能是幾點？"), ("請說出{x}的骰子最常出現的點數。",)),
}  # fmt: skip
HOW_LIKELY = {
    ("weather", "en"): (("How likely is {y} in {x}, in percent?", "In {x}, what is the chance of {y}?"),
                        ("Give the probability of {y} in {x}.",)),
    ("weather", "zh"): (("{x}有多少機率{y}？", "{x}{y}的機會是百分之幾？"), ("請說出{x}{y}的機率。",)),
    ("inn", "en"): (("How likely is it that the {x} has {y} at the inn, in percent?",
                     "At the inn, what is the chance that the {x} orders {y}?"),
                    ("Give the probability that the {x} drinks {y} at the inn.",)),
    ("inn", "zh"): (("{x}在客棧{y}的機率是多少？", "客棧裡的{x}有百分之幾的機會{y}？"), ("請說出{x}在客棧{y}的機率。",)),
    ("die", "en"): (("How likely is the {x} die to show {y}, in percent?", "What is the chance of {y} on the {x} die?"),
                    ("Give the probability of {y} for the {x} die.",)),
    ("die", "zh"): (("{x}的骰子擲出{y}的機率是多少？", "{x}的骰子有百分之幾的機會是{y}？"), ("請說出{x}的骰子出現{y}的機率。",)),
}  # fmt: skip
LIKELIEST_REPLY = {"en": "Most often: {y}.", "zh": "最常是{y}。"}
HOW_LIKELY_REPLY = {"en": "The chance of {y} is {p} percent.", "zh": "{y}的機率是百分之{p}。"}
