"""Names of people and hospitals that no label, title or header tells."""
