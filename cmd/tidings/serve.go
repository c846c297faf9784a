package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"tidings/config"
)

// loadConfig reads the file, if one is named, and the environment.
func loadConfig(file string) (config.Config, error) {
	var data []byte
	if file != "" {
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return config.Config{}, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	return config.Parse(file, data, os.Environ())
}

// checkConfig prints the effective configuration.
func checkConfig(file string, out io.Writer) error {
	cfg, err := loadConfig(file)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, cfg.TOML())
	return err
}

// gcPercent is how much the heap grows between two collections, in percent (debug.SetGCPercent), where GOGC does not say it. Most of
// the heap is connections that do nothing: half of Go's usual room saves a fifth of the memory of each, and costs a
// twentieth of the time of a server that does nothing but take events in.
const gcPercent = 50

// serve runs the server until ctx ends or a part of it fails.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := newFlags("serve")
	file := fs.String("config", "", "")
	var cfg config.Config
	texts := map[string]*string{"data": &cfg.Data, "http": &cfg.HTTP.Addr, "udp": &cfg.UDP.Addr, "irc": &cfg.IRC.Addr, "xmpp": &cfg.XMPP.Addr,
		"domain": &cfg.Domain, "durability": &cfg.Durability, "log-level": &cfg.LogLevel}
	for name := range texts {
		fs.String(name, "", "")
	}
	demo := fs.Bool("demo", false, "")
	rate := fs.Float64("demo-rate", 0, "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usagef("serve", "serve takes no operands, and %q is one", operands[0])
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if cfg, err = loadConfig(*file); err != nil {
		return err
	}
	// A flag that is given goes before the file and the environment, even if what it gives is empty or wrong.
	fs.Visit(func(f *flag.Flag) {
		switch to := texts[f.Name]; {
		case to != nil:
			*to = f.Value.String()
		case f.Name == "demo":
			cfg.Demo.Enabled = *demo
		case f.Name == "demo-rate":
			cfg.Demo.Rate = *rate
		}
	})
	if err := cfg.Validate(); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	s, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, s.readyLine())
	select {
	case <-ctx.Done():
		log.Info("shutting down")
	case err = <-s.failed:
		log.Error("shutting down because a part failed", "err", err)
	}
	if closeErr := s.close(); err == nil {
		err = closeErr
	}
	return err
}
