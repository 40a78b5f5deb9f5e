"""The report of a generated patient: varied wording, negatives sometimes left out."""

from __future__ import annotations

import numpy as np

from rfpmss.data.phantom.latents import Latents, millimetres

LOCATION = (
    "There is a {mm} mm mass in the {side} {lobe} lobe.",
    "A mass measuring {mm} mm is centred in the {side} {lobe} lobe.",
    "{Side} {lobe} lesion, {mm} mm in maximal diameter.",
)
ENHANCEMENT = {
    "none": ("No contrast enhancement is seen.", "The lesion does not enhance."),
    "patchy": (
        "Patchy enhancement after contrast.",
        "Heterogeneous patchy enhancement is present.",
    ),
    "ring": ("Ring enhancement after contrast.", "Thick rim enhancement is noted."),
}
NECROSIS = {
    True: ("Central necrosis is present.", "A necrotic core is seen."),
    False: ("No necrosis.", "There is no central necrosis."),
}
EDEMA = ("{Edema} surrounding edema.", "Perilesional edema is {edema}.")
HEMORRHAGE = {
    True: ("CT shows hyperdense hemorrhage.", "Hyperdense blood on CT."),
    False: ("No hemorrhage on CT.", ""),
}
CALCIFICATION = {
    True: ("Calcification is present.", "Calcified foci on CT."),
    False: ("No calcification.", ""),
}
DENSITY = ("Pathology: {density} cellularity.", "Sections show {density} cell density.")
PROLIFERATION = {
    True: ("Microvascular proliferation is identified.", "Vessels proliferate."),
    False: ("No microvascular proliferation.", ""),
}
PALISADES = {True: ("Pseudopalisading necrosis.", "Palisading necrosis."), False: ("",)}
GRADE = ("Diffuse glioma, WHO grade {grade}.", "Glioma of WHO grade {grade}.")


def write_report(latents: Latents, rng: np.random.Generator) -> str:
    """Sentences on all findings, each in a wording drawn at random."""
    sentences = (
        LOCATION,
        ENHANCEMENT[latents.enhancement],
        NECROSIS[latents.necrosis],
        EDEMA,
        HEMORRHAGE[latents.hemorrhage],
        CALCIFICATION[latents.calcification],
        DENSITY,
        PROLIFERATION[latents.proliferation],
        PALISADES[latents.necrosis],
        GRADE,
    )
    chosen = [choices[rng.integers(len(choices))] for choices in sentences]
    words = {
        "mm": millimetres(latents.size),
        "side": latents.side,
        "Side": latents.side.capitalize(),
        "lobe": latents.lobe,
        "edema": latents.edema,
        "Edema": latents.edema.capitalize(),
        "density": latents.density,
        "grade": latents.grade,
    }
    return " ".join(sentence.format(**words) for sentence in chosen if sentence)
