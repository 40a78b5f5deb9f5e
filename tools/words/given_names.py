"""Write the table of given and family names that reports are searched for.

    python -m pip download --no-deps Faker && unzip Faker-*.whl -d faker
    python tools/words/given_names.py faker

Source: the providers of names of Faker (MIT), used once, and the short lists below for what it
lacks. Nothing of Faker is needed at run time.
"""

# ruff: noqa: E501 - lists of names
from __future__ import annotations

import csv
import importlib
import re
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

OUT = Path(__file__).parents[2] / "rfpmss" / "data" / "privacy" / "unlabelled" / "names.csv"
GIVEN = "g"
FAMILY = "f"
FAMILIES = 25
"""Family names of one locale at most."""
SHARED = ("is", "ga", "tw")
"""Languages whose long lists count only where another language has the name as well."""

# Name lists that the source lacks, by language.
OWN_GIVEN = {
    "vi": "Văn Thị Hùng Mai Lan Minh Tuấn Dũng Hương Thảo Linh Ngọc Phương Quang Hải Thanh Đức Long"
    " Trung Hiếu Thuận Trang Yến Nga Hạnh Hoa Bình Cường Khánh Huy Hoàng Hung Tuan Huong Thao Ngoc"
    " Phuong Duc Hieu Thi Van",
    "zh-Latn": "Wei Xiaoming Xiaoli Jing Fang Ming Jun Jie Lei Qiang Xiulan Guiying Jianguo Zhiqiang"
    " Haiyan Lihua Yuhan Zihan Yifan Haoran Yuxuan Xinyi Jiahui Meiling Xiaohong Weiwei Yang Xin"
    " Jianhua Guohua Jianjun Yaling Chunhua Xiuying Zhiwei Junjie Mengyao Siyu Zixuan Yichen",
    "ko-Latn": "Min-jun Minjun Seo-yeon Seoyeon Ji-woo Jiwoo Ji-young Jiyoung Min-ji Minji Hyun-woo"
    " Hyunwoo Soo-jin Soojin Sung-min Sungmin Eun-kyung Young-ho Youngho Jae-hyun Jaehyun Kyung-hee"
    " Dong-hyun Donghyun Hye-jin Hyejin Sang-hoon Min-su Minsu Seung-hyun Jin-ho",
    "ja-Latn": "Hiroshi Takashi Kenji Yuki Haruka Akira Satoshi Yoko Keiko Naoko Tomoko Kazuko Ichiro"
    " Taro Hanako Makoto Kenichi Masashi Yumi Ayumi Miho Daisuke Kenta Shota Sakura Misaki Mayumi"
    " Kaori Hideo Toshio Kazuo Yoshiko Noriko Shinji Takeshi Yusuke Ryota Kazuki",
    "ja": "健一 花子 美咲 一郎 真由美 太郎 次郎 直樹 翔太 陽子 裕子 恵子 明美 久美子 智子 由美子"
    " 健太 大輔 浩 誠 洋子 和子 幸子 恵美 美穂 愛 葵 結衣 陽菜 大翔 蓮 隆 茂 清 勝 実 正",
    "ar": "محمد أحمد محمود علي حسن حسين فاطمة عائشة مريم خديجة زينب عمر خالد يوسف إبراهيم عبدالله"
    " مصطفى سعيد ناصر فهد سلمان سارة نورة هدى ليلى رانيا سلمى ياسر طارق كريم سامي وليد عادل جمال"
    " عبد هشام ماجد منى أمينة رقية",
    "ar-Latn": "Zinedine Abderrahmane Abdellah Mounir Nabil Hicham Yassine Soufiane Nadia Samira Latifa Zohra Kenza Tarek Wael Hani Mohammed Mohamed Muhammad Mohammad Ahmed Ahmad Mahmoud Ali Hassan Hussein Fatima"
    " Aisha Maryam Khadija Zainab Omar Khalid Yusuf Youssef Ibrahim Abdullah Abdul Mustafa Nasser"
    " Fahad Salman Noura Huda Layla Leila Rania Salma Yasser Tariq Karim Samir Walid Mona Amina"
    " Bilal Hamza Rachid Abdelkader Abdelaziz Naima Malika Farida",
    "fa": "حسین زهرا رضا علیرضا مهدی فاطمه مریم نرگس سارا امیر حمید سعید ناهید پروین",
    "he": "משה שרה יוסף דוד אברהם יצחק יעקב רחל לאה מרים חנה יעל נועה תמר רונית אורית שלמה",
    "hi": "राजेश सुनीता अमित प्रिया संजय विजय अनिल सुनील रमेश सुरेश पूजा नेहा कविता गीता मीना"
    " राहुल रोहित विकास दीपक मनोज अंजलि",
    "hi-Latn": "Rajesh Priya Sunita Amit Sanjay Vijay Anil Sunil Ramesh Suresh Pooja Neha Kavita"
    " Geeta Rahul Rohit Vikas Deepak Manoj Anjali Anita Lakshmi Venkatesh Srinivas Karthik Deepa",
    "ms": "Nurul Siti Nur Aisyah Ahmad Faizal Azlan Hafiz Zulkifli Norhayati Rosmah Ismail",
    "sw": "Thabo Sipho Oluwaseun Chinedu Chidi Emeka Ngozi Amara Kwame Kofi Ama Akosua Wanjiku"
    " Kamau Otieno Achieng Juma Tendai Tatenda Nomsa Lerato Bongani Zanele Babatunde Adebayo",
    "sq": "Agron Besnik Arben Ilir Fatmir Drita Mirela Valbona Enkelejda Blerim Besa Albana",
    "sr-Latn": "Miloš Marko Nikola Jovan Dragan Zoran Milan Jelena Milica Ana Snežana Dragana"
    " Ljiljana Vesna Gordana Tomislav Ivana Stjepan Željko Siniša",
    "sr": "Милош Марко Никола Јован Драган Зоран Милан Јелена Милица Снежана Драгана Весна",
    "tr": "Ayşe Fatma Emine Zeynep Mehmet Mustafa Hüseyin İbrahim Hatice Merve Büşra",
    "pl": "Grażyna Wojciech Danuta Halina Jadwiga Stanisław Elżbieta Teresa Bożena Jolanta Wiesława Renata Beata Iwona Marzena Mirosław Ryszard Jerzy Sławomir Grzegorz Mariusz Dariusz Kazimierz Marek Piotr Andrzej Janusz Wanda Zofia Urszula Ewelina Joanna Magdalena Monika Aleksandra Jakub Mateusz Bartosz Kamil Dawid Małgorzata Agnieszka Katarzyna Krzysztof Zbigniew Barbara Tomasz Paweł Łukasz Michał",
    "et": "Liis Kristjan Priit Triin Kadri Tõnu Ülle Maarja Siim",
    "is": "Guðrún Sigurður Einar Jón Sigríður Kristín Ólafur Þórunn Helga Björn Gunnar",
    "hu": "Erzsébet László Gábor Zsuzsanna Ilona István Katalin Zoltán Ágnes Judit Ferenc Attila",
    "cs": "Lenka Petra Hana Tereza Kateřina Veronika Lucie Markéta Pavel Tomáš Ondřej Lukáš Jakub Vojtěch Marek Milan Josef Jaroslav Zdeňka Vladimír Jiří Zuzana Miroslav Božena Václav Ludmila Květa Radka",
    "en": "Piers Alasdair Bartholomew Quentin Lucinda Marguerite Shanice Rupert Hugo Giles Nigel Fergus Hamish Ewan Callum Imogen Tamsin Saoirse Niamh Siobhan Aoife Ciaran Padraig Declan Rhys Gareth Sian Angharad Rosalind Philippa Cordelia Percival",
    "de": "Rüdiger Friedhelm Edeltraud Hildegard Burkhard Melanie Ingeborg Waltraud Gudrun Gisela Brunhilde Heinz Günter Günther Horst Manfred Helmut Detlef Torsten Thorsten Karsten Kerstin Birgit Bettina Annette Gabriele Christa Irmgard Anneliese Reinhard Ekkehard Hartmut Dietmar Volker Holger Ralf Rolf Stefan Stephan Steffen Jürgen Jörg Katharina Friederike Annegret Sebastian Wolfgang Sigrid Uwe Anselm Heike Silke"
    " Gerda Sabine Renate Ursula Dieter Matthias Elisabeth Johannes Lukas Jana Tobias Claudia",
    "fr": "Ghislaine Thibault Clémence Bertrand Gaëlle Maëlle Yannick Loïc Solène Anaïs Cécile Agnès Sylvie Martine Chantal Josiane Ginette Yvette Gisèle Thérèse Geneviève Françoise Gérard Hervé Rémi Rémy Benoît Jérôme Frédéric Stéphane Cédric Mickaël Hélène Mathilde Sylvain Aurélie Colette Guillaume Sandrine Étienne Véronique Béatrice"
    " Jacqueline Nathalie Olivier Caroline Antoine Philippe Monique Jean-Baptiste Jean-Pierre",
    "es": "Asunción Encarnación Purificación Eugenia Rodrigo Begoña Nuria Montserrat Jordi Iñaki Aitor Ainhoa Itziar Leire Ximena Íñigo Rocío Amparo Milagros Rosario Fermín Saturnino Teófilo Hortensia Yolanda Raquel Iván Óscar Álvaro Andrés Ramón Jesús Guadalupe Inmaculada Remedios Concepción Ernesto Joaquín Esteban Gonzalo Francisco",
    "pt": "Rogério Márcia Cláudia Sérgio Luciana Adriana Vanessa Rodrigo Fábio Antônio António Francisca Tereza Aparecida Vinícius Caio Otávio Cecília Letícia Natália Jéssica Patrícia Sônia Sónia Inês Rui Nuno Tiago Duarte Rita Catarina Mónica Simone Edson Gilberto Wagner Wellington Raimundo Severino Cícero Benedita Terezinha Conceição Thiago Raimunda Gustavo Juliana Fernanda Henrique Joaquim João José Luís",
    "it": "Giuseppina Donatella Ornella Francesca Alessandro Lorenzo Matteo Stefano Chiara",
    "nl": "Geertruida Hendrika Cornelia Johanna Wilhelmina Gerrit Dirk Jaap Kees Henk Hendrik Willem Marloes Marjolein Anneke Ineke Marieke Jeroen Annelies Femke Willemijn Sjoerd Bram Sanne Pieter-Jan Wouter Joost",
    "el": "Γεώργιος Μαρία Δημήτριος Κωνσταντίνος Κωνσταντίνα Ελένη Ιωάννης Νικόλαος Αικατερίνη",
    "uk": "Олександр Оксана Марія Тарас Богдан Юрій Андрій Наталія Галина Ірина Тетяна Микола",
    "bg": "Георги Иванка Димитър Тодор Пенка Стоян Красимир Цветана",
    "mk": "Александар Гоце Благоја Билјана",
    "th": "สมชาย วิภา สมศักดิ์ สมหญิง ประเสริฐ สุภาพร นภา วิชัย อรุณ มาลี",
}  # fmt: skip
OWN_FAMILY = {
    "vi": "Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý Nguyen Tran Pham"
    " Huynh",
    "zh-Latn": "Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu Guo He Lin Gao Luo"
    " Zheng Liang Xie Tang Feng Deng Cao Peng Zeng Xiao Tian Dong Pan Yuan Cai Jiang Yu Du Ye Cheng"
    " Wei Su Lu Ding Ren Shen Yao Chan Wong Cheung Leung Lau Chow Hsu Tsai",
    "ko-Latn": "Kim Park Choi Jung Kang Cho Yoon Jang Lim Shin Hwang Kwon Bae Baek Nam Moon",
    "ja": "佐藤 鈴木 高橋 田中 伊藤 渡辺 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤"
    " 清水 山崎 森 池田 橋本 阿部 石川 山下 中島 石井 小川 前田 岡田 長谷川 藤田 後藤 近藤 村上 遠藤 青木 坂本"
    " 斉藤 福田 太田 西村 藤井 金子 岡本 藤原 中野 三浦 原田 中川 松田 竹内 小野 田村 中山 和田 石田 森田 上田"
    " 内田 柴田 酒井 宮崎 横山 高木 安藤 宮本 大野 小島 谷口 工藤 今井 高田 丸山 増田 杉山 村田 大塚 新井 服部",
}  # fmt: skip

