"""Zero-shot retrieval, with chance and ceiling."""
