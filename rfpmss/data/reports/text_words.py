"""What columns of text are called in some thirty languages, word by word.

A column is one of text where every word of its name stands in the table: ``Opis badania``,
``Nález a závěr``, ``Impressions and plan``. Names without spaces, as the Chinese and Japanese ones,
and the older names of hospital systems are patterns in `rfpmss.data.reports.headings`.
"""

from __future__ import annotations

import re
import unicodedata

# Whole reports.
_REPORT = """
    report befundbericht bericht informe referto laudo relatório verslag rapport utlåtande svar
    undersökningssvar lausunto røntgensvar raport rapor raporu zpráva správa lelet izvještaj
    извештај izveštaj отчет звіт αναφορά γνωμάτευση πόρισμα ataskaita pārskats skýrsla svör
    laporan báocáo تقرير التقرير گزارش פענוח דוח रिपोर्ट รายงาน ผลการอ่าน raportti rapportti
    informació raportul buletin протокол نص รายงานผล ผลอ่าน แปลผล פיענוח
"""
# What is seen.
_FINDINGS = """
    findings finding observations description befund befunde beschreibung résultats résultat
    constatations hallazgos hallazgo descripción achados descrição reperti reperto descrizione
    risultati risultato bevindingen bevinding beschrijving beskrivning fynd beskrivelse fund funn
    löydökset löydös kuvaus opis opisowy wynik wyniki nález nálezy popis leírás leletek nalaz
    nalazi izvid налаз опис описание находки данные знахідки констатация rezultat rezultate
    descriere constatări bulgular bulgu tanım ευρήματα εύρημα περιγραφή leid leiud kirjeldus
    apraksts atradne aprašymas radiniai lýsing troballes descripció temuan uraian deskripsi
    penemuan môtả النتائج الموجودات الوصف وصف نتيجة شرح یافته یافته‌ها ממצאים תיאור निष्कर्ष ผลการตรวจ
"""
# What is concluded, and what is advised.
_IMPRESSION = """
    impression impressions conclusion conclusions assessment interpretation summary opinion
    recommendation recommendations beurteilung schlussfolgerung zusammenfassung empfehlung
    synthèse interprétation avis conclusión conclusiones impresión valoración juicio
    recomendaciones conclusão conclusões impressão parecer conclusioni conclusione impressione
    giudizio conclusie beoordeling samenvatting bedömning sammanfattning slutsats konklusion
    vurdering konklusjon oppsummering sammendrag johtopäätös johtopäätökset yhteenveto arvio
    wnioski wniosek konkluzja konkluzje podsumowanie ocena zalecenia rozpoznanie závěr závěry
    hodnocení shrnutí záver závery hodnotenie zhrnutie vélemény összefoglalás összegzés
    következtetés javaslat zaključak zaključci mišljenje zaključek mnenje закључак мишљење
    заключение заключения вывод выводы рекомендации висновок висновки заключення извод изводи
    concluzii concluzie concluzia opinie impresie sonuç sonuçlar kanı yorum değerlendirme izlenim
    συμπέρασμα συμπεράσματα εκτίμηση γνώμη kokkuvõte järeldus hinnang arvamus slēdziens secinājums
    secinājumi kopsavilkums išvada išvados apibendrinimas niðurstaða niðurstöður álit samantekt
    conclusió valoració kesimpulan kesan ringkasan kếtluận الخلاصة الانطباع الاستنتاج التشخيص
    الرأي رأي نتیجه نتیجه‌گیری تفسیر تشخیص نظریه סיכום מסקנה מסקנות התרשמות สรุป ความเห็น
"""
# Words beside them that change nothing.
_NEUTRAL = """
    text full final plan radiology radiological radiologic imaging image mri mr mrt irm rm rmn ct
    tk tc tac of the and der des du de la le del della di do da dos das en et e y und och og ja i
    a és ve si și и та و של exam examination study clinical diagnostic untersuchung examen estudio
    exame esame onderzoek undersökning undersøkelse undersøgelse tutkimus tutkimuksen badania
    badanie obrazu vyšetření vyšetrenia pretrage pregleda preiskave исследования обследования
    дослідження изследване vizsgálat vizsgálati examinării examinare inceleme tetkik εξέτασης
    uuringu izmeklējuma tyrimo rannsóknar radiologisk radiologiczny radiologiczne radiologický
    radiológiai radiološki radyoloji radyolojik radiologinen radiologico radiologica radiologique
    radiológico radiológica diagnóstica diagnostyczne tekst texto texte testo metin szöveg teksti
    متن κείμενο текст טקסט opisowa przeprowadzonego lekarski pemeriksaan radiologi
"""
# Columns beside a report: why it was asked for, how the image was made, where.
_BESIDE = """
    history indication indications reason question technique protocol clinical information
    anamnesis comparison klinische klinik angaben fragestellung anamnese indikation technik
    rechtfertigende voraufnahmen renseignements cliniques motif antécédents clínica clínicos datos
    motivo técnica indicación antecedentes indicação história clinico clinica quesito indicazione
    tecnica anamnesi gegevens vraagstelling indicatie techniek frågeställning anamnes klinisk
    problemstilling indikasjon kysymyksenasettelu esitiedot indikaatio skierowanie wskazania
    wskazanie wywiad technika kliniczne dane indikace klinické údaje anamnéza otázka indikácia
    klinikai adatok kérdés indikáció uputna dijagnoza indikacija показания анамнез жалобы диагноз
    направления покази скарги indicație istoric bilgi endikasyon öykü ένδειξη ιστορικό näidustus
    indikācija ábending indikasi klinis riwayat teknik tekniikka kuvaustekniikka histology
    histologie histopathology pathology pathologie molecular genetics surgery operation op
    treatment therapy therapie scanner device gerät manufacturer model department abteilung ward
    station clinic hospital krankenhaus institution institut sequences sequenzen contrast
    kontrastmittel body part region anatomy körperregion modality modalität insurance address
    occupation email status quality
"""


