"""Controls of a trained run: what its retrieval needs of the images that it was shown."""
