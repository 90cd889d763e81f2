"""In the server's image, in place of scipy (113 MB), of which treelite imports one name."""
