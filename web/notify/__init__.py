"""Telling people about alerts where they are: webhook, Slack-compatible webhook, mail."""
