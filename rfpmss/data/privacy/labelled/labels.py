"""Words before the fields that say who, in the languages that have no rules of their own.

English, German, French, Spanish, Chinese, Japanese and Korean stand mostly in
`rfpmss.data.privacy.sentences` and beside it. Sources: forms and report headers of hospitals in
these languages; a word that may also begin a finding, `popis:` or `opis:`, is none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# By topic, each with the words of all languages; `_` stands for a blank, and a bracket with `?`
# for what may be left out.
_PATIENT = """
пациент(?:ка)? больной больная обследуемый хворий хвора пацієнт(?:ка)? пацыент(?:ка)? болен
болна пацијент(?:киња)?
pacjent(?:ka)? chory chora hasta patiënt(?:e)? paziente paciente(?:_n)? pacient(?:a|e|ka|ă)?
pasient patient(?:en)?
pasien pesakit bệnh_nhân người_bệnh ασθενής ασθενούς beteg páciens pacijent(?:ica)? bolesnik
bolesnica
patsient pacientas pacientė pacients potilas pazient gaixoa bemor bolnik bolnica
المريض(?:ة)? مريض(?:ة)? بیمار مریض המטופל(?:ת)? מטופל(?:ת)? החולה חולה
रोगी मरीज़? পেশেন্ট রোগী நோயாளி రోగి ผู้ป่วย คนไข้ 환자 患者 пациенттің_аты-жөні
"""
_NAME = """
ф\\.?_?и\\.?_?о\\.?(?:_(?:пациент[аки]{1,2}|больного|больной|врача))?
фамилия(?:,?_имя(?:,?_отчество)?)? имя отчество
фамилия_имя_отчество_пациента п\\.?_?і\\.?_?б\\.? прізвище(?:_та_ім[’']я)? ім[’']я по_батькові
име(?:_на_пациента)? презиме прізвище,?_ім[’']я,?_по_батькові имена име_и_фамилия име_и_презиме
трите_имена
nazwisko(?:_i_imię)? imię(?:_i_nazwisko)?(?:_pacjenta)? nazwisko_rodowe
(?:hasta(?:nın)?_)?ad[ıi](?:,?_?(?:ve_)?soyad[ıi])? (?:hasta_)?ad_?-?_?soyad[ıi]?
(?:hasta_)?soyad[ıi]? hasta_ismi isim
naam(?:_(?:van_de_)?patiënt)? patiëntnaam achternaam voornaam(?:en)? roepnaam
nome(?:_(?:do|da|del|della)_(?:paciente|utente|paziente|doente))? nome_completo nome_social
utente doente sobrenome
nome_e_cognome cognome(?:_e_nome)?
nume(?:le)?(?:_(?:și|şi|si)_prenume(?:le)?)?(?:_pacient(?:ului)?)? prenume(?:le)?
nume_de_familie nume_pacient
(?:a_)?(?:beteg_|páciens_)?nev[eé]? (?:beteg_|páciens_)?név anyja_(?:leánykori_)?neve
leánykori_név születési_név
vezetéknév keresztnév családi_név utónév
ime(?:_i_prezime)? prezime(?:_i_ime)? ime_in_priimek priimek(?:_in_ime)? ime_pacijenta
ime_bolesnika
jméno(?:_pacienta)?(?:,?_(?:a_)?příjmení)? příjmení(?:_a_jméno)?
meno(?:_pacienta)?(?:,?_(?:a_)?priezvisko)? priezvisko(?:_a_meno)?
ονοματεπώνυμο(?:_ασθεν(?:ούς|ή))? όνομα(?:_ασθεν(?:ούς|ή))? επώνυμο(?:_ασθεν(?:ούς|ή))?
όνομα_πατρ(?:ός|έρα) πατρώνυμο
(?:nama|nama_(?:lengkap|pasien|pesakit|penuh)) họ_(?:và_)?tên(?:_(?:bệnh_nhân|người_bệnh))?
tên(?:_bệnh_nhân)?
perekonnanimi eesnimi nimi vardas(?:_(?:ir_)?pavardė)?,?(?:_pavardė)? pavardė
vārds(?:,?_uzvārds)? uzvārds
izena(?:_eta_abizenak)? abizenak cognoms nom_i_cognoms ainm enw emri mbiemri emri_i_pacientit
isim-sharifi
hovedperson pasientnavn patientnamn patientnavn sukunimi etunimi potilaan_nimi fullt_navn
fullständigt_namn
(?:ال)?اسم(?:_(?:المريض(?:ة)?|الكامل|الأب|الام|الأم|العائلة))?
نام(?:_(?:بیمار|خانوادگی|و_نام_خانوادگی|پدر))? نام_و_نام_خانوادگی
مریض_کا_نام
(?:ה)?שם(?:_(?:ה?מטופל(?:ת)?|ה?חולה|פרטי|משפחה|מלא|ומשפחה|האב))?
(?:रोगी_का_|मरीज़?_का_|पूरा_|पिता_का_)?नाम (?:রোগীর_)?নাম (?:நோயாளி(?:யின்)?_)?பெயர்
(?:రోగి_)?పేరు
ชื่อ(?:-?_?(?:นาม)?สกุล)?(?:_?ผู้ป่วย)? ชื่อผู้ป่วย นามสกุล ชื่อ_?-_?(?:นาม)?สกุล
"""
_STAFF = """
(?:лечащий_|дежурный_|ответственный_)?врач(?:(?:_|-)(?:рентгенолог|радиолог|консультант|эксперт
|диагност|невролог|нейрохирург|хирург|онколог|нейрорадиолог))?
(?:врач_)?(?:лучевой_диагностики|УЗД|МРТ|КТ) (?:нейро)?рентгенолог радиолог нейрохирург невролог
онколог (?:рентген)?лаборант
заведующ(?:ий|ая)(?:_отделением)? зав\\.?_отделением направил(?:а)? направивший_врач
описал(?:а)? исследование_(?:провел|провёл|выполнил)(?:а)?
провел(?:а)? провёл выполнил(?:а)? подпись подписал(?:а)? исполнитель медсестра
лікар(?:-(?:рентгенолог|радіолог))?(?:-рентгенолог)? рентгенолог(?:и)? підпис виконав виконала
лекар(?:ка)? потпис подпис рендгенолог изготвил
lekarz(?:_(?:opisujący|kierujący|prowadzący|zlecający|radiolog|badający|specjalista))? radiolog
opisujący podpis(?:_lekarza)? technik opisał(?:a)? wykonał(?:a)? zlecający
(?:sorumlu_|raporlayan_|isteyen_|gönderen_|tetkiki_isteyen_|uzman_)?(?:doktor|dr|hekim|uzman
|radyolog|radyoloji_uzmanı|tabip)(?:_ad[ıi](?:_soyad[ıi])?)? raporlayan raporu_yazan
raporu_onaylayan onaylayan isteyen_(?:doktor|hekim|klinik_doktoru) imza
arts(?:_assistent)?
(?:behandelend|aanvragend|verwijzend|beoordelend|verslaggevend)_(?:arts|radioloog|specialist)
(?:hoofd)?behandelaar radioloog verslaglegger handtekening
medico(?:_(?:radiologo|refertante|richiedente|curante|prescrittore|proponente|di_base|esecutore
|specialista|inviante))? (?:il_)?(?:radiologo|dirigente_medico|medico_radiologo) medico
tecnico(?:_di_radiologia)? referente firma(?:_del_medico)?
médic[oa](?:_(?:radiologista|solicitante|assistente|responsável|executante|executor|laudador
|requisitante|revisor))? médico_que_(?:laudou|solicitou) técnic[oa](?:_responsável)? laudado
assinado(?:_por)? solicitante
medic(?:_(?:radiolog|curant|trimițător|șef|primar|specialist|imagist))? medicul semnătura doctor
semnat întocmit(?:_de)? validat(?:_de)?
(?:leletező_|beutaló_|kezelő_|vizsgáló_|validáló_|lelet(?:et)?_)?(?:orvos|főorvos|szakorvos
|radiológus|asszisztens|háziorvos)(?:_neve)? leletezte leletező validálta beutaló(?:_orvos)?
aláírás
liječnik(?:_radiolog)? liječnica radiolog(?:ica)? nadležni_liječnik lekar_radiolog lekar
zdravnik(?:_radiolog)? zdravnica potpis specijalista
lékař(?:ka)?(?:_radiolog)?
(?:ošetřující|indikující|popisující|hodnotící|žádající|odesílající)_(?:lékař|lekár)(?:ka)?
lekár(?:ka)? radiológ popisoval(?:a)? popsal(?:a)? odečetl(?:a)? vyšetřil(?:a)? vyšetril(?:a)?
ιατρός γιατρός θεράπων(?:_ιατρός)? (?:παραπέμπων|αιτών|επιβλέπων)_ιατρός ακτινολόγος
ακτινοδιαγνώστης ο_(?:ιατρός|ακτινολόγος) υπογραφή
dokter(?:_(?:pengirim|radiologi|spesialis|penanggung_jawab|yang_merawat))? dokter_sp\\.?_?rad
doktor(?:_perujuk)? pakar_radiologi radiografer pengirim
bác_sĩ(?:_(?:chỉ_định|đọc(?:_kết_quả)?|điều_trị|chuyên_khoa|thực_hiện|CĐHA))?
bs\\.?(?:_(?:chỉ_định|đọc(?:_kết_quả)?))? người_(?:đọc|thực_hiện|chỉ_định|ký) kỹ_thuật_viên ktv
arst(?:_radioloog)? radioloog saatev_arst gydytojas(?:_radiologas)? gydytoja(?:_radiologė)?
ārsts(?:_radiologs)? ārste nosūtītājs metge(?:_(?:radiòleg|sol·licitant))? radiòleg mediku(?:a)?
mjeku radiologu shifokor
läkare läkarens_namn lege lege(?:ns)?_navn læge rekvirerende_lege röntgenläkare radiograf
(?:ال)?طبيب(?:ة)?(?:_(?:المعالج|المحول|الأشعة|المقيم|المرسل|المسؤول))?
(?:ال)?(?:دكتور|استشاري|أخصائي)(?:ة)?(?:_الأشعة)? (?:ال)?توقيع كتب_التقرير اسم_الطبيب
پزشک(?:_(?:معالج|ارجاع_دهنده|رادیولوژیست|متخصص))? رادیولوژیست دکتر امضا(?:ء)? ڈاکٹر
(?:ה)?רופא(?:ה)?(?:_(?:מפנה|מטפל|מפענח|בכיר|רדיולוג))?(?:ת)? שם_הרופא (?:ה)?רדיולוג(?:ית)? חתימה
מפענח פוענח_על_ידי (?:פוענח|סוכם|נבדק|אושר|נכתב|נחתם)_(?:ע["״”'׳]י|על_ידי) חתום טכנאי
चिकित्सक(?:_का_नाम)? डॉक्टर(?:_का_नाम)? रेडियोलॉजिस्ट हस्ताक्षर रेफर(?:िंग)?_डॉक्टर ডাক্তার
চিকিৎসক মருத்துவர் மருத்துவர்
(?:รังสี)?แพทย์(?:ผู้(?:รายงาน|ส่งตรวจ|อ่าน(?:ผล)?|ตรวจ|รักษา|แปลผล))?
รังสีแพทย์ ผู้รายงาน
ผู้อ่านผล ลงชื่อ ลายเซ็น นักรังสี(?:การแพทย์)?
reporting_(?:md|dr|doctor) reading_(?:md|dr) referring_(?:md|dr)
"""
_BORN = """
дата_рождения год_рождения д\\.?_?р\\.? дата_народження рік_народження дата_на_раждане
датум_рођења датум_на_раѓање
data_(?:i_miejsce_)?urodzenia (?:data_)?ur\\. rok_urodzenia doğum_(?:tarihi|yılı|yeri_ve_tarihi)
d\\.?_?tarihi d\\.?_?t\\.?
geboortedatum geb\\.?_?datum geboren(?:_op)? data_(?:de_)?nascimento data_nasc\\.? dn
d\\.?_?n\\.? nascid[oa]_(?:em|a) ano_de_nascimento
data_(?:e_luogo_)?di_nascita nat[oa](?:_il)? data_nascita data_na(?:ș|ş|s)terii
născut(?:ă)?(?:_la)?
születési_(?:idő|dátum|év|ideje|hely_és_idő|hely,?_idő) szül\\.?(?:_(?:idő|dátum|ideje))?
született
datum_(?:rođenja|narození|narodenia|rojstva) rođen(?:a)? nar\\. narozen(?:a)? dátum_narodenia
rok_narození
ημερομηνία_γέννησης ημ(?:\\.|/νία)_?γέννησης έτος_γέννησης γεννήθηκε
födelse(?:datum|dag|år|tid) född fødsels(?:dato|dag|år|nr) født syntymä(?:aika|päivä|vuosi)
syntynyt
tanggal_lahir tgl\\.?_?lahir tarikh_lahir tempat,?_?(?:/_?)?(?:tanggal|tgl\\.?)_lahir ngày_sinh
năm_sinh ngày,?_tháng,?_năm_sinh
sünniaeg sünnikuupäev gimimo_(?:data|metai) dzimšanas_(?:datums|gads) data_de_naixement
jaiotze_data data_e_lindjes
تاريخ_(?:الميلاد|الولادة) سنة_الميلاد تاریخ_تولد متولد تاریخ_پیدائش
תאריך_ה?לידה ת\\.?_?לידה שנת_לידה जन्म_?तिथि जन्म_(?:की_)?(?:तारीख|दिनांक|वर्ष) জন্ম_?তারিখ
பிறந்த_தேதி
วัน_?(?:เดือน_?ปี_?)?เกิด ว/ด/ป_เกิด ปีเกิด 생년월일 생일 출생일 生年月日 出生日期
"""
_NUMBER = """
id_(?:пациента|pacjenta|paziente|patiënt|paciente|pasien) (?:hasta|dosya)_id
(?:№|номер)_?(?:карты|истории_болезни|исследования|медкарты|пациента|амбулаторной_карты
|паспорта|полиса|протокола|документа)? история_болезни_№? и\\.?_?б\\.?_№? снилс полис паспорт
(?:№|номер)_(?:картки|історії_хвороби) егн эпикриз_№
(?:nr|numer)_(?:pacjenta|historii_choroby|badania|księgi_(?:głównej)?|pesel|zlecenia|kartoteki
|dokumentu) pesel
(?:protokol|dosya|hasta|kimlik|tc_kimlik|arşiv|başvuru|kayıt|t\\.?c\\.?_kimlik)_?(?:no|numarası
|nr) hasta_id
(?:patiënt|dossier|onderzoeks?|order|opname|zis)_?-?_?(?:nummer|nr\\.?|id) bsn polisnummer
(?:nº|n\\.?º|número|num\\.?|registro|registo|n°)_?(?:d[oae]_)?(?:processo|utente|paciente
|prontuário|registro|atendimento|exame|cartão|beneficiário|cama|pedido|rg|cpf|ficha|sus)
prontuário atendimento registro matrícula processo(?:_clínico)? cpf
(?:n\\.?|n°|numero|codice|num\\.?)_?(?:di_)?(?:cartella(?:_clinica)?|paziente|esame|nosologico
|pratica|accesso|tessera|accettazione|sanitario|referto|ricovero|id) codice_fiscale nosologico
cartella(?:_clinica)? id_paziente
(?:nr|număr)\\.?_?(?:foaie(?:_de_observație)?|fișă|pacient|dosar|buletin)? cnp
(?:fo|foaie_observație)_nr\\.?
taj(?:_?-?_?szám)?
(?:törzs|azonosító|beteg|napló|kórlap|lelet|személyi_?)_?-?_?(?:szám|azonosító)a? naplószám
beteg_?azonosító
(?:broj|br\\.?)_(?:protokola|kartona|pacijenta|povijesti_bolesti|nalaza|osiguranja) mbo oib jmbg
emšo (?:št\\.?|številka)_(?:kartoteke|zdravstvenega_zavarovanja|napotnice)
(?:číslo)_(?:pacienta|pojištěnce|poistenca|vyšetření|dokladu|chorobopisu|karty) rodné_číslo rč
r\\.?_?č\\.? id_pacienta
αμκα α\\.?_?μ\\.?_?κ\\.?_?α\\.?
αρ(?:ιθμός|\\.)_?(?:μητρώου|φακέλου|ασθενούς|εξέτασης|ταυτότητας) κωδικός_ασθενούς
κωδ\\.?_ασθ\\.?
personnummer personnr pnr fødselsnummer cpr(?:-?_?n(?:umme)?r)? henkilötunnus hetu
remiss(?:id|nr|nummer) undersökningsnummer patient-?id pasient-?id journal(?:nr|nummer)
potilasnumero rekvisisjons(?:nr|nummer)
(?:no(?:mor)?)\\.?_?(?:rm|rekam_medis|register|registrasi|pasien|foto|pendaftaran|ktp|bpjs)? nik
n?ric no\\.?_?k/?p mã_(?:bệnh_nhân|bn|y_tế|số|hồ_sơ|bhyt|phiếu)
số_(?:hồ_sơ|bệnh_án|phiếu|vào_viện|thẻ(?:_bhyt)?|nhập_viện|cccd|cmnd) pid mã_y_tế
isikukood asmens_kodas personas_kods haigusloo_number kortelės_nr
رقم_(?:ال)?(?:ملف|مريض|هوية|سجل|طلب|فحص|بطاقة|دخول|وطني|مدني)(?:_(?:الطبي|الوطني))?
الرقم_(?:الطبي|الوطني|المدني|القومي) شماره_(?:پرونده|بیمار|ملی|پذیرش) کد_(?:ملی|پذیرش|بیمار)
ش\\.?_پرونده
ת\\.?_?ז\\.? ת["״]ז תעודת_זהות מס(?:פר|['׳])_(?:מטופל|זהות|תיק|בדיקה|אשפוז) तहसील_संख्या
(?:रोगी|मरीज|पंजीकरण|आधार|यूएचआईडी)_(?:संख्या|क्रमांक|आईडी|नंबर)
hn h\\.?n\\.? เลขที่(?:ผู้ป่วย|บัตร(?:ประชาชน)?|ตรวจ)?
เลข(?:ประจำตัว)?(?:ผู้ป่วย|ประชาชน)? (?:등록|환자|병록|차트|검사|접수|병원|주민(?:등록)?|입원)_?번호
(?:환자|챠트)_?(?:id|no\\.?)
(?:患者|カルテ|検査|登録|受付|診察券|保険証|依頼|入院)_?(?:番号|no\\.?|ｎｏ|id|ｉｄ)
uhid(?:_no\\.?)? cr_no\\.?
ipd?_?no\\.? opd?_no\\.? empi hospital_no\\.? unit_number nhs
"""
_PLACE = """
адрес(?:_проживания)? место_(?:жительства|работы) проживает адреса(?:_проживання)?
місце_проживання место_рождения
adres(?:_(?:zamieszkania|pacjenta))? miejsce_(?:zamieszkania|urodzenia) zamieszkał[ya] ev_adresi
ikametgah (?:doğum|ikamet)_yeri
woonplaats straat postcode(?:_en_plaats)? geboorteplaats endereço morada residência
residente_(?:em|a|in) naturalidade localidade bairro município
indirizzo residenza domicilio luogo_di_nascita adres[aă] domiciliul? localitate(?:a)?
locul_nașterii
lakcím(?:e)? lakhely(?:e)? születési_hely adresa(?:_(?:stanovanja|bydliště))? prebivalište
mjesto_(?:rođenja|stanovanja) bydliště trvalé_bydliště místo_narození bydlisko
διεύθυνση(?:_κατοικίας)? κατοικία τόπος_γέννησης adress bostad postadress hemadress adresse
bopel bosted (?:koti)?osoite kotipaikka
alamat(?:_(?:rumah|pasien|lengkap))? địa_chỉ(?:_(?:thường_trú|liên_hệ))? nơi_(?:ở|sinh|cư_trú)
aadress elukoht adresas gyvenamoji_vieta adrese dzīvesvieta adreça helbidea
(?:ال)?عنوان(?:_السكن)? (?:محل|مكان)_(?:الاقامة|الإقامة|السكن|الميلاد|الولادة) آدرس نشانی پتہ
כתובת(?:_מגורים)? עיר מקום_לידה
पता निवास ঠিকানা முகவரி ที่อยู่ 주소 거주지 住所 現住所 ご住所 連絡先住所
"""
_CONTACT = """
(?:контактный_)?тел(?:ефон|\\.)? моб\\.?(?:_тел\\.?)? эл\\.?_почта электронная_почта e-?mail
почта тел\\.?_номер
tel(?:efon|efonu|\\.)? (?:nr|numer)_tel(?:efonu|\\.)? komórka telefon_no cep(?:_tel(?:efonu)?)?
gsm telefoon(?:nummer)? mobiel gsm-nummer e-posta poczta
telefone telemóvel celular contato contacto telefono cellulare recapito(?:_telefonico)?
posta_elettronica telefonszám mobil(?:szám)? mobitel broj_telefona telefonní_číslo
telefónne_číslo
τηλ(?:έφωνο|\\.)? κινητό telefonnummer mobilnummer mobiltelefon puhelin(?:numero)? matkapuhelin
sähköposti telepon no\\.?_?(?:telp|hp|telepon|telefon)\\.? số_điện_thoại điện_thoại đt sđt
di_động
tālrunis telefonas telefoni telèfon
(?:رقم_)?(?:ال)?(?:هاتف|جوال|موبايل|تليفون)(?:_الجوال)? (?:شماره_)?(?:تلفن|تماس|موبایل|همراه)
فون טלפון נייד טל['׳]? फ़?ोन(?:_नंबर)? फ़?ोन दूरभाष मोबाइल(?:_नंबर)? ফোন மொபைல்
โทร(?:ศัพท์)?\\.? เบอร์โทร(?:ศัพท์)? (?:휴대)?전화(?:번호)? 연락처
핸드폰 電話(?:番号)? 携帯(?:電話|番号)? 連絡先
"""


def _any(words: str) -> str:
    """One pattern of all words, the longest first, with or without their accents."""
    patterns = (word.replace("_", r"[ \u00a0]?") for word in words.replace("\n|", "|").split())
    return "|".join(map(_unmarked, sorted(patterns, key=len, reverse=True)))


def _unmarked(word: str) -> str:
    """Capitals often go without the marks that small letters have: ΑΣΘΕΝΗΣ, ENDERECO."""
    made, within = "", False
    for letter in word:
        within = letter == "[" or (within and letter != "]")
        base = unicodedata.normalize("NFD", letter)[0]
        made += letter if within or base == letter or letter >= "\u0500" else f"[{letter}{base}]"

    return made


_GAP = r"[ \t\u3000\u00a0]{0,3}"
_START = r"(?<![\w-])"
_COLON = rf"{_GAP}[:：]{_GAP}"
LONGEST = 100
"""Letters of a label at most."""


class Labelled:
    """A pattern that begins with a label: only places before colons are tried.

    There are hundreds of labels and few colons; what stood before a colon once stands there in the
    next reports as well.

    Args:
        label: the label alone, which holds no end of one and no line end.
        end: what ends a label, such as a colon with the blanks around it.
        value: what follows.
        flags: of the patterns.

    Example:
        >>> said = Labelled("name|first name", "[:]")
        >>> said.sub("_", "First name: Jo, name. Name: Roe")
        '_ Jo, name. _ Roe'
    """

    def __init__(
        self, label: str, end: str, value: str = "", flags: re.RegexFlag = re.IGNORECASE
    ) -> None:
        self._whole = re.compile(rf"{_START}(?:{label})(?:{end}){value}", flags)
        self._label = re.compile(label, flags)
        self._end = re.compile(end, flags)
        self._places = lru_cache(4096)(self._found)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches, as those of a pattern."""
        done = 0
        for end in self._end.finditer(text):
            before = text[max(0, end.start() - LONGEST) : end.start()].rpartition("\n")[2]
            for behind in self._places(before):
                place = end.start() - behind
                found = self._whole.match(text, place) if place >= done else None
                if found:
                    yield found
                    done = found.end()
                    break

    def sub(self, by: str, text: str) -> str:
        """The text with all matches replaced."""
        made, start = [], 0
        for found in self.finditer(text):
            made += [text[start : found.start()], by]
            start = found.end()

        return "".join((*made, text[start:]))

    def _found(self, before: str) -> tuple[int, ...]:
        """How far before a colon a label begins: the longest first."""
        starts = (found.start() for found in _WORD_START.finditer(before))
        return tuple(len(before) - n for n in starts if self._label.fullmatch(before, n))


_WORD_START = re.compile(rf"{_START}\S")
BORN = _any(_BORN)
"""Labels of a birthday."""
NAMED = Labelled(f"{_any(_NAME)}|{_any(_STAFF)}", _COLON)
"""Before the name of a person and nothing else."""
PATIENT = Labelled(_any(_PATIENT), _COLON)
"""Before the patient's name, or before a sentence about the patient."""
_WIDE = r"\u0590-\u0fff\u2e80-\u9fff\uac00-\ud7a3"
"""Letters without capitals."""
_NEXT = rf"(?!\s[^\W\d_][^\s:：]{{1,20}}(?:\s[^\W\d_][^\s:：]{{1,20}})?{_GAP}[:：])"
"""Where the label of the next field begins."""
_LAST = rf"{_GAP}[.,;|。،؛।]?(?=\s|$){_GAP}"
VALUES = (
    Labelled(
        BORN,
        _COLON,
        r"(?:(?:令和|平成|昭和|大正|明治|[RHSTM]\.?)\s?(?:元|\d{1,2})\s?[年./-]\s?\d{1,2}"
        r"\s?[月./-]\s?\d{1,2}日?|(?:[^\W\d_]{2,20},\s)?\d{1,4}"
        r"(?:[ ]?[./-][ ]?\d{1,2}[ ]?[./-][ ]?\d{1,4}|[ ][^\W\d_]{3,12}[ ]\d{4})?"
        r"(?:[ ]?(?:г|р|r|г\.р|god|år|년|年[\d ]{1,3}月[\d ]{1,3}日)\.?)?)?" + _LAST,
    ),
    Labelled(
        rf"(?:{_any(_NUMBER)})\.?",
        _COLON,
        r"(?:(?=[^\W\d_]{0,6}(?:[-/. ]?\d){3})"
        r"[^\W\d_]{0,6}[-/ ]?\d(?:[\w./-]{0,60}\w)?(?:[ ]\d{3,6}){0,3}|-)" + _LAST,
    ),
    Labelled(
        rf"(?:{_any(_CONTACT)})\.?",
        _COLON,
        r"(?:[+\d(][\d ()/.+-]{0,60}\d|\d{1,60}|\S{1,64}@\S{1,99}\w)" + _LAST,
    ),
    Labelled(
        _any(_PLACE),
        _COLON,
        rf"(?:{_NEXT}(?!(?:(?<=\w{{4}})|(?<=___)|(?<=\d)|(?<=[{_WIDE}]))[.](?:\s|$)|[;。।])[^\n])"
        rf"{{0,200}}[.;。।]?{_GAP}",
    ),
)
"""Whole fields: a birthday, a number, a way to reach somebody, a place."""

WHO = re.compile(
    "|".join(map(_any, (_PATIENT, _NAME, _STAFF, _BORN, _NUMBER, _PLACE, _CONTACT))), re.IGNORECASE
)
"""A whole label of one of these fields."""

_UNCASED = (
    r"\u0590-\u05ff\u0620-\u065f\u066e-\u06d3\u06d5-\u06ff"
    r"\u0750-\u077f\ufb1d-\ufdff\ufe70-\ufefc"
    r"\u0900-\u0963\u0966-\u0dff\u0e00-\u0eff\u1000-\u109f\u10d0-\u10ff\u1200-\u137f\u1780-\u17ff"
)
"""Letters of Hebrew, Arabic, India, Thai, Lao, Burmese, Georgian, Ethiopic and Khmer."""
_UNCASED_WORD = (
    r"(?:(?:د|أ|أ\.د|د\.د|ا|פרופ|डॉ|डा|นพ|พญ|ดร|ทพ)\.|ד[\"״]ר"
    rf"|[{_UNCASED}'’\u05f3\u05f4\u200c\u200d]{{1,40}}(?![{_UNCASED}]))"
)
_NOBODY = (
    r"(?:رجل|امرأة|سيدة|ذكر|أنثى|طفلة?|مرد|زن|آقا|خانم"
    r"|גבר|אישה|ילדה?|पुरुष|महिला|बच्चा|ชาย|หญิง|อายุ)"
)
"""A man, a woman: what begins a sentence about the patient."""
_UNCASED_NAME = re.compile(
    rf"(?!{_NOBODY}(?![{_UNCASED}]))"
    r"(?:(?:นพ|พญ|ทพ|ดร|ผศ|รศ|د|أ\.د)\. ?)?"
    rf"(?:(?:{_UNCASED_WORD}[ \u00a0/-]{{1,2}}){{0,5}}(?:{_UNCASED_WORD})"
    rf"(?={_GAP}(?:[.,;|。،؛।()\n]|$|\d))"
    rf"|{_UNCASED_WORD}(?:[ \u00a0]{_UNCASED_WORD})?)(?<![.।])"
)


def uncased(text: str, start: int) -> int | None:
    """The end of a name in letters without capitals; None: no such letter stands there.

    It goes to the next sign, or where that is far to the end of two words.

    Example:
        >>> text = "محمد علي. كتلة في الفص"
        >>> text[: uncased(text, 0)]
        'محمد علي'
    """
    found = _UNCASED_NAME.match(text, start)
    return found.end() if found else None
