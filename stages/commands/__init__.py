"""What people type beside the stages: each module is one `make` target."""
