"""Other people's solvers behind one signature, for comparison only."""
