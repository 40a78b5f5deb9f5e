"""Time points in Chinese, Japanese and Korean names."""

from __future__ import annotations

import re

from rfpmss.data.identity.names.plain import cut_at
from rfpmss.data.identity.names.therapy import PHASES
from rfpmss.data.identity.names.times import Time

_HAN = "一二三四五六七八九十"
_N = rf"(?P<n>\d{{1,3}}|[{_HAN}]{{1,2}})"
_LATER = (
    r"再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診]"
    r"|추적-?(?:관찰|검사|촬영)?|재진|재검사?"
)
"""Follow-ups in Japanese, Chinese and Korean, beside those that stand in the table itself."""
CHINESE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"(?:手?[术術][后後])-?第?{_N}个?(?P<unit>[月周天日年]|小时)"), "post-op"),
    (re.compile(rf"第?{_N}-?[次回차](?:检查|随访|复查|扫描|访视|就诊)?"), "visit"),
    (re.compile(rf"(?:[复複復][查査诊診]|随访|隨訪)-?{_N}"), "follow-up"),
    (re.compile(rf"第?{_N}个?(?P<unit>[月周天年])(?:后|随访|复查)?"), "span"),
    (re.compile(r"手?[术術][后後]-?半年"), "post-op month 6"),
    (re.compile(r"半年(?:后|随访|复查)?"), "month 6"),
    (re.compile(r"手?[术術]前"), "pre-op"),
    (re.compile(r"手?[术術][后後]"), "post-op"),
    (re.compile(r"手?[术術]中"), "intra-op"),
    (re.compile(r"(?P<what>放化疗|放疗|化疗|治疗)(?P<when>[前中后])"), "treated"),
    (re.compile(r"[复複復][查査诊診]|随访|隨訪"), "follow-up"),
    (re.compile(r"(?P<what>放化疗|放疗|化疗|治疗)(?P<when>开始|结束|期间)"), "treated"),
    (re.compile(r"基[线線]|首[诊診]|初[诊診回]|首次|筛选"), "baseline"),
    (re.compile(r"[复復再][发発發]"), "recurrence"),
    (re.compile(r"末次"), "visit 99"),
    (re.compile(rf"수술-?후-?{_N}-?(?P<unit>개월|주|일|년)"), "post-op"),
    (re.compile(rf"{_N}-?(?P<unit>개월|주|년)-?(?:후|뒤|추적)?"), "span"),
    (re.compile(rf"{_N}-?(?:[かヶカケヵ]月|(?P<unit>週間?))[後目]?"), "span"),
    (
        re.compile(
            rf"(?:再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診])-?{_N}"
        ),
        "follow-up",
    ),
    (re.compile(r"초진|초기|기저|첫-?(?:방문|검사)|ベースライン"), "baseline"),
    (re.compile(r"추적-?(?:관찰|검사|촬영)?|재진|재검사?"), "follow-up"),
    (
        re.compile(r"再[診诊]|経過観?察?|フォローアップ|フォロー|追[蹤踪]|[随隨回][诊診]"),
        "follow-up",
    ),
    (re.compile(r"재발"), "recurrence"),
)
_UNIT_OF = {"月": "month", "周": "week", "天": "day", "日": "day", "年": "year", "小时": "hour"} | {
    "개월": "month",
    "주": "week",
    "일": "day",
    "년": "year",
    "週": "week",
    "週間": "week",
}


def chinese(rest: str, times: list[Time]) -> str:
    """What is left of a name without its time points, which are added to ``times``."""
    for pattern, unit in CHINESE:
        found = pattern.search(rest)
        if not found:
            continue
        groups = found.groupdict()
        number = f" {_han(groups['n'])}" if groups.get("n") else ""
        span = f" {_UNIT_OF[groups['unit']]}" if groups.get("unit") else ""
        if unit == "span":
            times.append(Time(f"{span.strip() or 'month'}{number}"))
        elif unit == "treated":
            when = _CHINESE_WHEN[groups["when"]]
            times.append(Time(f"{when}-treatment"))
        else:
            phase = next((p for p in PHASES if unit.startswith(p)), "")
            times.append(Time(f"{unit}{span}{number}", phase=phase))

        rest = cut_at(rest, found)

    return rest


_CHINESE_WHEN = {
    **{"前": "pre", "中": "during", "后": "post"},
    **{"开始": "start", "结束": "end", "期间": "during"},
}


def _han(text: str) -> int:
    if text.isdecimal():
        return int(text)

    tens, mark, ones = text.partition("十")
    if not mark:
        return _HAN.index(text[0]) + 1

    return 10 * (_HAN.index(tens) + 1 if tens else 1) + (_HAN.index(ones) + 1 if ones else 0)
