//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"tidings/bench/internal/measure"
)

// A bench is one run of the driver: where things are, and what has been found so far.
type bench struct {
	*options
	root    string            // of the module
	bin     string            // compiled programs, kept between runs
	work    string            // data, configuration and logs of the servers, removed at the end
	loadgen string            // the program
	program map[string]string // of each server that can be run
	absent  map[string]string // why the others cannot
	loadavg string            // of the machine before the first run
	xmpp    bool              // this project's server is started with its XMPP server
	lines   bytes.Buffer      // results as JSON lines
	report
}

// newBench compiles what is needed. A peer that is missing is left out; the load generator has to be there.
func newBench(ctx context.Context, o *options) (*bench, error) {
	b := &bench{options: o, program: map[string]string{}, absent: map[string]string{}, loadavg: firstLine("/proc/loadavg")}
	var err error
	if b.root, err = moduleRoot(); err != nil {
		return nil, err
	}
	if b.results == "" {
		b.results = filepath.Join(b.root, "bench", "results")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	b.bin = filepath.Join(cache, "tidings-bench", "bin")
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(); err != nil {
		return nil, err
	}
	b.loadgen = filepath.Join(b.bin, "loadgen")
	if err := b.compile(ctx, "go", "build", "-o", b.loadgen, "./bench/loadgen"); err != nil {
		return nil, err
	}
	for _, s := range servers {
		if !slices.Contains(o.servers, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: preparing %s\n", s.name)
		if b.program[s.name], err = s.prepare(ctx, b); err != nil {
			delete(b.program, s.name)
			b.absent[s.name] = err.Error()
			fmt.Fprintf(os.Stderr, "bench: %s is left out: %v\n", s.name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.work, err = os.MkdirTemp("", "tidings-bench-")
	return b, err
}

// raiseFileLimit raises the limit of descriptors to what the system allows. The servers inherit it.
func raiseFileLimit() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	return nil
}

func (b *bench) close() {
	if b.keep {
		fmt.Fprintln(os.Stderr, "bench: data and logs are kept in", b.work)
		return
	}
	if err := os.RemoveAll(b.work); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// compile runs a compiler in the module's root.
func (b *bench) compile(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// chosen returns the servers among names that can be run.
func (b *bench) chosen(names ...string) []*server {
	var list []*server
	for i, s := range servers {
		if b.program[s.name] != "" && slices.Contains(names, s.name) {
			list = append(list, &servers[i])
		}
	}
	return list
}

// errAbsent is the reason why a scenario that is about this project's server has nothing to measure.
var errAbsent = errors.New("tidings is left out, and this scenario is about it")

// own starts this project's server on a fresh folder.
func (b *bench) own(ctx context.Context) (*target, error) {
	list := b.chosen("tidings")
	if len(list) == 0 {
		return nil, errAbsent
	}
	return list[0].start(ctx, b, b.program["tidings"])
}

// folder makes a fresh folder for one start of a server.
func (b *bench) folder(name string) (string, error) {
	return os.MkdirTemp(b.work, name+"-")
}

// with starts a server, calls f, and stops the server.
func (b *bench) with(ctx context.Context, s *server, f func(*target) error) error {
	t, err := s.start(ctx, b, b.program[s.name])
	if err != nil {
		return err
	}
	return errors.Join(f(t), t.stop())
}

// load runs the load generator and returns its result. A run that lost events is an error beside its result.
func (b *bench) load(ctx context.Context, t *target, args ...string) (measure.Result, error) {
	var r measure.Result
	settle := "2s"
	if b.quick {
		settle = "200ms"
	}
	args = append([]string{"-label", t.name, "-pid", fmt.Sprint(t.pid()), "-settle", settle}, args...)
	cmd := exec.CommandContext(ctx, b.loadgen, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if len(out) > 0 {
		b.lines.Write(out)
		if err := json.Unmarshal(out, &r); err != nil {
			return r, fmt.Errorf("loadgen printed %.200q: %w", out, err)
		}
	}
	if err != nil {
		return r, fmt.Errorf("%s: loadgen: %w: %s", t.name, err, strings.TrimSpace(errs.String()))
	}
	return r, nil
}
