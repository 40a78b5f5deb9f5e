"""From files to batches: sources, readers, shards, text, augmentation."""
