"""Multimodal glioma pretraining that preserves semantic structure (RFPMSS)."""
