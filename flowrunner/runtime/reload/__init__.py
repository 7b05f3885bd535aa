"""From changed files to the next version of a flow, or back."""
