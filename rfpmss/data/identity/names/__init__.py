"""What the name of one folder or file says: who, when, and what is in it."""
