"""MLflow's registry and the ledger of every move of its alias."""
