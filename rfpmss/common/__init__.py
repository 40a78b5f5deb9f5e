"""What every command uses: whole files, errors as sentences, ranks, progress."""
