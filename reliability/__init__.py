"""The proofs of what flowrunner promises under faults: single scenarios (``make faults``) and a soak (``make soak``)."""
