"""Where the image encoder looks, against reference boxes."""
