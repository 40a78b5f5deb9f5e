"""Letters of medical reports in the order of their frequency, to tell encodings apart.

The most frequent characters of Chinese by the word list of jieba (MIT licence), after those of
radiology reports; the traditional ones by the table of OpenCC (Apache licence 2.0).
"""

from __future__ import annotations

SIMPLIFIED = (
    "左右侧额颞顶枕叶见占位性病变大小约毫米厘异常信号强化环形水肿周围明显脑实质内胶瘤中线结构受压"
    "移轻度重低高混杂密出血坏死囊钙边界清楚欠晰不规则团块节灶状影片多发散在双基底丘干室扩张积沟裂"
    "增宽窄池颅骨板完整未及局部软组织胀考虑恶可能建议合临床随访复查对比前术后改残腔余物体瘢痕检所"
    "诊断报告描述意印象提示平扫加权弥减像学表现磁共振男女岁年月日姓名患者人住院区医师审核科神经外"
    "放射免疫细胞分级期型管生上皮转淋巴垂脊髓椎垫隔白灰海马胼胝桥延眼眶鼻窦乳突黏膜炎缺失退萎缩梗"
    "塞栓狭动脉静瘘畸液气正请无有呈等长短较均匀略斑点条带圆类卵伴或并与以为向凸迫推据第三四近远纵"
    "态尚充盈于其各另次下最径一是了国和这他个地来我会到时要的说道民家子也成行们就自之得主过天作方"
    "用你着市业全里工公本都而政法面门进事代那去心同北定开产军还然起种如理机力好文当两新么只山关从"
    "又制南西没此将员手东头间安看城十相但已些口通想她战由场武使二治因立数样身情入原问把路被利石老"
    "教万知量任江应省资委务元美特世湖回系汉总展电金先声品设义王社很统处首己儿司太目领队直计别话少"
    "流命至给打果书活几州华解更称程今决导府才保交便走达族反再题色五京河接式县它风光运什听布百济党"
    "指论做取技黄选记斯真却职件花何兵传空农集联古广阳难历史专官每商即步认车台林必游举言皇土收求德"
    "叫备研争非具李众连调感笑革该持始英克士尔让拉思根格造际亲单朝红价校器字段亚深候功属快图火千准"
    "究往极育装许参半令吃观鱼精办帝八群包料划算容投势热值夫网望源息语股铁派速怎需爱律纪支早况境证"
    "编越满且列觉服居除乐企引标确初青志率项飞球察龙响药站施消客存甚般击曾防离落罗营足素视护副食创"
    "照兴虽洲村费易试星木黑宝置跟央识维采六宫房音案批切斗富乡倒若按故责严模仅胜杀席破承招杨负层须"
    "父供续域似依银范修找九致终旅钱赛独效玉冲获习演毛尽脸弹楼艺航陆协七攻镇写苏宗章注阿抗弟坐验封"
    "紧劳户优财养适陈喜卫排哥油刻留急降念云微伤例景拿绝阶座刘刚害亿沙母酒助闻超待升送监策限竟香配"
    "藏敌呢差仍兰温园树征善波哪词岛止预怕继执味份角草普答益谁船惊街夏宣掌田久著画辑奇尼剑吧谈背孩"
    "礼材愿洋春架筑括晚乱乎讲良友激刀夜既敢邦挥昌胡欧福港简苦担句荆贵娘守辖威宜衣帮堂错剧欢够孙班"
    "呼阵销坚练脚读测吴希宁换版某顾曲典朱毒菜判救宋茶洪含顺啊鲜败货矿端兄归冷忙买险康评肉吗厂永哈"
    "沉遗停笔假输牛洞松渐训录否毕督控丰献姑忽爷互亮纳襄登咱钟伯臣雄季介鄂召饭暗祖齐烈赶牌恩诉诗础"
    "露届蒙喝盘卖植授伊湾博痛穿逐秘庭陵固禁票灵泽吸庆妈遇追甲馆补唐炮沿殿刺怪彩俄旧警索岸轮妇载靠"
    "附怀探雷旁罪枪牙迎序慢盛雨墙谷顿危稳熟概酸操诸绿佛荣针托折野付午肯库厚罢耳屋嘴末谢巨培页瓦款"
    "犯困店智拥雪翻圣戏旗吉婚奖岩疑币歌廷健卡烧析讨跑烟误仙疗舞亡闭汽伸脱秋姐繁侵川莫麻秀借寻私岗"
    "卷跳丽横驻套兼您君丁束纸夺袁灯坦丝购阴瞧择墓宪峰遍鲁庙掉丹桃御舰避售怒课播拔奥虚隐粮络遭摇潜"
    "庄厅婆奴鼓赵睡震予童徐韦殖抓拜吨扬址洛休逃染纷贸透汇灭蛋森仪塔距狐融郡缓聚盖拍迹忠释润粉涓孔"
    "岭搜紫促抵钢寺津码虎坛珍硬梁奔累役偏锛凡损壁哭替税综伦冰盟挂韩竞乌尤弱铺妹秦尊竹珠迅泥鬼纯睛"
    "刑途隆潮幅杯握谋剂幸奉乘抱朋谓频崇壮骑紝恐享鸡虫绍铜泛械摆欲奶敬措爆暴签猛郭嘉障亦废搞埃曰撤"
    "暖寒订俗绩阻盐萨勒忘奏孝贴梅触玩默醒胸莲篇柱裁啦淡抢捕闹纺截讯朗誉雅忍梦伙勇峡徒丈尾迷唱泉泰"
    "佳闪伍呀疾署剩贼冠倾豆申贫诺麦泪羊尖辈镜涉贡爹缘摩妻殊贝零映甘骂糖岳饮奋棉雕跃汗冒渡努赞启阁"
    "斤伏鹿洗劲晋倍圈媒箭锋胆凭挑抬闯弄曹汤苗迁叹唯储贯彻桌祭符僧衡炸旋喊凤黎郎援肥忌赏辽祥董仁辛"
    "瑞询敏浪貌毁昨巧腿抽荷陷焦净腹弃乃湘亩滑狗冬宏皆番尸伟桂"
)
"""Chinese of the mainland, the most frequent first."""
_TRADITIONAL = (
    "侧側额額颞顳顶頂叶葉见見占佔变變约約厘釐异異号號强強环環肿腫围圍显顯脑腦实實质質内內胶膠线線"
    "结結构構压壓轻輕杂雜坏壞钙鈣边邊规規则則团團块塊节節灶竈状狀发發双雙干幹扩擴张張积積沟溝宽寬"
    "颅顱软軟组組织織胀脹虑慮恶惡议議临臨床牀随隨访訪复復对對术術后後残殘余餘体體检檢诊診断斷报報"
    "扫掃权權弥彌减減学學现現岁歲区區医醫师師审審经經细細级級转轉垫墊马馬桥橋窦竇缩縮狭狹动動脉脈"
    "静靜瘘瘻气氣请請无無长長较較匀勻点點条條带帶圆圓类類并並与與为爲据據远遠纵縱态態于於径徑国國"
    "这這个個来來会會时時说說们們过過业業里裡门門进進开開产產军軍还還种種机機当當两兩么麼关關从從"
    "没沒将將员員东東头頭间間战戰场場数數样樣问問万萬应應资資务務汉漢总總电電声聲设設义義统統处處"
    "儿兒领領队隊计計别別话話给給书書几幾华華称稱决決导導达達题題县縣风風运運听聽济濟党黨论論黄黃"
    "选選记記却卻职職传傳农農联聯广廣阳陽难難历歷专專认認车車台臺游遊举舉备備争爭众衆连連调調该該"
    "尔爾让讓际際亲親单單红紅价價亚亞属屬图圖准準极極装裝许許参參吃喫观觀鱼魚办辦群羣划劃势勢热熱"
    "网網语語铁鐵爱愛纪紀况況证證编編满滿觉覺乐樂标標确確项項飞飛龙龍响響药藥击擊离離罗羅营營视視"
    "护護创創兴興虽雖费費试試宝寶识識维維采採宫宮斗鬥乡鄉责責严嚴仅僅胜勝杀殺杨楊负負层層须須续續"
    "银銀范範终終钱錢赛賽独獨冲衝获獲习習尽盡脸臉弹彈楼樓艺藝陆陸协協镇鎮写寫苏蘇验驗紧緊劳勞户戶"
    "优優财財养養适適陈陳卫衛云雲伤傷绝絕阶階刘劉刚剛亿億闻聞监監敌敵兰蘭温溫园園树樹征徵词詞岛島"
    "预預继繼执執谁誰惊驚画畫辑輯剑劍谈談礼禮愿願筑築乱亂讲講挥揮欧歐简簡担擔荆荊贵貴辖轄帮幫错錯"
    "剧劇欢歡够夠孙孫阵陣销銷坚堅练練脚腳读讀测測吴吳宁寧换換顾顧顺順鲜鮮败敗货貨矿礦归歸买買险險"
    "评評吗嗎厂廠遗遺笔筆输輸渐漸训訓录錄毕畢丰豐献獻爷爺纳納钟鍾饭飯齐齊赶趕诉訴诗詩础礎届屆盘盤"
    "卖賣湾灣秘祕灵靈泽澤庆慶妈媽馆館补補旧舊轮輪妇婦载載怀懷枪槍墙牆顿頓稳穩诸諸绿綠荣榮针針托託"
    "库庫罢罷谢謝页頁拥擁圣聖戏戲奖獎岩巖币幣烧燒讨討烟煙误誤疗療闭閉脱脫寻尋岗崗丽麗横橫驻駐纸紙"
    "夺奪灯燈丝絲购購阴陰择擇宪憲峰峯鲁魯庙廟舰艦课課奥奧虚虛隐隱粮糧络絡摇搖潜潛庄莊厅廳赵趙韦韋"
    "吨噸扬揚纷紛贸貿汇匯灭滅仪儀缓緩盖蓋迹跡释釋润潤岭嶺钢鋼码碼坛壇锛錛损損税稅综綜伦倫挂掛韩韓"
    "竞競乌烏铺鋪纯純谋謀剂劑谓謂频頻壮壯骑騎鸡雞虫蟲绍紹铜銅摆擺签籤废廢订訂绩績盐鹽萨薩贴貼触觸"
    "莲蓮抢搶闹鬧纺紡讯訊誉譽梦夢伙夥峡峽闪閃贼賊倾傾贫貧诺諾麦麥泪淚辈輩镜鏡贡貢缘緣贝貝骂罵岳嶽"
    "饮飲奋奮跃躍赞贊启啓阁閣劲勁晋晉锋鋒胆膽凭憑闯闖汤湯迁遷叹嘆储儲贯貫彻徹凤鳳赏賞辽遼询詢毁毀"
    "净淨弃棄亩畝尸屍伟偉"
)
"""A simplified character and the traditional one, in turn."""
_TO_TRADITIONAL = dict(zip(_TRADITIONAL[::2], _TRADITIONAL[1::2], strict=True))
TRADITIONAL = "".join(dict.fromkeys(_TO_TRADITIONAL.get(c, c) for c in SIMPLIFIED))
"""Chinese of Taiwan and Hong Kong."""
JAPANESE = (
    "のにをはがとでたしてるれらなさすもいりくあかっきよこそうまだちつみめろわえどけせねばほむやお"
    "げごじべびぶゃゅょンイルアトスリラクシドータプレロマカッフメテコサムミニナノハバパピブヘベペ"
    "ポボモヤユヨワヴォェィァゥャュョ左右側頭葉前後頂脳腫瘍瘤認浮増強影効果信号域変化検査画像所見"
    "診断広範囲圧排室拡大偏位出血壊死嚢胞石灰縁不整内部均一散領濃染造対応考疑示呈来予経過観察推奨"
    "術残存再発可能性悪膿梗塞両高低等径程度明瞭周中心軽重多小神膠芽細転移炎症骨肺肝腎患者報告書印"
    "象結論追跡比較的著正常異年月日歳男女氏名"
)
"""Kana, then Kanji."""
KOREAN = (
    "이다는의가을를에은로지고한하기어시사리자도인대아서나부일정그라있으해수장주만들과전상여것적제"
    "보스안성원되게소식선조면구모연오유음공계국동미비마까거와경우중간년월좌측두엽후뇌병변종양괴영"
    "증강견신호출혈낭석회화불규칙명확없관찰됨임심추천권크최약밀터센티편위압박효악급진단결론판독검"
    "환술잔존재발능감별필요교습니저등실백질피핵척골절염색맥격폐담췌방광근육직"
)
"""Syllables."""
CYRILLIC = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфёъіїєґјљњћђџўќѓѕ"
"""Russian letters, then those of other Slavic languages."""
GREEK = "αοιετσνηυρπκμλςίόάγέδήωχθύφβώξζψϊϋΐΰ"
HEBREW = "יוהלארתבמשנםדעכחקפןטגסזצץךף"
ARABIC = "اليمنرتوبةدعسفهكقحجشطصأخضئءزغثىإذظآؤپچژگکیہےںٹڈڑھ"
"""Arabic letters, then those of Persian and Urdu."""
THAI = "านรอกเงิม่ย้ลัวดทสีตะปบคุหแจพ์ชขใูำ็ไโืผซธณศึษถภฟฐญฉฮฝฆฬๆ๊๋ฎฏฤฌฯ"

