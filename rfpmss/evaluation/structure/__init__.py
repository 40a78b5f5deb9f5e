"""The structure of the input spaces and of the joint space."""
