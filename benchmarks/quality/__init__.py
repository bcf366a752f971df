"""How good the maps are, by a protocol of published measures: docs/quality.md."""
