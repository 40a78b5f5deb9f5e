"""How Newton searches: the columns' dual with the rows eliminated."""
