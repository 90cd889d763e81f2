"""The page: which model is in production, why, and what changed. Facts in, one HTML file out."""
