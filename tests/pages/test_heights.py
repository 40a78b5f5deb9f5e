"""The viewer on slices of all levels: each under the attention of its own height."""

import numpy as np
import torch

from rfpmss.config import VIEWS, levels, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.phantom import ensure_cohort
from rfpmss.evaluation.attention.maps import enlarge, rollout
from rfpmss.evaluation.attention.slices import levels_of, stack_of
from rfpmss.evaluation.page.pictures import heat_uri
from rfpmss.evaluation.page.write import _environment
from rfpmss.model.rfpmss import RFPMSS


def test_every_stored_slice_has_its_height_and_the_attention_of_that_height(tmp_path):
    preset = levels(smoke())
    sizes = {"train": 1, "test": 1, "views": 5, "mri_shape": (32, 32, 22), "ct_shape": (32, 32, 8)}
    manifest = ensure_cohort(preset.phantom.model_copy(update=sizes), tmp_path, workers=1)
    data = preset.data.model_copy(update={"slices": 2, "resize": 32})
    cohort, tokenizer = Cohort.open(manifest, data), train_tokenizer(["a mass"], 64)
    torch.manual_seed(0)
    model = RFPMSS(preset.model, data, 64).eval()
    torch.nn.init.normal_(model.image.heights)
    place = cohort.places[0][VIEWS.index("mri")]
    stack = stack_of(model, cohort, tokenizer, 0, "mri")
    assert stack.heights == place.heights
    rising = np.argsort(place.heights)
    assert np.array(levels_of(cohort, 0, "mri"))[rising].tolist() == [0, 0, 0, 1, 1]
    whole = Cohort(
        *(cohort.studies, cohort.places, data.model_copy(update={"slices": 5, "order": "best"})),
        cohort.records,
    )
    images = whole.batch([0], tokenizer, augment=None).images[1][0]
    for number, level in enumerate(levels_of(cohort, 0, "mri")):
        pair = [torch.zeros(1, 2, c, 32, 32) for c in (3, 4, 3)]
        pair[1][0, level] = images[number]  # the k-th of two slices enters at the k-th height
        with torch.no_grad():
            maps = model.attention(tuple(pair), torch.ones(1, 4, dtype=torch.bool))[1][:, 0]
        assert stack.marks[number].heat == heat_uri(enlarge(rollout(maps), 32)[level])
    macros = _environment().get_template("macros.html").module
    shown = str(macros.channel(stack, 1, "somebody", "s1"))
    for number, height in enumerate(place.heights, start=1):
        assert f"image {number} of 5, {height:+.0f} mm</figcaption>" in shown
