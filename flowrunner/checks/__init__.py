"""What `flowrunner doctor` looks at: the machine, the state directory, flows and their connections."""
