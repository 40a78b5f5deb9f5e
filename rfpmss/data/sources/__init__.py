"""Where studies come from: public collections, a hospital's folder, a DICOMweb server."""
