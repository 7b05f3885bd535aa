"""What is generated from the installed types: JSON Schemas for editors, reference pages for people."""
