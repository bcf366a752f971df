"""The report of an audit: one page to read, one file for machines, a table, and what a test runner shows."""
