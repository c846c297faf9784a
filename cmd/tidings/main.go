// Command tidings is the server and its command line. It is the only place that knows every part of the program.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once. What was acknowledged is as safe as after a crash.
	context.AfterFunc(ctx, stop)
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}

// command is one verb of the command line. Its run gets the arguments behind the verb; an error of type usageError means
// that they were wrong.
type command struct {
	name  string
	usage string
	run   func(ctx context.Context, args []string, std stdio) error
}

// stdio is where a command reads and writes. Results go to out and everything else, such as notices, to err.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// commands are the verbs, in the order in which the overview shows them.
var commands = []command{
	{"serve", serveUsage, func(ctx context.Context, args []string, std stdio) error {
		return serve(ctx, args, std.out, std.err)
	}},
	{"tail", tailUsage, tail},
	{"diff", diffUsage, diff},
	{"publish", publishUsage, publish},
	{"poll", pollUsage, pollCommand},
	{"topics", topicsUsage, topics},
	{"status", statusUsage, status},
	{"token", tokenUsage, token},
	{"user", userUsage, user},
	{"config", configUsage, configCommand},
	{"version", versionUsage, version},
}

// run executes the command line and returns what exitCode turns into words and a number.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	std := stdio{stdin, stdout, stderr}
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	} else {
		return usageError{"", errors.New("no command is given")}
	}
	switch name {
	case "help", "-h", "-help", "--help":
		return help(args, stdout)
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		err := c.run(ctx, args, std)
		if errors.Is(err, errHelp) {
			_, err = io.WriteString(stdout, c.usage)
		}
		if errors.Is(err, syscall.EPIPE) { // nobody reads any more
			return nil
		}
		return err
	}
	return unknownCommand(name)
}
