"""What multisk warns of, told apart from what the libraries below it say."""


class MultiskWarning(UserWarning):
    """Results are right, but slower or less exact than they could be; the text says the cure."""
