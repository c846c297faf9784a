//go:build linux

package measure

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on every architecture Go runs on.
const tick = 10 * time.Millisecond

// Tree returns pids and all their descendants.
func Tree(pids []int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // gone since
		}
		st, err := parseStat(b)
		if err != nil {
			continue
		}
		children[st.parent] = append(children[st.parent], st.pid)
	}
	var all []int
	for todo := append([]int(nil), pids...); len(todo) > 0; {
		p := todo[0]
		all = append(all, p)
		todo = append(todo[1:], children[p]...)
	}
	return all
}

// CPU returns the user and system time that pids and their living descendants have used so far. The kernel keeps it
// exactly and shows it in steps of 10 ms.
func CPU(pids []int) time.Duration {
	var sum time.Duration
	for _, p := range Tree(pids) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		if st, err := parseStat(b); err == nil {
			sum += st.cpu
		}
	}
	return sum
}

// PSS returns the proportional set size of pids and their descendants in bytes: private pages whole, each shared page
// divided by the number of processes that share it. Kernel socket buffers are not in it.
func PSS(pids []int) int64 {
	var sum int64
	for _, p := range Tree(pids) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue
		}
		if n, err := parsePSS(b); err == nil {
			sum += n
		}
	}
	return sum
}

// UDPDrops returns how many datagrams the kernel has dropped at the receive buffer of the IPv4 sockets bound to addr.
func UDPDrops(addr netip.AddrPort) (int64, error) {
	b, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, err
	}
	return parseDrops(b, addr)
}

type stat struct {
	pid, parent int
	cpu         time.Duration
}

// parseStat reads a line of /proc/PID/stat. The command stands in parentheses and may hold blanks and parentheses.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("measure: stat line %.40q has no command", b)
	}
	var st stat
	var err error
	if st.pid, err = strconv.Atoi(strings.TrimSpace(string(b[:open]))); err != nil {
		return stat{}, fmt.Errorf("measure: stat line: %w", err)
	}
	f := strings.Fields(string(b[end+1:]))
	const state, parent, utime, stime = 0, 1, 11, 12 // fields 3, 4, 14 and 15 of proc_pid_stat(5)
	if len(f) <= stime {
		return stat{}, fmt.Errorf("measure: stat line has %d fields after %q", len(f), f[state:])
	}
	if st.parent, err = strconv.Atoi(f[parent]); err != nil {
		return stat{}, fmt.Errorf("measure: stat line: %w", err)
	}
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("measure: stat line: %w", err)
		}
		st.cpu += time.Duration(n) * tick
	}
	return st, nil
}

// parsePSS finds the line "Pss: N kB" of /proc/PID/smaps_rollup.
func parsePSS(b []byte) (int64, error) {
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("measure: smaps_rollup: %w", err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("measure: smaps_rollup has no Pss line")
}

// parseDrops sums the last column of the sockets in /proc/net/udp that are bound to addr. The address is in hexadecimal,
// its four bytes in the order of the machine, which is little-endian on every machine the benchmark is run on.
func parseDrops(b []byte, addr netip.AddrPort) (int64, error) {
	a := addr.Addr().As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], addr.Port())
	var sum int64
	found := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 13 || f[1] != want {
			continue
		}
		n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("measure: /proc/net/udp: %w", err)
		}
		sum, found = sum+n, true
	}
	if !found {
		return 0, fmt.Errorf("measure: no UDP socket is bound to %s", addr)
	}
	return sum, nil
}
