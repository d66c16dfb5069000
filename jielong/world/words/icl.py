# ruff: noqa: E501 -- tables: a row of data may be long
"""Words of the in-context tasks: categories, feelings, labels without meaning, words to transform."""

_CATEGORIES = """\
animal: hen/母雞 cow/牛 fox/狐狸 goat/山羊 owl/貓頭鷹 frog/青蛙 duck/鴨子 horse/馬 sheep/綿羊 bear/熊 wolf/狼 crab/螃蟹
tool: hammer/鐵鎚 saw/鋸子 drill/電鑽 shovel/鏟子 wrench/扳手 axe/斧頭 chisel/鑿子 pliers/鉗子 ladder/梯子 rake/耙子 file/銼刀 nail/釘子
fruit: pear/梨子 plum/李子 mango/芒果 peach/桃子 lemon/檸檬 grape/葡萄 banana/香蕉 melon/甜瓜 cherry/櫻桃 guava/芭樂 papaya/木瓜 lychee/荔枝
clothes: coat/外套 shirt/襯衫 skirt/裙子 scarf/圍巾 glove/手套 sock/襪子 boot/靴子 belt/皮帶 hat/帽子 vest/背心 dress/洋裝 apron/圍裙
vehicle: bus/公車 train/火車 ship/輪船 truck/卡車 tram/電車 ferry/渡輪 bicycle/腳踏車 taxi/計程車 rocket/火箭 canoe/獨木舟 van/廂型車 scooter/機車
music: drum/鼓 flute/笛子 violin/小提琴 piano/鋼琴 harp/豎琴 trumpet/小號 guitar/吉他 bell/鈴鐺 cello/大提琴 horn/號角 zither/古箏 gong/銅鑼
food: bread/麵包 soup/湯 rice/米飯 noodle/麵條 cheese/乳酪 egg/雞蛋 tofu/豆腐 porridge/粥 dumpling/餃子 sausage/香腸 pancake/煎餅 salad/沙拉
body: hand/手 foot/腳 knee/膝蓋 elbow/手肘 nose/鼻子 ear/耳朵 chin/下巴 neck/脖子 thumb/拇指 ankle/腳踝 shoulder/肩膀 tooth/牙齒
sky: sun/太陽 moon/月亮 star/星星 cloud/雲 comet/彗星 rainbow/彩虹 planet/行星 thunder/雷 lightning/閃電 snow/雪 rain/雨 fog/霧
house: door/門 window/窗戶 roof/屋頂 wall/牆 stairs/樓梯 kitchen/廚房 garden/花園 balcony/陽台 cellar/地窖 attic/閣樓 chimney/煙囪 fence/籬笆"""

# {category: ((English, Chinese), ...)}
CATEGORIES: dict[str, tuple[tuple[str, ...], ...]] = {
    line.split(": ")[0]: tuple(tuple(pair.split("/")) for pair in line.split(": ")[1].split())
    for line in _CATEGORIES.split("\n")
}

LABELS = {
    "train": {"en": tuple("blick dax wug fep toma zib kiv moop".split()), "zh": tuple("甲 乙 丙 丁 戊 己 庚 辛".split())},
    "test": {"en": tuple("lorp snee vask gorp".split()), "zh": tuple("子 丑 寅 卯".split())},
}

# (natural label of the good, natural label of the bad)
FEELINGS = {"en": ("positive", "negative"), "zh": ("正面", "負面")}
GOOD = {
    "en": ("a lovely meal", "a warm welcome", "a bright room", "a kind host", "a fresh loaf", "a clever plan",
           "a charming song", "a tidy desk", "a gentle nurse", "a sweet peach", "a brave rescue", "a happy ending"),
    "zh": ("可口的餐點", "溫暖的歡迎", "明亮的房間", "親切的主人", "新鮮的麵包", "聰明的計畫",
           "動人的歌聲", "整齊的書桌", "溫柔的護士", "香甜的桃子", "勇敢的救援", "圓滿的結局"),
}  # fmt: skip
BAD = {
    "en": ("a rotten egg", "a rude reply", "a dirty floor", "a cruel joke", "a stale cake", "a foolish mistake",
           "a boring speech", "a broken chair", "a careless driver", "a bitter soup", "a mean trick", "a sad loss"),
    "zh": ("發臭的雞蛋", "無禮的回答", "骯髒的地板", "殘忍的玩笑", "走味的蛋糕", "愚蠢的錯誤",
           "無聊的演講", "損壞的椅子", "粗心的司機", "苦澀的湯", "卑鄙的把戲", "難過的損失"),
}  # fmt: skip

# Words to be transformed: no word has two equal letters next to each other or equal first and last letters.
STRINGS = {
    "en": tuple("lamp stone river cloth paper candle basket mirror silver branch copper garden market "
                "pocket planet winter bridge castle forest island".split()),
    "zh": tuple("電風扇 圖書館 腳踏車 向日葵 長頸鹿 望遠鏡 冰淇淋 博物館 計算機 紅綠燈 洗衣機 貓頭鷹 "
                "蒲公英 螢火蟲 牽牛花 水蜜桃 鳳梨酥 輪廓線 降落傘 摩天輪".split()),
}  # fmt: skip
SYMBOLS = {
    "en": tuple("ka mu ri so te lo ni ba gu fi".split()),
    "zh": tuple("山 水 木 火 土 金 雲 風 石 田".split()),
}
