"""To and from the Hub: repositories and uploads, what an upload may hold, where things come from."""
