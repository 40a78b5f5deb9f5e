"""The report of a generated patient: varied wording, negatives sometimes left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rfpmss.data.phantom.latents import Latents, millimetres

Choices = tuple[str, ...]
"""Sentences that say the same."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """All sentences of a language; an empty one is a finding left out."""

    location: Choices
    enhancement: Mapping[str, Choices]
    necrosis: Mapping[bool, Choices]
    edema: Choices
    hemorrhage: Mapping[bool, Choices]
    calcification: Mapping[bool, Choices]
    density: Choices
    proliferation: Mapping[bool, Choices]
    palisades: Mapping[bool, Choices]
    grade: Choices
    words: Mapping[str, str]
    """Values of findings; one that is not here stands as it is."""
    space: str
    """Between sentences."""


ENGLISH = Wording(
    location=(
        "There is a {mm} mm mass in the {side} {lobe} lobe.",
        "A mass measuring {mm} mm is centred in the {side} {lobe} lobe.",
        "{Side} {lobe} lesion, {mm} mm in maximal diameter.",
    ),
    enhancement={
        "none": ("No contrast enhancement is seen.", "The lesion does not enhance."),
        "patchy": (
            "Patchy enhancement after contrast.",
            "Heterogeneous patchy enhancement is present.",
        ),
        "ring": ("Ring enhancement after contrast.", "Thick rim enhancement is noted."),
    },
    necrosis={
        True: ("Central necrosis is present.", "A necrotic core is seen."),
        False: ("No necrosis.", "There is no central necrosis."),
    },
    edema=("{Edema} surrounding edema.", "Perilesional edema is {edema}."),
    hemorrhage={
        True: ("CT shows hyperdense hemorrhage.", "Hyperdense blood on CT."),
        False: ("No hemorrhage on CT.", ""),
    },
    calcification={
        True: ("Calcification is present.", "Calcified foci on CT."),
        False: ("No calcification.", ""),
    },
    density=("Pathology: {density} cellularity.", "Sections show {density} cell density."),
    proliferation={
        True: ("Microvascular proliferation is identified.", "Vessels proliferate."),
        False: ("No microvascular proliferation.", ""),
    },
    palisades={True: ("Pseudopalisading necrosis.", "Palisading necrosis."), False: ("",)},
    grade=("Diffuse glioma, WHO grade {grade}.", "Glioma of WHO grade {grade}."),
    words={},
    space=" ",
)
CHINESE = Wording(
    location=(
        "{side}侧{lobe}叶见大小约{mm} mm肿块。",
        "{side}{lobe}叶占位，最大径{mm} mm。",
        "肿块位于{side}侧{lobe}叶，直径{mm} mm。",
    ),
    enhancement={
        "none": ("增强扫描未见强化。", "病灶无强化。"),
        "patchy": ("增强后呈斑片状强化。", "可见不均匀斑片状强化。"),
        "ring": ("增强后呈环形强化。", "可见厚壁环形强化。"),
    },
    necrosis={True: ("中央见坏死。", "可见坏死核心。"), False: ("未见坏死。", "中央无坏死。")},
    edema=("周围{edema}水肿。", "瘤周水肿{edema}。"),
    hemorrhage={True: ("CT示高密度出血。", "CT见高密度积血。"), False: ("CT未见出血。", "")},
    calcification={True: ("可见钙化。", "CT见钙化灶。"), False: ("未见钙化。", "")},
    density=("病理：细胞密度{density}。", "切片示细胞密度{density}。"),
    proliferation={True: ("可见微血管增生。", "血管增生明显。"), False: ("未见微血管增生。", "")},
    palisades={True: ("假栅栏状坏死。", "栅栏状坏死。"), False: ("",)},
    grade=("弥漫性胶质瘤，WHO {grade}级。", "胶质瘤，WHO分级{grade}级。"),
    words={
        **{"left": "左", "right": "右"},
        **{"frontal": "额", "parietal": "顶", "temporal": "颞", "occipital": "枕"},
        **{"mild": "轻度", "moderate": "中度", "marked": "重度"},
        **{"low": "低", "high": "高"},
    },
    space="",
)
LANGUAGES = {"english": ENGLISH, "chinese": CHINESE}
"""By the name that the configuration has."""


def write_report(latents: Latents, rng: np.random.Generator, language: str = "english") -> str:
    """Sentences on all findings, each in a wording drawn at random."""
    wording = LANGUAGES[language]
    sentences = (
        wording.location,
        wording.enhancement[latents.enhancement],
        wording.necrosis[latents.necrosis],
        wording.edema,
        wording.hemorrhage[latents.hemorrhage],
        wording.calcification[latents.calcification],
        wording.density,
        wording.proliferation[latents.proliferation],
        wording.palisades[latents.necrosis],
        wording.grade,
    )
    chosen = [choices[rng.integers(len(choices))] for choices in sentences]
    values = {
        name: wording.words.get(str(value), str(value))
        for name, value in (
            *latents.as_dict().items(),
            *(("Side", latents.side.capitalize()), ("Edema", latents.edema.capitalize())),
            ("mm", millimetres(latents.size)),
        )
    }

    return wording.space.join(sentence.format(**values) for sentence in chosen if sentence)
