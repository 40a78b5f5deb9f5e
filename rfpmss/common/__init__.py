"""What every command uses: whole files, errors as sentences, text that is checked first."""
