"""Building and checking a release; docs/release.md describes the steps."""
