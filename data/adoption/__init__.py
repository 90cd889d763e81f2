"""What `make adopt` is made of."""
