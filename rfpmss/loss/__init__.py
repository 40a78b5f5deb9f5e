"""The four losses as pure functions of features and targets."""
