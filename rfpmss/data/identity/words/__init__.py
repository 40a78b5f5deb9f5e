"""What the words in names of folders and files say: contents, marks, series, times."""
