"""Words for before, in and after an operation or a therapy, and the visits of drug trials."""

from __future__ import annotations

import re

from rfpmss.data.identity.names.times import END, START

_OF = r"(?:(?:de|du|des|la|le|el|the|of|der|den|das|dem|di|da|do|van|het|al|della|dell|l|d)-)*"
"""Small words between when and what."""
_SURGERY = (
    r"(?:op|ops|opera?tive?|operation|operativ|operatoire|operatori[oa]|operatie|operazione"
    r"|operacao|operacion|operac?j[aieo]|surgery|surgical|surg|resection|resektion|reseccion"
    r"|resezione|resseccao|resectie|resekcj[aieo]|chirurgie|chirurgia|chir|cirugia|cirurgia|cir"
    r"|quirurgic[oa]|exerese|craniotom\w*|kraniotom\w*|zabieg\w*)"
)
PHASES = {
    "pre-op": rf"(?:pre|prae|pra|vor|before|avant|antes|voor|prima|przed)-?{_OF}{_SURGERY}"
    r"|до-?операции|수술-?전",
    "intra-op": rf"(?:intra|during)-?{_SURGERY}|iop",
    "post-op": r"(?:(?:early|late|immediate|fruh|spat)-?)?"
    r"(?:post?|pos|nach|after|apres|despues|depois|dopo|na|po)-?"
    rf"{_OF}{_SURGERY}(?:-(?:early|late|immediate|fruh|spat))?"
    r"|после-?операции|수술-?후",
}
_THERAPY = (
    r"(?:treatment|treat|tx|therapy|therapie|therapi|rt|radiation|rct|crt|qrt|rtct|chemo\w*|tmz"
    r"|radioth?erap\w*|radiochemo\w*|radioquimio\w*|radiochimio\w*|chimio\w*|quimio\w*"
    r"|bestrahlung|strahlentherapie|behandlung|traitement|rayons|tratamiento|tratamento"
    r"|trattamento|terapi[ae]|bestraling|behandeling|leczeni[ae]|radiochemioterapi\w*"
    r"|napromienia\w*|stupp|temozolomide?)"
)
TREATED_WHEN = {
    "pre": "pre|prae|vor|before|avant|antes|prima|voor|przed",
    "post": "post|pos|after|nach|apres|despues|dopo|depois|na|po",
    "during": "during|mid|pendant|wahrend|unter|durante|tijdens|podczas|en-cours",
    "start": "start|begin|beginn|beginning|debut|inicio|inizio|poczatek",
    "end": "end|ende|fin|final|fim|fine|einde|koniec|termino",
}
TREATED = re.compile(
    rf"{START}(?:"
    + "|".join(f"(?P<{when}>{words})" for when, words in TREATED_WHEN.items())
    + rf")-?{_OF}(?P<what>{_THERAPY}){END}"
    # Bestrahlungsende, Therapiebeginn
    rf"|{START}(?P<of>therapie|radiotherapie|bestrahlungs?|behandlungs?|chemotherapie)-?"
    rf"(?P<german>ende?|beginn|start){END}"
)
TRIAL = (
    (
        re.compile(rf"{START}c(?:ycle)?-?(\d{{1,2}})-?d(?:ay)?-?(\d{{1,3}}){END}"),
        "cycle {} day {}",
    ),
    (re.compile(rf"{START}(?:eot|end-of-(?:treatment|therapy)){END}"), "end-treatment"),
    (re.compile(rf"{START}(?:eos|end-of-study){END}"), "end of study"),
)
"""Visits of drug trials."""
HOURS = re.compile(
    rf"{START}(\d{{1,3}})-?(?:h|hrs?|hours?|heures?|stunden?|std|horas?|ore|uur|godzin\w*){END}"
)