_LETTER = r"(?:[^\W\d_]|[\u0591-\u05c7\u064b-\u0652\u0900-\u0963\u0e31-\u0e4e])"
WORD = re.compile(rf"{_LETTER}+(?:['’-]{_LETTER}+)*")


def read(folder: Path) -> tuple[dict[str, set[str]], str]:
    """All names: ``name -> {"g de", "f en", ...}``, and the source's version."""
    sys.path.insert(0, str(folder))
    version = importlib.import_module("faker").VERSION
    found: dict[str, set[str]] = defaultdict(set)
    for home in sorted((folder / "faker" / "providers" / "person").glob("*_*")):
        if home.name.startswith("__"):
            continue
        provider = importlib.import_module(f"faker.providers.person.{home.name}").Provider
        language = home.name.split("_")[0]
        for field, names in vars(provider).items():
            kind = _kind(field)
            if kind and isinstance(names, (tuple, list, dict)):
                listed = list(names)[:FAMILIES] if kind == FAMILY else names
                for name in listed:
                    _add(found, str(name), kind, language)

    for kind, own in ((GIVEN, OWN_GIVEN), (FAMILY, OWN_FAMILY)):
        for language, names in own.items():
            for name in names.split():
                _add(found, name, kind, language)
                _add(found, name, kind, "own")

    return found, version


