"""How hospitals write: order of sections, headings, spelling, abbreviations, fixed sentences.

The readers of `rfpmss.evaluation.writing.findings` must find nothing but the findings: no sentence
here that is not about the tumour has a side, a lobe, a length or a name of a finding, and none at
all has a word of `rfpmss.data.phantom.untold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rfpmss.data.phantom.text import CHINESE, ENGLISH, Choices, Wording

Section = Literal["clinical", "technique", "findings", "pathology", "impression", "closing"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one hospital writes in one language."""

    order: tuple[Section, ...]
    headings: Mapping[Section, str]
    """One that is not here has none."""
    technique: Choices
    """Whole paragraphs, word for word the same in many reports."""
    closing: Choices
    words: tuple[tuple[str, str], ...] = ()
    """Abbreviations and spelling: whole words and what stands for them."""
    normal_first: bool = False
    """Normal findings before the tumour."""
    centimetres: bool = False
    roman: bool = False
    """The grade in Roman numerals."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """All sentences of a language, and the hospitals that write it."""

    wording: Wording
    """Sentences on findings; the location says the size."""
    unsized: Choices
    """The location without a size."""
    sexes: tuple[str, str]
    complaints: Choices
    clinical: Choices
    normal: Choices
    """In the order in which they are written."""
    material: Choices
    """How the tissue was prepared."""
    impression: Choices
    advice: Choices
    styles: Mapping[str, Style]
    """By the name of the hospital."""


AWAY = "E"
"""The hospital that writes for `rfpmss.config.PhantomConfig.hospital` of ``other``."""

_UPPER: dict[Section, str] = {
    **{"clinical": "CLINICAL INFORMATION:", "technique": "TECHNIQUE:", "findings": "FINDINGS:"},
    **{"pathology": "PATHOLOGY:", "impression": "IMPRESSION:"},
}

LONG_ENGLISH = Language(
    wording=ENGLISH,
    unsized=(
        "There is a mass in the {side} {lobe} lobe.",
        "A mass is centred in the {side} {lobe} lobe.",
        "{Side} {lobe} lobe lesion.",
    ),
    sexes=("woman", "man"),
    complaints=(
        "a first seizure",
        "progressive headache",
        "word-finding difficulty",
        "a change of personality",
        "unsteady gait",
        "visual disturbance",
        "nausea in the morning",
    ),
    clinical=(
        "{age}-year-old {sex} with {complaint}, referred before surgery.",
        "{age} year old {sex}, {complaint}. Suspected brain tumour.",
        "{sex} aged {age} presenting with {complaint} for several weeks.",
    ),
    normal=(
        "The ventricles and basal cisterns are normal in size and configuration.",
        "Midline structures are in their usual position.",
        "Cortical sulci are normal for age.",
        "The deep grey nuclei are symmetric.",
        "The corpus callosum is of normal thickness.",
        "The hippocampi are symmetric in volume.",
        "The brainstem and cerebellum are unremarkable.",
        "The fourth ventricle is not dilated.",
        "The cerebellar tonsils lie above the foramen magnum.",
        "No second lesion is identified elsewhere in the brain.",
        "No extra-axial collection is seen.",
        "The sella and the pituitary gland are unremarkable.",
        "The pineal region is unremarkable.",
        "Major arterial flow voids are preserved.",
        "The dural venous sinuses are patent.",
        "The orbits and optic nerves are unremarkable.",
        "The paranasal sinuses are well aerated.",
        "The mastoid air cells are clear.",
        "The calvarium and skull base are intact.",
        "The craniocervical junction is unremarkable.",
        "The soft tissues of the scalp are normal.",
    ),
    material=(
        "Formalin-fixed, paraffin-embedded tissue, stained with haematoxylin and eosin.",
        "Received are several fragments of tan tissue, embedded in full.",
        "Stereotactic biopsy, routine stains on serial sections.",
    ),
    impression=(
        "{Side} {lobe} lobe mass consistent with diffuse glioma, WHO grade {grade}.",
        "Glioma of the {side} {lobe} lobe, WHO grade {grade}.",
        "Findings are in keeping with a diffuse glioma of WHO grade {grade}, {side} {lobe} lobe.",
    ),
    advice=(
        "Discussion in the neuro-oncology board is recommended.",
        "Correlation with molecular markers is advised.",
        "Follow-up imaging after treatment is suggested.",
    ),
    styles={
        "A": Style(
            order=("clinical", "technique", "findings", "pathology", "impression", "closing"),
            headings=_UPPER,
            technique=(
                "Multiplanar MRI of the brain was performed before and after intravenous "
                "gadolinium. Unenhanced CT of the head was obtained with bone and soft tissue "
                "reconstructions.",
                "MRI of the brain with T1, T2 and FLAIR sequences and post-gadolinium T1. "
                "Comparison is made with CT of the head of the same admission.",
            ),
            closing=("Report electronically signed by the attending radiologist.",),
        ),
        "B": Style(
            order=("impression", "clinical", "findings", "pathology", "technique", "closing"),
            headings={
                **{"impression": "Conclusion", "clinical": "Hx", "findings": "Imaging"},
                **{"pathology": "Histology", "technique": "Protocol"},
            },
            technique=(
                "3T MRI brain: T1, T2, FLAIR, T1 post Gd. CT head w/o contrast on the day of "
                "admission.",
                "1.5T MRI brain: T1, T2, FLAIR, T1 post Gd. Low dose CT head w/o contrast.",
            ),
            closing=("D/w referring team by phone.", "Results conveyed to the ward by phone."),
            words=(
                *(("unremarkable", "unrem"), ("and", "&"), ("without", "w/o"), ("with", "w/")),
                *(("normal", "nl"), ("after contrast", "post Gd")),
                *(("There is a", "A"), ("is present", "present"), ("is seen", "seen")),
            ),
        ),
        "C": Style(
            order=("technique", "findings", "impression", "pathology", "clinical"),
            headings={
                **{"clinical": "Indication.", "technique": "Examination.", "findings": "Report."},
                **{"pathology": "Neuropathology.", "impression": "Opinion."},
            },
            technique=(
                "MR imaging of the head comprising axial T1, T2 and FLAIR sequences, repeated "
                "following gadolinium, together with a plain CT scan of the head.",
                "Axial, coronal and sagittal MR sequences of the head, with and without "
                "gadolinium; CT was available for comparison.",
            ),
            closing=(),
            words=(
                *(("edema", "oedema"), ("Edema", "Oedema"), ("hemorrhage", "haemorrhage")),
                *(("mass", "space-occupying lesion"), ("gadolinium", "gadolinium DTPA")),
            ),
            normal_first=True,
            centimetres=True,
        ),
        "D": Style(
            order=("clinical", "findings", "technique", "pathology", "impression", "closing"),
            headings={"pathology": "Histopathological examination -", "impression": "Diagnosis -"},
            technique=(
                "The examination followed the institutional tumour protocol with volumetric "
                "acquisition; images were reviewed on a dedicated workstation.",
                "The examination followed the institutional tumour protocol; motion artefacts "
                "are minor and do not limit interpretation.",
            ),
            closing=(
                "This report was dictated with speech recognition and may contain errors of "
                "transcription.",
            ),
            roman=True,
            normal_first=True,
        ),
        AWAY: Style(
            order=("clinical", "impression", "pathology", "technique", "findings"),
            headings={
                **{"clinical": "1. Reason for request:", "impression": "2. Summary:"},
                **{"pathology": "3. Tissue:", "technique": "4. Method:", "findings": "5. Details:"},
            },
            technique=(
                "Head MRI with four sequences and head CT, both read by two observers in "
                "consensus. Doses are documented in the information system.",
                "Head MRI with four sequences and head CT. Previous examinations are not "
                "available for comparison.",
            ),
            closing=(),
            words=(("lesion", "focus"), ("unremarkable", "without finding")),
            centimetres=True,
            roman=True,
        ),
    },
)

_CHINESE: dict[Section, str] = {
    **{"clinical": "临床资料：", "technique": "检查方法：", "findings": "影像所见："},
    **{"pathology": "病理所见：", "impression": "诊断意见："},
}

LONG_CHINESE = Language(
    wording=CHINESE,
    unsized=("{side}侧{lobe}叶见肿块。", "{side}{lobe}叶占位。", "肿块位于{side}侧{lobe}叶。"),
    sexes=("女", "男"),
    complaints=("首次癫痫发作", "进行性头痛", "言语困难", "性格改变", "步态不稳", "晨起恶心"),
    clinical=(
        "患者{sex}，{age}岁，因{complaint}入院。",
        "{sex}，{age}岁，{complaint}数周，拟行手术。",
    ),
    normal=(
        "脑室及脑池大小形态正常。",
        "中线结构居中。",
        "脑沟与年龄相符。",
        "深部灰质核团对称。",
        "胼胝体厚度正常。",
        "海马体积对称。",
        "脑干及小脑未见异常。",
        "第四脑室不扩大。",
        "小脑扁桃体位置正常。",
        "脑内未见其他病变。",
        "未见硬膜外及硬膜下积液。",
        "蝶鞍及垂体未见异常。",
        "松果体区未见异常。",
        "主要血管流空信号存在。",
        "静脉窦通畅。",
        "眼眶及视神经未见异常。",
        "鼻窦气化良好。",
        "乳突气房清晰。",
        "颅骨及颅底完整。",
        "颅颈交界区未见异常。",
        "头皮软组织未见异常。",
    ),
    material=("组织经福尔马林固定、石蜡包埋。", "送检灰白组织数块，全部取材。"),
    impression=(
        "{side}{lobe}叶胶质瘤，WHO {grade}级。",
        "{side}侧{lobe}叶占位，符合弥漫性胶质瘤，WHO {grade}级。",
    ),
    advice=("建议多学科讨论。", "建议结合分子检测。", "建议治疗后复查。"),
    styles={
        "A": Style(
            order=("clinical", "technique", "findings", "pathology", "impression", "closing"),
            headings=_CHINESE,
            technique=("头颅磁共振平扫及静脉注射钆剂后扫描，并行头颅CT平扫，骨窗及软组织窗重建。",),
            closing=("本报告由主治医师审核签发。",),
        ),
        "B": Style(
            order=("impression", "clinical", "findings", "pathology", "technique"),
            headings={"impression": "结论：", "findings": "所见：", "technique": "序列："},
            technique=("3T磁共振：T1、T2、FLAIR及钆剂后T1；CT平扫。",),
            closing=(),
            words=(("未见异常", "（-）"), ("正常", "nl")),
        ),
        "C": Style(
            order=("technique", "findings", "impression", "pathology", "clinical"),
            headings={"findings": "【所见】", "impression": "【印象】", "pathology": "【病理】"},
            technique=(
                "行头部磁共振横断位、冠状位及矢状位扫描，注射对比剂后重复，另有CT平扫对照。",
            ),
            closing=(),
            normal_first=True,
            centimetres=True,
        ),
        "D": Style(
            order=("clinical", "findings", "technique", "pathology", "impression", "closing"),
            headings={"pathology": "组织学检查：", "impression": "诊断："},
            technique=("按本院肿瘤方案扫描，图像于专用工作站阅片，轻微运动伪影不影响判读。",),
            closing=("本报告仅供临床医师参考。",),
            normal_first=True,
        ),
        AWAY: Style(
            order=("clinical", "impression", "pathology", "technique", "findings"),
            headings={
                "clinical": "一、申请：",
                "impression": "二、小结：",
                "findings": "三、详述：",
            },
            technique=("头部磁共振四序列及CT，由两名医师共同阅片，剂量记录于信息系统。",),
            closing=(),
            words=(("肿块", "病灶"),),
            centimetres=True,
        ),
    },
)

LONG = {"english": LONG_ENGLISH, "chinese": LONG_CHINESE}
"""By the name that the configuration has."""
