"""How names of patients, of public cohorts and of groups of patients are written."""

from __future__ import annotations

import re

PERSON, ID, SHORT, WORD = 4, 3, 2, 1
"""How surely a name is a person's: by a word such as ``patient``, by its number, hardly, not."""

PERSONS = re.compile(
    r"(?:patient(?:in)?(?:id|en|nr|no)?|paciente|pat|pt|p|subj?|subject|sujet|sujeto|case|caso|cas"
    r"|person|participant|proband|id|mrn|pa|fall|tcga-[0-9a-z]{2}|c3[ln])-?\d+[a-z]?"
    r"|sub-[0-9a-z]+|(?:patient|subject|case|proband)-?[a-z]|(?:患者|病人|病例|受试者|编号|例)-?\d+"
    r"|\d+(?:号|例|床)(?:患者|病人)?"
)
VISIT = re.compile(r"v-?(\d{1,3})")
"""A visit, where who it is stands elsewhere."""
NOBODY = re.compile(
    r"patient(?:in)?(?:en)?s?|paciente|pat|pt|subj?|subject|sujet|case|cas|caso|person|proband|fall"
    r"|participant|患者|病人|病例"
)
"""A word for a person without a number or a name."""

KNOWN = (
    # BraTS since 2023: the time point is the last number.
    re.compile(r"(?P<who>bra-?ts-[a-z]+(?:-rt)?-\d{4,5})-(?P<t>\d{1,3})(?!\d)"),
    # BraTS-Reg 2022: the visit, then the days since the first.
    re.compile(r"(?P<who>bra-?ts-?reg-\d{3})-(?P<t>\d\d)(?:-\d{4})?(?!\d)"),
    # UPENN-GBM: 11 is the baseline, 21 the follow-up.
    re.compile(r"(?P<who>upenn-gbm-\d{5})-(?P<t>[12]1)(?!\d)"),
    re.compile(r"(?P<who>ucsd-ptgbm-\d{4})-(?P<t>\d\d)(?!\d)"),
    # ADNI: site, S, subject.
    re.compile(r"(?:adni-)?(?P<who>\d{3}-s-\d{4})(?P<t>)(?!\d)(?:-.*)?"),
    # TCGA barcodes: what follows the participant is the sample and the slide.
    re.compile(r"(?P<who>tcga-[0-9a-z]{2}-[0-9a-z]{4})(?P<t>)(?:-\d\d[a-z](?:-.*)?)?$"),
    # CPTAC slides: the last number is the slide.
    re.compile(r"(?P<who>c3[ln]-\d{5})(?P<t>)-\d\d(?!\d)"),
    # GLASS: the primary tumour and its recurrences.
    re.compile(r"(?P<who>gls[sx]-[0-9a-z]{2}-[0-9a-z]{4})-(?P<t>tp|r\d)(?![0-9a-z])"),
)
SITE = re.compile(
    r"(?:sites?|centers?|centres?|zentrum|hospitals?|klinik(?:um)?|clinic|clinique|hopital"
    r"|institut(?:e|ion)?|inst|krankenhaus|universit\w*|uniklinik\w*|scanner)"
    r"(?:-?[0-9a-z]{1,3}|-[0-9a-z-]+)?|.*(?:医院|中心|院区)-?\d*"
)
"""Folders of patients whose numbering is their own."""
GROUP = re.compile(
    r"(?:training|validation|testing)-(?:set|data|cases|v?\d)[0-9a-z-]*"
    r"|(?:batch|cohort|kohorte|group|gruppe|arm|fold|part|dis[ck]|cd|dvd|usb|train(?:ing)?"
    r"|val(?:id|idation)?|test(?:ing)?|dev|ward|station|department|dept|release|version|delivery"
    r"|lieferung|lot|folder|ordner)(?:-?(?:set|data|cases|cohort))?-?(?:[0-9]{1,3}|[a-z])?"
    r"|(?:who-?)?grade-?[0-9ivx]+|hgg|lgg|gbm|glioblastoma|gliomas?|astrocytoma|oligodendroglioma|meningioma|metastas[ei]s"
    r"|controls?|healthy|patients?|pacientes|patienten|cases|subjects|participants|dataset|database"
    r"|db|original|source|public|downloads?|archive|input|all|everything|misc|new|old"
    r"|nifti-files|pkg-.*|.*(?:批次|组|数据集)-?\d*|患者|病人|病例"
)
"""Folders of several patients."""


def rank(who: str) -> int:
    """How surely a name is one of a person.

    Example:
        >>> [rank(w) for w in ("patient-3", "rhuh-0001", "7", "mueller")]
        [4, 3, 2, 1]
    """
    if PERSONS.fullmatch(who):
        return PERSON
    if not re.search(r"\d", who):
        return WORD

    return SHORT if re.fullmatch(r"[a-z]{0,2}-?\d{1,2}|[1-9]\d\d|\d{1,3}[a-z]", who) else ID
