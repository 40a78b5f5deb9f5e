"""What people do in hospitals: words before names that are no titles."""

from __future__ import annotations

import re

from rfpmss.data.privacy.labelled.labels import Labelled
from rfpmss.data.privacy.persons import TITLE

# Patterns, `_` stands for a blank; the first letter may be small but for German nouns and letters.
_GERMAN = """
(?:(?:Leitend|Stellvertretend|Diensthabend|Zuständig|Behandelnd)e[rn]?_)?(?:Funktions|Stations
|Assistenz|Ober|Chef|Fach|Haus|Turnus|Sekundar|Dienst|Spital|Weiterbildungsassistenz
|Funktionsober)(?:arzt|ärztin|aerztin)|Ass\\.?-?_?(?:[Aa]rzt|Ärztin)|Assistent(?:in)?
|(?:Neuro)?[Rr]adiolog(?:e|in)|Neurochirurg(?:in)?|Neurolog(?:e|in)|Patholog(?:e|in)
|Onkolog(?:e|in)|Sekretärin|Schreibkraft|MT[RA]A?|Radiologietechnolog(?:e|in)|Famulant(?:in)?
|PJ-Student(?:in)?|CCA|SHO|TSRM|AN?IOS
"""
_OTHERS = """
interne externe s[ée]nior cheff?e?_de_clinique praticien(?:ne)?_hospitalier
assistante?(?:_spécialiste)? manipulat(?:eur|rice) secrétaire neurochirurgien(?:ne)?
neuroradiologue oncologue neurologue résidente? anato(?:mo)?pathologiste radiologue
médecin(?:_traitant|_référent|_adjoint)? chef_de_service infirmi(?:er|ère)
residente adjunt[oa] médic[oa]_(?:adjunt[oa]|residente|tratante|de_guardia)
jef[ea]_de_servicio facultativ[oa](?:_especialista)? neurocirujan[oa] neurorradiólog[oa]
radiólog[oa] neurólog[oa] patólog[oa] técnic[oa] enfermer[oa]
preceptora? médic[oa]_(?:assistente|solicitante|radiologista) biomédic[oa] neurorradiologista
radiologista neurocirurgi(?:ão|ã) chefe_de_plantão
specializzand[oa] primario aiuto assistente dirigente_medico medico_di_guardia tecnico direttore
neurochirurgo neuroradiolog[oa] radiolog[oa] infermier[ea]
medico_(?:curante|richiedente|refertante)
arts(?:-?assistent)? radioloog neuroloog neurochirurg patholoog laborante? co-?assistent supervisor
(?:senior_|specialist_|chief_|staff_|attending_|consultant_|consulting_)?(?:resident|fellow|intern
|attending|registrar|consultant|house_officer|trainee|(?:neuro)?radiologist|physician|neurologist
|(?:neuro)?surgeon|(?:neuro-?)?oncologist|(?:neuro)?pathologist|radiographer|sonographer
|technologist|nurse_practitioner|physician_assistant|transcriptionist|medical_secretary)
"""


def _patterns(words: str) -> list[str]:
    return [word.replace("_", " ") for word in re.sub(r"\n\|", "|", words).split()]


_SMALL = [
    f"[{word[0]}{word[0].upper()}]{word[1:]}" if word[0].isalpha() else f"(?i:{word})"
    for word in _patterns(_OTHERS)
]
FUNCTION = rf"(?:[Ll]['’])?(?:{'|'.join((*_patterns(_GERMAN), *_SMALL))})(?![\w-])"
"""Functions: German, French, Spanish, Portuguese, Italian, Dutch and English."""

