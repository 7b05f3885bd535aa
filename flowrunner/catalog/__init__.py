"""The catalog of revisions: which version of a flow was applied, refused or rolled back, when, and why.

It is told, and never asked, by what runs: it has a thread of its own, and a database that is down only delays it.
"""
