package main

import "context"

// configCommand checks a configuration and prints what it comes to.
func configCommand(_ context.Context, args []string, std stdio) error {
	operands, err := parse(newFlags("config"), args)
	if err != nil {
		return err
	}
	if len(operands) == 0 || operands[0] != "check" {
		return usagef("config", "want check")
	}
	if len(operands) > 2 {
		return usagef("config", "want one FILE, %d are given", len(operands)-1)
	}
	file := ""
	if len(operands) == 2 {
		file = operands[1]
	}
	return checkConfig(file, std.out)
}
