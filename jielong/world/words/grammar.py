# ruff: noqa: E501 -- tables: a row of data may be long
"""The grammars and lexicons of the two languages.

A rule is "weight | items". An item is SYMBOL.feature:relation; the head has a star and no relation. The
feature n or m stands for singular (s) and plural (p), each half of the time, alike within a rule. What
has no rule is a word: of the scene's lexicon, or one of WORDS. No symbol comes back to itself, so there
are finitely many sentences.
"""

RULES = {
    "en": {
        "S": ("3 | NP.n:nsubj *VS.n STOP:punct", "3 | NX.n:nsubj *VS.n STOP:punct", "4 | NP.n:nsubj *VX.n STOP:punct",
              "1 | ADV:advmod COMMA:punct NP.n:nsubj *VS.n STOP:punct", "1 | M:nsubj *SAY.s CL:ccomp STOP:punct",
              "1 | WH:obj DO.n:aux NQ.n:nsubj *T.p ASK:punct"),
        "CL": ("1 | THAT:mark NP.n:nsubj *VS.n",),
        "WH": ("1 | WHICH:det *O.n",),
        "NP.n": ("3 | D.n:det *N.n", "1 | D.n:det A:amod *N.n"),
        "NX.n": ("2 | D.n:det *N.n PP:nmod", "1 | D.n:det *N.n RS.n:acl:relcl", "1 | D.n:det *N.n RO:acl:relcl"),
        "NQ.n": ("3 | D.n:det *N.n", "1 | D.n:det *N.n RO:acl:relcl"),
        "PP": ("1 | P:case THE:det *L.n",),
        "RS.n": ("1 | WHO:nsubj *T.n NO:obj",),
        "RO": ("1 | WHO:obj NN.n:nsubj *T.n",),
        "NN.n": ("1 | THE:det *N.n",),
        "NO": ("1 | THE:det *O.n",),
        "OB": ("3 | THE:det *O.n", "1 | THE:det *O.n PP:nmod"),
        "VS.n": ("3 | *I.n", "2 | BE.n:cop *A"),
        "VX.n": ("3 | *T.n OB:obj", "1 | *T.n NO:obj PP:obl", "1 | *I.n PP:obl"),
    },
    "zh": {
        "S": ("3 | NX:nsubj *VS STOP:punct", "4 | NP:nsubj *VO STOP:punct", "2 | NO:nsubj VERY:advmod *Q STOP:punct",
              "1 | M:nsubj *SAY CL:ccomp STOP:punct", "1 | NP:nsubj BA:obl:patient *T LE:aux STOP:punct",
              "1 | NO:nsubj:pass BEI:obl:agent *T LE:aux STOP:punct", "1 | NP:nsubj *T LE:aux WHAT:obj ASK:punct"),
        "CL": ("1 | NP:nsubj *VS",),
        "DC": ("1 | *D C:clf",),
        "NP": ("3 | DC:det *N", "1 | *M"),
        "NX": ("2 | DC:det *N", "1 | *M", "1 | DC:det RS:acl:relcl *N"),
        "NO": ("2 | DC:det *O", "1 | DC:det RO:acl:relcl *O"),
        "RS": ("1 | *T O:obj DE:mark",),
        "RO": ("1 | N:nsubj *T DE:mark",),
        "OB": ("2 | DC:det *O", "1 | *O", "1 | DC:det RO:acl:relcl *O"),
        "LOC": ("1 | AT:case *L",),
        "BA": ("1 | BAP:case DC:det *O",),
        "BEI": ("1 | BEIP:case DC:det *N",),
        "VS": ("2 | NOW:advmod *I", "2 | VERY:advmod *A", "1 | LOC:obl *I"),
        "VO": ("3 | *T LE:aux OB:obj", "1 | NOT:advmod *T OB:obj", "1 | LOC:obl *T LE:aux OB:obj"),
    },
}  # fmt: skip

# What part of speech a word of each symbol is.
UPOS = {
    "D": "DET", "THE": "DET", "WHICH": "DET", "A": "ADJ", "Q": "ADJ", "N": "NOUN", "O": "NOUN", "L": "NOUN",
    "C": "NOUN", "M": "PROPN", "I": "VERB", "T": "VERB", "SAY": "VERB", "BE": "AUX", "DO": "AUX", "LE": "AUX",
    "P": "ADP", "AT": "ADP", "BAP": "ADP", "BEIP": "ADP", "ADV": "ADV", "VERY": "ADV", "NOW": "ADV", "NOT": "ADV",
    "THAT": "SCONJ", "DE": "PART", "WHO": "PRON", "WHAT": "PRON", "STOP": "PUNCT", "COMMA": "PUNCT", "ASK": "PUNCT",
}  # fmt: skip

