"""The figures of the README: ratios within one run, never seconds alone."""
