"""Which folders of a source are people, and which are time points: read off all paths at once."""
