//go:build interop && linux

package interop_test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// reader is tidings tail on one of the server's protocols: it has to print every change once, in order, and to keep its
// connection.
type reader struct {
	cmd    *exec.Cmd
	stderr strings.Builder
	seen   atomic.Int64
	failed chan error // what it printed, as soon as that is wrong, and its end
}

var rcid = regexp.MustCompile(`"id":([0-9]+)[,}]|rcid=([0-9]+)`)

func read(t *testing.T, address string) *reader {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{cmd: exec.Command(bin, "tail", "--format", "json", address), failed: make(chan error, 1)}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			m := rcid.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			if n, _ := strconv.ParseInt(m[1]+m[2], 10, 64); n != r.seen.Add(1) {
				r.failed <- fmt.Errorf("change %d instead of %d", n, r.seen.Load())
				return
			}
		}
		r.failed <- io.EOF
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
	return r
}
