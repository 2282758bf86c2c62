"""Parts of screens: a list of rows, the consent card, the status lines, a pane for the words of others."""