# Words of no scene. "sees/see" is singular and plural of one word.
WORDS = {
    "en": {
        "D": "the/the this/these", "THE": "the/the", "WHICH": "which/which", "P": "near behind", "BE": "is/are", "DO": "does/do",
        "SAY": "thinks/think says/say", "ADV": "today sometimes", "THAT": "that", "WHO": "that", "STOP": ".", "COMMA": ",", "ASK": "?",
    },
    "zh": {
        "D": "這 那", "VERY": "很", "NOW": "正在", "NOT": "沒", "LE": "了", "DE": "的", "AT": "在", "BAP": "把", "BEIP": "被",
        "WHAT": "什麼", "SAY": "認為 說", "STOP": "。", "ASK": "？",
    },
}  # fmt: skip

# The lexicon of each scene. After % stands the sense of a word that has another elsewhere; English nouns and
# verbs are singular/plural, Chinese nouns noun/classifier. The first word of a list is as frequent as any:
# frequencies are dealt out by the world's seed.
SCENES = {
    "en": {
        "farm": "N: farmer/farmers hen/hens mouse/mice%animal | O: pear/pears egg/eggs pen/pens%enclosure | L: barn/barns field/fields | I: sleeps/sleep rests/rest | T: watches/watch finds/find loves/love | A: hungry brown tired | M: Anna Ben",
        "office": "N: clerk/clerks manager/managers guest/guests | O: mouse/mice%device seal/seals%stamp pen/pens%writing | L: desk/desks printer/printers | I: waits/wait types/type | T: needs/need pushes/push hates/hate | A: busy broken new | M: Clara Dan",
        "cave": "N: bat/bats%animal bear/bears hunter/hunters | O: rock/rocks torch/torches bone/bones | L: cave/caves tunnel/tunnels | I: hides/hide wakes/wake | T: hears/hear fears/fear follows/follow | A: dark wild quiet | M: Emil Fay",
        "stadium": "N: pitcher/pitchers%player coach/coaches boy/boys | O: bat/bats%club ball/balls glove/gloves | L: fence/fences bench/benches | I: runs/run shouts/shout | T: throws/throw catches/catch misses/miss | A: fast young lucky | M: Gus Hana",
        "lake": "N: crane/cranes%bird seal/seals%animal fisherman/fishermen | O: shell/shells worm/worms boat/boats | L: bank/banks%riverside island/islands | I: swims/swim dives/dive | T: smells/smell chases/chase spots/spot | A: wet gray calm | M: Ivo June",
        "town": "N: banker/bankers thief/thieves mayor/mayors | O: bank/banks%money coin/coins safe/safes | L: bridge/bridges market/markets | I: argues/argue walks/walk | T: robs/rob guards/guard visits/visit | A: rich honest famous | M: Kurt Lea",
        "site": "N: builder/builders engineer/engineers driver/drivers | O: crane/cranes%machine brick/bricks pipe/pipes | L: tower/towers ditch/ditches | I: climbs/climb digs/dig | T: sees/see lifts/lift moves/move | A: strong dusty tall | M: Milo Nell",
        "kitchen": "N: cook/cooks baker/bakers waiter/waiters | O: pitcher/pitchers%jug plate/plates cake/cakes | L: oven/ovens sink/sinks | I: sings/sing hums/hum | T: washes/wash likes/like wants/want | A: clean kind warm | M: Oskar Petra",
    },
    "zh": {
        "果園": "N: 農夫/位 猴子/隻 工人/位 | O: 蘋果/顆%水果 梨子/顆 籃子/個 | L: 樹下 棚子裡 | I: 休息 睡覺 | T: 摘 洗 拿 | A: 累 口渴 小心 | Q: 紅 重 香 | M: 小明 阿美",
        "商場": "N: 老闆/位 記者/位 店員/位 | O: 手機/支 電腦/台 耳機/副 | L: 門市裡 會場裡 | I: 賺錢 開會 | T: 賣 檢查 修改 | A: 有名 成功 忙 | Q: 貴 新 薄 | M: 蘋果%公司 小米%公司",
        "農場": "N: 黃牛/頭%牛 農婦/位 山羊/隻 | O: 小米/袋%穀物 稻草/捆 南瓜/顆 | L: 田裡 穀倉裡 | I: 發呆 散步 | T: 踩 搬 吃 | A: 餓 強壯 老 | Q: 大 便宜 乾 | M: 阿土 阿珠",
        "演唱會": "N: 歌手/位 黃牛/位%票販 歌迷/位 | O: 門票/張 海報/張 唱片/張 | L: 門口 台上 | I: 唱歌 尖叫 | T: 買 搶 撕 | A: 興奮 得意 大聲 | Q: 舊 稀有 漂亮 | M: 小安 小琪",
        "山林": "N: 杜鵑/隻%鳥 獵人/位 松鼠/隻 | O: 蟲子/隻 種子/顆 果子/顆 | L: 林子裡 山上 | I: 鳴叫 跳 | T: 啄 藏 叼 | A: 安靜 靈活 機警 | Q: 小 硬 甜 | M: 阿山 阿月",
        "花園": "N: 園丁/位 女孩/位 蝴蝶/隻 | O: 杜鵑/株%花 玫瑰/朵 水管/條 | L: 園子裡 牆邊 | I: 打掃 微笑 | T: 種 剪 拍 | A: 溫柔 細心 勤勞 | Q: 長 高 鮮豔 | M: 小蘭 阿福",
        "球場": "N: 球員/位 教練/位 學生/位 | O: 籃球/顆 網球/顆 排球/顆 | L: 場上 場邊 | I: 跑步 流汗 | T: 打%玩球 丟 撿 | A: 緊張 認真 快 | Q: 圓 髒 輕 | M: 大偉 小君",
        "客廳": "N: 奶奶/位 姊姊/位 鄰居/位 | O: 毛衣/件 圍巾/條 帽子/頂 | L: 窗邊 沙發上 | I: 聊天 喝茶 | T: 打%編織 縫 脫 | A: 開心 親切 疲倦 | Q: 暖 厚 軟 | M: 阿嬌 小威",
    },
}  # fmt: skip

