"""The six stages of the pipeline, one file each, wired together in dvc.yaml alone."""