def _kind(field: str) -> str:
    if "pair" in field or "prefix" in field or "suffix" in field or "language" in field:
        return ""
    if re.match(r"(?:first|middle|given)_.*names?", field):
        return GIVEN

    return FAMILY if re.match(r"(?:last|family|sur).*names?", field) else ""


def _add(found: dict[str, set[str]], name: str, kind: str, language: str) -> None:
    for word in name.split():
        word = unicodedata.normalize("NFC", word)
        least = 1 if word > "\u2e80" else 3 if word.isascii() else 2
        known = word in OWN_FAMILY.get("zh-Latn", "").split()
        if WORD.fullmatch(word) and (len(word) >= least or known):
            found[word.lower()].add(f"{kind} {language}")


def main() -> None:
    """Write the table."""
    found, version = read(Path(sys.argv[1]))
    with OUT.open("w", newline="", encoding="utf-8") as file:
        file.write(
            f"# Faker {version} (MIT) and tools/words/given_names.py, which writes this table.\n"
        )
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("name", "given", "family"))
        for name in sorted(found):
            if _kept(found[name]):
                table.writerow((name, *(_languages(found[name], kind) for kind in (GIVEN, FAMILY))))


def _kept(tags: set[str]) -> bool:
    return len(tags) > 1 or not any(tag[2:] in SHARED for tag in tags)


def _languages(tags: set[str], kind: str) -> str:
    return " ".join(sorted(tag[2:] for tag in tags if tag[0] == kind and tag[2:] != "own"))


if __name__ == "__main__":
    main()