# {word: {sense: how to say it}}
SENSES = {
    "en": {
        "mouse": {"animal": "the animal", "device": "the computer device"},
        "pen": {"enclosure": "the fence for animals", "writing": "the thing to write with"},
        "seal": {"animal": "the sea animal", "stamp": "the stamp"},
        "bat": {"animal": "the flying animal", "club": "the wooden club"},
        "pitcher": {"player": "the player", "jug": "the jug"},
        "crane": {"bird": "the bird", "machine": "the lifting machine"},
        "bank": {"riverside": "the side of the water", "money": "the house of money"},
    },
    "zh": {
        "蘋果": {"水果": "水果", "公司": "公司"},
        "小米": {"公司": "公司", "穀物": "穀物"},
        "黃牛": {"牛": "一種牛", "票販": "賣票的人"},
        "杜鵑": {"鳥": "鳥", "花": "花"},
        "打": {"玩球": "玩球", "編織": "編織"},
    },
}

POS_NAMES = {
    "en": {"NOUN": "noun", "VERB": "verb", "ADJ": "adjective", "DET": "determiner", "ADP": "preposition", "PROPN": "name",
           "AUX": "auxiliary", "ADV": "adverb", "PRON": "pronoun", "SCONJ": "conjunction"},
    "zh": {"NOUN": "名詞", "VERB": "動詞", "ADJ": "形容詞", "DET": "限定詞", "ADP": "介系詞", "PROPN": "專有名詞", "AUX": "助詞",
           "ADV": "副詞", "PRON": "代名詞", "PART": "結構助詞"},
}  # fmt: skip

# The wordings of training, then those of tests.
ASKED = {
    ("right", "en"): (("Which sentence is good English? A: {a} B: {b}", "A: {a} B: {b} Which one is correct?"), ("One of these is wrong, the other right. A: {a} B: {b} Which is right?",)),
    ("right", "zh"): (("哪一句是通順的中文？A：{a} B：{b}", "A：{a} B：{b} 哪一句才對？"), ("下面一句對、一句不對。A：{a} B：{b} 對的是哪一句？",)),
    ("pos", "en"): (('What part of speech is "{w}" in: {s}', 'In the sentence "{s}", which part of speech is "{w}"?'), ('Name the word class of "{w}" here: {s}',)),
    ("pos", "zh"): (("「{w}」在這句話裡是什麼詞性：{s}", "「{s}」這句話裡，「{w}」是什麼詞性？"), ("請說出「{w}」的詞性：{s}",)),
    ("subject", "en"): (('Which noun is the subject of "{w}" in: {s}', 'In the sentence "{s}", which noun does "{w}" belong to as its subject?'), ('Find the subject noun of "{w}": {s}',)),
    ("subject", "zh"): (("在這句話裡，「{w}」的主詞是哪個詞：{s}", "「{s}」這句話裡，「{w}」的主詞是什麼？"), ("請找出「{w}」的主詞：{s}",)),
    ("sense", "en"): (('What does "{w}" mean here, {x} or {y}? {s}', 'In the sentence "{s}", is "{w}" {x} or {y}?'), ('{s} Here "{w}" is one of two things: {x} or {y}. Which?',)),
    ("sense", "zh"): (("「{w}」在這裡是{x}還是{y}的意思？{s}", "「{s}」這句話裡的「{w}」是指{x}還是{y}？"), ("{s}這裡的「{w}」有兩種可能：{x}或{y}。是哪一種？",)),
}  # fmt: skip
