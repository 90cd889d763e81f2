"""The default data: the months of CDNOW."""
