//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A row is one line of a table.
type row struct {
	what   string // what was measured
	server string
	figure string
	ratio  string
	target string // "" where there is none
	met    bool
	more   string // further figures
}

// A report gathers the tables.
type report struct {
	text     strings.Builder
	rows     []row
	failures int // runs that failed or lost events
	missed   int // targets
}

// begin starts the table of a scenario.
func (r *report) begin(name, what string) {
	r.end()
	fmt.Fprintf(os.Stderr, "bench: scenario %s\n", name)
	fmt.Fprintf(&r.text, "\n## %s: %s\n\n", name, what)
}

func (r *report) add(row row) {
	fmt.Fprintf(os.Stderr, "  %-34s %-11s %-16s %-14s %s\n", row.what, row.server, row.figure, row.ratio, row.more)
	r.rows = append(r.rows, row)
}

// fail notes that a run has failed or lost events.
func (r *report) fail(err error) {
	r.failures++
	fmt.Fprintln(os.Stderr, "bench: FAILED:", err)
	first, _, _ := strings.Cut(err.Error(), "\n")
	r.rows = append(r.rows, row{what: "**failed**: " + strings.ReplaceAll(first, "|", "\\|")})
}

// end writes the table in hand.
func (r *report) end() {
	if len(r.rows) == 0 {
		return
	}
	r.text.WriteString("| what | server | figure | ratio | target | | more |\n|---|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		verdict := ""
		if row.target != "" {
			verdict = "pass"
			if !row.met {
				verdict = "**MISS**"
				r.missed++
			}
		}
		fmt.Fprintf(&r.text, "| %s | %s | %s | %s | %s | %s | %s |\n", row.what, row.server, row.figure, row.ratio, row.target, verdict, row.more)
	}
	r.rows = nil
}

// write prints the report and stores it with the raw results.
func (b *bench) write(took time.Duration) error {
	b.end()
	var head strings.Builder
	now := time.Now()
	fmt.Fprintf(&head, "# Benchmark of %s\n\n", now.Format("2006-01-02 15:04"))
	fmt.Fprintf(&head, "%s, %d cores, Linux %s, %s; load average before %s; took %v.", cpuModel(), runtime.NumCPU(),
		firstLine("/proc/sys/kernel/osrelease"), runtime.Version(), b.loadavg, took.Round(time.Second))
	if commit, err := exec.Command("git", "-C", b.root, "rev-parse", "--short", "HEAD").Output(); err == nil {
		fmt.Fprintf(&head, " Commit %s.", strings.TrimSpace(string(commit)))
	}
	if b.quick {
		head.WriteString(" A quick run: its figures mean nothing, only that all was delivered.")
	}
	head.WriteString("\n")
	for _, s := range servers {
		if why := b.absent[s.name]; why != "" {
			first, _, _ := strings.Cut(why, "\n")
			fmt.Fprintf(&head, "\nLeft out: %s (%s).\n", s.name, first)
		}
	}
	text := head.String() + b.text.String()
	fmt.Println(text)
	if err := os.MkdirAll(b.results, 0o755); err != nil {
		return err
	}
	base := filepath.Join(b.results, now.Format("20060102-150405"))
	if err := os.WriteFile(base+".md", []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".jsonl", b.lines.Bytes(), 0o644)
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// count writes a number with a blank for each thousand, or as k and M above 100,000.
func count(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2fM", n/1e6)
	case n >= 1e5:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n >= 1e4:
		return fmt.Sprintf("%.1fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

// size writes bytes in KB (1,024 bytes) or MB.
func size(n float64) string {
	if n >= 1<<20 || n <= -1<<20 {
		return fmt.Sprintf("%.0f MB", n/(1<<20))
	}
	return fmt.Sprintf("%.1f KB", n/(1<<10))
}
