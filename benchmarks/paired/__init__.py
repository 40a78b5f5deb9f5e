"""Two or more checkouts in turn, a process a round: before and after on the same machine."""
