//go:build unix

package journal_test

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitFiles makes writes fail behind the size that the environment names, as on a full disk.
func limitFiles() {
	if n, err := strconv.ParseUint(os.Getenv("TIDINGS_JOURNAL_FSIZE"), 10, 64); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
}

// TestDiskFull has the file that is appended to reach a limit: Append says so, and what was acknowledged before is there
// when the journal is opened again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "TIDINGS_JOURNAL_CHILD="+dir, "TIDINGS_JOURNAL_FSIZE=300000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[int]int{}
	collect(out, acked, func(int) {})
	if err := cmd.Wait(); err == nil || !strings.Contains(stderr.String(), "the journal's store failed") {
		t.Errorf("the writer ended with %v and said %q", err, stderr.String())
	}
	if len(acked) < 4 {
		t.Errorf("only %d writers were acknowledged anything", len(acked))
	}
	checkKept(t, dir, 0, acked)
}

// cpuTime returns what the process has used.
func cpuTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
