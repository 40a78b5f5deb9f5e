"""The generated cohort: latent findings, real files, and what each modality shows."""

from rfpmss.data.phantom.cohort import cache_dir, ensure_cohort
from rfpmss.data.phantom.latents import VISIBLE, Latents, draw, visible

__all__ = ["VISIBLE", "Latents", "cache_dir", "draw", "ensure_cohort", "visible"]
