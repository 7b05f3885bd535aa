"""From YAML files to checked options: documents with positions, variables, models."""
