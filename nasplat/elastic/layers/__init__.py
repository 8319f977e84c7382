"""Elastic layers, each with its plain form."""
