//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is a server that the benchmark has started. Its standard error goes to a log file.
type process struct {
	name  string
	cmd   *exec.Cmd
	began time.Time
	lines chan string   // of standard output
	done  chan struct{} // closed when it has exited
	err   error         // of the exit; read after done
	log   string
}

// spawn starts a program in dir. Standard output is read line by line, standard error goes to the file log.
func spawn(name, dir, log string, program string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stderr = dir, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal stops them by the driver, in order
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, lines: make(chan string, 64), done: make(chan struct{}), log: log, began: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			select {
			case p.lines <- sc.Text():
			default: // nobody waits for lines any more
			}
		}
		_, _ = io.Copy(io.Discard, out) // a line too long for the scanner must not block the server
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// line waits for a line of standard output with the given beginning.
func (p *process) line(ctx context.Context, prefix string, timeout time.Duration) (string, error) {
	t := time.NewTimer(timeout)
	defer t.Stop()
	for {
		select {
		case l := <-p.lines:
			if strings.HasPrefix(l, prefix) {
				return l, nil
			}
		case <-p.done:
			return "", fmt.Errorf("%s exited before it was ready: %v\n%s", p.name, p.err, p.tail())
		case <-t.C:
			return "", fmt.Errorf("%s was not ready after %v\n%s", p.name, timeout, p.tail())
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// tail returns the end of the log.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// stop asks the process to end, and after grace makes it.
func (p *process) stop(grace time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		p.kill()
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, grace)
	}
}

// kill ends the process at once, as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails only when the process has exited
	<-p.done
}

// attribute returns the value of key=value in a ready line.
func attribute(line, key string) (string, error) {
	for _, f := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("the line %q has no %s=", line, key)
}
