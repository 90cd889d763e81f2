"""The server: answers with what the alias `production` names, and knows nothing of MLflow."""
