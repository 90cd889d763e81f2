"""What data/simulate.py is made of."""
