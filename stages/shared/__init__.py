"""What more than one stage needs: each module is named for what it holds."""
