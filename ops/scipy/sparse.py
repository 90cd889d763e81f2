"""What treelite asks of `scipy.sparse`: whether an input is sparse. The server's never is."""


class csr_matrix:  # noqa: N801 - scipy's own name
    """No input is one of these."""