Languages = dict[str, tuple[str, str]]
"""Of each language the letters that are not ASCII, and words that are; `lesion-` begins words."""
SCRIPTS: dict[str, Languages] = {
    "CYRILLIC": {
        "Russian": (
            "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
            "и в на с слева справа левой правой левого правого не без мм до по для та из у от "
            "доля доли лобн- височн- теменн- затылочн- образован- менинг- глио- опухол- "
            "отёк- отек- "
            "кровоизл- признак- структур- смещ- размер- участ- очаг- объёмн- мозг- ляво "
            "дясно се са "
            "за формаци- оток- данни",
        ),
        "Ukrainian": (
            "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
            "і в у на з зліва справа лівої правої ліва права не без мм до по для та із "
            "від не лобн- "
            "утворен- набряк- крововил- ознак- структур- зміщ- розмір- пухлин- менінг- гліо-",
        ),
        "Serbian": (
            "абвгдђежзијклљмнњопрстћуфхцчџшѓѕќ",
            "се без на са и лево десно лијево промен- крварењ- уочав- формациј- тумор- мозг- едем- "
            "леве десне левој десној видљив- уредн-",
        ),
    },
    "GREEK": {
        "Greek": (
            GREEK,
            "και με το του της των στη στο δεν απο αριστερ- δεξι- χωρις για που ειναι οι την "
            "μετωπ- βρεγματ- κροταφ- ινιακ- οιδημα εξεργασ- αλλοιωσ- βλαβ- γλοιωμ- "
            "μηνιγγ- αιμορραγ- "
            "παρατηρ- εγκεφαλ- λοβ- σημα",
        )
    },
    "HEBREW": {
        "Hebrew": (
            HEBREW,
            "של עם את לא ללא ימין שמאל משמאל מימין בצד על אין יש או ימני שמאלי גוש נגע בצקת דימום "
            "באונה המצחית עדות מוח מנינגיומה גליומה האדרה קו האמצע",
        )
    },
    "ARABIC": {
        "Arabic": (
            ARABIC,
            "في من على مع لا بدون الأيسر الأيمن الايسر الايمن إلى يوجد كتلة آفة ورم وذمة نزيف الفص "
            "الدماغ و در با از چپ به سمت توده راست لوب ادم ضایعه ضايعه مغز بدون اطراف",
        )
    },
    "THAI": {"Thai": (THAI, "ไม่พบ- พบ- สมอง- ก้อน- เนื้องอก- ขนาด- เลือด- ด้าน-")},
}
WESTERN: Languages = {
    "German": (
        "äöüß",
        "der die das und mit im in kein keine keinen links rechts ohne nach von zu "
        "für über größe- groß- läsion- ödem schädel blutung raumforderung nekrose",
    ),
    "French": (
        "éèêëàâçîïôûùœæü",
        "le la les des du de avec et un une sans est gauche droite en à "
        "très lésion lésions œdème hémorragie tumeur rehaussement",
    ),
    "Spanish": (
        "áéíóúñü",
        "el la los las de del con sin y en un una izquierda derecha lado "
        "lesión lesiones señal tamaño más cráneo edema tumor",
    ),
    "Portuguese": (
        "áâãàçéêíóôõú",
        "o a os as de do da com sem e em um uma esquerda direita lesão lesões hemorragia não",
    ),
    "Italian": (
        "àèéìòù",
        "il la lo gli le di del della con senza e in un una sinistra destra più lesion- edema",
    ),
    "Nordic": (
        "åäöæøé",
        "og och i av med uten utan på en et ett venstre vänster høyre höger tumör- ödem blödning- "
        "blødning- tumor ingen",
    ),
    "Finnish": ("äöå", "ja ei on ilman oikea vasen oikealla vasemmalla oikean vasemman kanssa"),
    "Icelandic": ("áðéíóúýþæö", "og í á með án er ekki til vinstri hægri sést eru hægra vinstra"),
    "Dutch": ("éëïèöüê", "de het een met zonder van in links rechts geen en is aan op"),
    "Catalan": ("àçèéíïòóúü", "el la els les de amb sense i en un una esquerra dreta"),
}
"""Of Western Europe."""
CENTRAL: Languages = {
    "Polish": (
        "ąćęłńóśźż",
        "w i z na po bez do lewy lewa prawy prawa lewej prawej lewym prawym jest nie guz- zmian- "
        "płat- krwaw- obrzęk- mózg- stron-",
    ),
    "Czech": (
        "áčďéěíňóřšťúůýž",
        "v a na s po bez do vlevo vpravo je se levy prava ložisk- krvác- edém- frontáln-",
    ),
    "Slovak": ("áäčďéíĺľňóôŕšťúýž", "v a na s po bez do vľavo vpravo je sa ložisk- krvác- edém-"),
    "Hungarian": ("áéíóöőúüű", "a az egy es bal jobb oldali nem van ödém- térfoglal- vérzés-"),
    "Romanian": (
        "ăâîşţșț",
        "cu fără de la în pe şi stâng- dreapta drept nu este un o din leziun- hemorag- edem efect "
        "masă",
    ),
    "Croatian": (
        "čćđšž",
        "i u na s bez je nije lijevo desno lijevoj desnoj lijeve desne levo v za vidi se krvar- "
        "edem- tvorb- središnje",
    ),
}
"""Of Central Europe."""
TURKISH: Languages = {
    "Turkish": (
        "çğıöşüâîû",
        "ve bir ile için sağ sol lobda bölge- izlen- mevcut değil yok yoktur vardır olarak ödem "
        "kitle- boyut- çapında normal sonuç bulgular taraf- düze- değişik- saptan- lezyon- incele- "
        "görün- uyumlu şüphe- dış iç merkez- çevre- kanama- beyin- sınır- belirgin hemisfer-",
    )
}
BALTIC: Languages = {
    "Lithuanian": (
        "ąčęėįšųūž",
        "ir su be į iš kair- dešin- nėra yra ne po navik- edem- kraujav- skilt- židin- matom-",
    ),
    "Latvian": (
        "āčēģīķļņšūž",
        "un ar bez no kreis- labaj- labā nav ir pēc audzēj- tūsk- asiņo- pazīm- redz- daiv-",
    ),
    "Estonian": ("äöõüšž", "ja ei on ilma vasak- parem- koos pool- kasvaja- turse verejooks-"),
}
VIETNAMESE: Languages = {
    "Vietnamese": (
        "àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ",
        "không có trái phải u não hình ảnh của và các thùy tổn thương bên trán thái "
        "dương kích thước",
    )
}
RARE = frozenset(("Icelandic", "Serbian"))
"""Languages whose letters another one's are read as: only their words speak for them."""
