"""How well the loop decides, measured: policies replayed over worlds of which all is known."""