def fold(name: str) -> str:
    """The name of a column without case, width, accents, separators and brackets.

    Example:
        >>> fold("Pat-ID"), fold("Compte rendu"), fold("Impresión"), fold("检查 所见：")
        ('patid', 'compterendu', 'impresion', '检查所见')
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not "\u0300" <= c <= "\u036f")
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text))


def _folded(words: str) -> frozenset[str]:
    return frozenset(map(fold, words.split()))


_ORDERS = tuple(map(_folded, (_REPORT, _FINDINGS, _IMPRESSION)))
_LESS = _folded(_NEUTRAL)
_ASIDE = _folded(_BESIDE)


def _tokens(name: str) -> list[str]:
    parts = re.split(r"[\s/,;:&+()\[\]{}._|-]+", name)
    return [word for part in parts if (word := re.sub(r"\d+$", "", fold(part)))]


def order_of(name: str) -> int | None:
    """0: a whole report, or findings with conclusions, 1: findings, 2: conclusions, None: no text.

    Example:
        >>> [order_of(n) for n in ("Opis badania", "Wnioski", "Nález a závěr", "Utlåtande", "Wiek")]
        [1, 2, 0, 0, None]
    """
    words = [word for word in (_tokens(name), [fold(name)]) if word]
    for said in words:
        known = {n for n, table in enumerate(_ORDERS) for word in said if word in table}
        if known and all(word in _LESS or any(word in t for t in _ORDERS) for word in said):
            return 0 if {1, 2} <= known else max(known)

    return None


def beside(name: str) -> bool:
    """Whether a column of this name says why or where an image was made, how, or what was examined.

    Example:
        >>> [beside(n) for n in ("Klinische Angaben", "Dane kliniczne", "Klinik", "Wnioski")]
        [True, True, True, False]
    """
    said = _tokens(name)
    named = any(word in _ASIDE or len(word) > LONG for word in said)
    return named and all(word in _ASIDE or word in _LESS for word in said)


LONG = 3
"""Letters of `a`, `of` or `MRT` at most, which name no column by themselves."""
