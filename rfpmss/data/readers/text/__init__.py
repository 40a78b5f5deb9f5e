"""Reports and tables to text: documents, encodings, dates."""
