"""The network: Medical Image Transformer, text encoder, fusion, decoder, projections, anchors."""
