"""Transfers to and from the Hub: repositories, uploads, inspection before an upload, licences and commits."""
