"""What people do in hospitals: words before names that are no titles."""

from __future__ import annotations

import re

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