_GAP, _GAP1 = r"[ \t\u3000\u00a0]{0,3}", r"[ \t\u3000\u00a0]{1,3}"
# A participle with a colon: `Vidiert: Keller`; and relatives, whose label may begin a finding.
DONE = Labelled(
    r"(?:(?:elektronisch )?(?:vidiert|visiert|validiert|verifiziert"
    r"|autorisiert|diktiert|geschrieben|kontrolliert"
    r"|erstellt|geprüft|supervidiert|signiert|unterzeichnet|unterschrieben|freigegeben|befundet"
    r"|gelesen|gegengelesen|gesehen|untersucht)(?: (?:und \w{1,40}|von|durch|am \S{1,12})){0,2}"
    r"|(?:electronically )?(?:verified|approved|reviewed|transcribed|dictated|typed|checked"
    r"|reported|read|interpreted|finali[sz]ed|authenticated|attested|edited|prepared"
    r"|co-?signed|proofread)"
    r"(?: (?:and \w{1,40}|by|on \S{1,12})){0,2}"
    r"|(?:relu|validé|dicté|saisi|tapé|vérifié|interprété|contrôlé)e?s?"
    r"(?: (?:et \w{1,40}|par)){0,2}"
    r"|(?:validado|revisado|dictado|transcrito|interpretado|supervisado|leído|verificado|assinado"
    r"|laudado|digitado|liberado|conferido)(?: (?:y|e|por) ?\w{0,40}){0,2}"
    r"|(?:validato|firmato|refertato|redatto|dettato|trascritto|controllato|verificato)(?: da)?"
    r"|(?:geautoriseerd|ondertekend|gedicteerd|verslagen|gevalideerd|beoordeeld|getypt)(?: door)?"
    r"|(?:opisał|opisała|zweryfikował|zweryfikowała|zatwierdził|zatwierdziła|podpisał|podpisała"
    r"|opis wykonał|badanie wykonał|lekarz(?: \w{1,20}){0,2}|imię i nazwisko|nazwisko(?: i imię)?"
    r"|imię|pacjent(?:ka)?|chory|chora"
    r"|(?:reporting|reading|attending|referring|ordering|primary|consulting|on[- ]call)"
    r" (?:md|dr|np|pa|specialist)|responsable|responsabile|responsável|verantwortliche?r?"
    r"|zuständige?r?"
    r"|ansprechpartner(?:in)?|sachbearbeiter(?:in)?)"
    # Swedish, Danish, Norwegian; Czech, Slovak; Finnish.
    r"|remitten[dt](?:er(?:ande|t av|et av)?)?(?: läkare)?|remi[st]{1,3}(?:erende|tterende)?"
    r" (?:läkare|læge|lege)|henvis(?:er|ende (?:læge|lege)|t af|t av)|rekvirent"
    r"|beställare|bestiller"
    r"|(?:ansvarig|undersökande|granskande|besvarande|behandlande|svarande) läkare|läkare"
    r"|överläkare|granskare|granska[dt] av|svarsläkare|svar(?:at)? av|signerat? av|dikterat? av"
    r"|utlåtande av|röntgenläkare|(?:ansvarlig|undersøgende|beskrivende|henvisende|behandlende)"
    r" (?:læge|lege|radiolog)|(?:over)?(?:læge|lege)|beskrevet a[fv]|besvaret a[fv]|dikteret af"
    r"|diktert av|godkendt af|godkjent av|signert av|signeret af|underskrift|sjuksköterska"
    r"|sygeplejerske|sykepleier|röntgensjuksköterska|radiograf|radiolog|(?:patientens? )?na[mv]n"
    r"|efternamn|förnamn|efternavn|fornavn|etternavn|anhörig|pårørende"
    r"|(?:indikující|ošetřující|popisující|odesílající|vyšetřující) (?:lékař|lekár)(?:ka)?"
    r"|lékař(?:ka)?|lekár(?:ka)?|popsala?|popisovala?|zapsala?|schválila?|podpis"
    r"|jméno(?: a příjmení)?|příjmení|meno(?: a priezvisko)?|priezvisko|pacient(?:ka)?"
    r"|lähettävä lääkäri|lääkäri|lausunut|lausunnon antaja|nimi|potilas)",
    rf"{_GAP}:{_GAP}",
)
_KIN = (
    r"(?:next of kin|emergency contact|guardian|caregiver|carer|informant|wife|husband|mother"
    r"|tech|(?:mri?|ct|rad) tech|contact|father|son|daughter|spouse|partner|sister|brother"
    r"|parents?|relatives?|accompanied by"
    r"|angehörige[rn]?|ehefrau|ehemann|gattin|gatte|mutter|vater|sohn|tochter|schwester|bruder"
    r"|lebensgefährt(?:e|in)|betreuer(?:in)?|kontaktperson|notfallkontakt|begleitperson"
    r"|bezugsperson"
    r"|personne (?:à (?:prévenir|contacter)|de confiance)|épouse|époux|mère|père|fils|fille"
    r"|conjoint"
    r"|familiar|acompañante|esposa|esposo|madre|padre|hij[oa]|herman[oa]|contacto"
    r"|familiare|moglie|marito|figli[oa]|accompagnatore|acompanhante|mãe|pai|filh[oa]|marido"
    r"|contactpersoon|echtgeno(?:ot|te)|moeder|vader|zoon|dochter|mantelzorger"
    r"|żona|mąż|matka|ojciec|córka|syn|opiekun|osoba kontaktowa)"
)
CLOSING = re.compile(
    r"(?<![\w-])(?:(?:mit )?"
    r"(?:(?:freundlichen|kollegialen|besten|herzlichen|lieben|vielen),?(?: und)? ){1,3}"
    r"grü(?:ß|ss)en?"
    r"|hochachtungsvoll|mfg|mkg|(?:(?:yours|very) )?(?:sincerely|truly|faithfully)(?: yours)?"
    r"|(?:kind|best|warm)(?:est)? regards|with (?:kind|best) (?:regards|wishes)|regards"
    r"|(?:bien )?(?:cordialement|confraternellement)|salutations(?: distinguées| confraternelles)?"
    r"|(?:saludos(?: cordiales)?|atentamente|cordiali saluti|distinti saluti|atenciosamente)"
    r"|met (?:vriendelijke|collegiale) groet(?:en)?|z poważaniem|z wyrazami szacunku)"
    r"[ \t]{0,3}[,.!]?\s{1,4}(?:(?:ihre?|your|votre|su|il suo|uw|i\. ?[av]\.)[ \t\n]{1,3})?"
    r"(?=[A-ZÀ-Þ])",
    re.IGNORECASE,
)
KIN_FIELD = Labelled(rf"{_KIN}(?: ?\([^()\n]{{1,30}}\))?", rf"{_GAP}:{_GAP}")
KIN_NAMED = re.compile(
    rf"(?<![\w-]){_KIN},?{_GAP1}(?=[A-ZÀ-Þ][\w'’-]{{1,60}} [A-ZÀ-Þ][\w'’-])", re.IGNORECASE
)
KIN_ONE = re.compile(
    r"(?<![\w-])(?:(?:his|her|their|the|with|seine[rmn]?|ihre[rmn]?|son|sa|ses|su|sus|sua|seu"
    r"|suo|suoi"
    r"|da|do|das|dos|pel[ao]|com [ao]|la|el|il|della|dal|dalla"
    r"|zijn|haar|jego|jej)\s(?:\w{3,12}\s)?(?:wife|husband|mother|father|son|daughter|spouse"
    r"|partner|sister"
    r"|brother|aunt|uncle|niece|nephew|grand(?:son|daughter|mother|father)|caregiver|ehefrau"
    r"|ehemann"
    r"|mutter|vater|sohn|tochter|schwester|bruder|lebensgefährt(?:e|in)|partnerin|épouse|époux|mari"
    r"|femme|mère|père|fils|fille|frère|sœur|compagne|compagnon|esposa|esposo|marido|mujer|madre"
    r"|padre|hij[oa]|herman[oa]|pareja|moglie|marito|figli[oa]|fratello|sorella|mãe|pai|filh[oa]"
    r"|irmãs?|irmão|vrouw|man|echtgeno(?:ot|te)|moeder|vader|zoon|dochter|zus|broer|żona|żoną|mąż"
    r"|mężem|matka|matką|ojciec|córka|córką|syn|synem)|wife|husband|spouse),?\s"
    r"(?=(?-i:[A-ZÀ-Þ][a-zß-ÿ])[\w'’-]{1,40}(?:\s[a-zß-ÿ]|\s?[.,;)\n]|$))",
    re.IGNORECASE,
)
"""A relative and one name: `Lives with his daughter Amy`."""
KIN_OF = re.compile(
    rf"(?<![\w-]){_KIN}\s(?:of|de|del|des|du|di|della|do|da|von|van|der)\s"
    r"(?=(?-i:[A-ZÀ-Þ][a-zß-ÿ]))(?![\w-]{1,40} (?:descent|origin|ancestry|ethnicity|background))",
    re.IGNORECASE,
)
"""A relative before the patient's name: `la hija de Ana, Ainhoa`."""
# Whom a finding was told: a name of one word goes where a time or a way follows.
_HEARD = (
    r"(?<![\w-])(?:(?:discussed|communicated|reviewed|shared|spoken|spoke|conferred) (?:with|to)"
    r"|(?:reported|relayed|conveyed|telephoned|phoned|paged|called|given|sent|faxed|forwarded) to"
    r"|notified|informed|paged|telephoned"
    r"|(?:besprochen|diskutiert|rücksprache|absprache|telefonat|befundbesprechung) mit"
    r"|(?:mitgeteilt|übermittelt|weitergeleitet|mitteilung|meldung|dank|kopie|übermittlung"
    r"|demonstration|gemeldet|telefonisch)(?: an| bei)"
    r"|(?:discuté|vu|communiqué|transmis) (?:avec|à)|(?:comentado|discutido|comunicado|hablado)"
    r" (?:con|com|a)|(?:discusso|comunicato) (?:con|a)|(?:overlegd|besproken) met|doorgebeld aan)"
    rf"{_GAP1}(?!(?-i:{TITLE})\b)"  # which stays: `discussed with Dr. ___`
)
CALLED = re.compile(
    r"(?<![\w-])(?:(?:patient(?:'?s)?|my|his|her) name is|heißt|s['’]appelle"
    r"|(?:man|woman|male|female|boy|girl|lady|gentleman|mann|frau|patient(?:in)?) (?:named|namens)"
    rf"|llamad[oa]|se llama|di nome|chamad[oa]){_GAP1}"
    rf"(?=(?-i:[A-ZÀ-Þ][\w'’-]{{1,60}} [A-ZÀ-Þ]))",
    re.IGNORECASE,
)
"""Before a given and a family name."""
MAIDEN = re.compile(
    r"(?<![\w-])(?:geb\.|geborene[rn]?|gebürtige|née?|(?:apellido )?de soltera|nata|z domu|rozená"
    r"|roz\.)\s(?=(?-i:[A-ZÀ-Þ][A-ZÀ-Þa-zß-ÿ])[\w'’-]{1,40}"
    r"(?:\s?[.,;)\n]|\s(?:le|il|el|am|on|op|em|dnia|\d)|$))",
    re.IGNORECASE,
)
"""Before the name that somebody was born with."""
MAIDEN_FIELD = re.compile(
    r"(?<![\w-])(?:nom (?:de naissance|de jeune fille|patronymique)|nom d['’]usage|geburtsname"
    r"|mädchenname|maiden name|birth name|name at birth|apellidos? de (?:soltera|nacimiento)"
    r"|nombre de (?:soltera|nacimiento)|cognome (?:da nubile|di nascita)|nome de solteira"
    r"|meisjesnaam|geboortenaam|fødenavn|pikenavn|flicknamn|nazwisko (?:rodowe|panieńskie)"
    r"|rodné příjmení|leánykori név|születési név|kızlık soyadı|девичья фамилия)"
    r"\s?[:：]\s?(?=(?-i:[^\W\d_a-zß-ÿ]))",
    re.IGNORECASE,
)
"""The label of that name."""
TOLD = re.compile(_HEARD, re.IGNORECASE)
TOLD_ONE = re.compile(
    rf"{_HEARD}(?=(?-i:[A-ZÀ-Þ])[\w'’-]{{1,60}}"
    r" (?:at|by|via|over|on|per|am|um|par|por|le|el|il|alle|om|op|\d))",
    re.IGNORECASE,
)
