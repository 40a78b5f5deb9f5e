"""The scores read by plain torch, tile by tile, on any device."""
