package access

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"tidings"
)

func TestAdminToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	tok, err := AdminToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(tok, "tid_admin_") || len(tok) != len("tid_admin_")+secretChars {
		t.Errorf("token %q", tok)
	}
	path := filepath.Join(dir, AdminFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if again, err := AdminToken(dir); err != nil || again != tok {
		t.Errorf("second start: %q, %v; want %q", again, err, tok)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	p := open(t, newMemStore(), Options{AdminToken: tok})
	if err := p.May(actor(t, p, tok), tidings.AdminAction, ""); err != nil {
		t.Error(err)
	}
}

func TestAdminTokenFile(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode
		want, err     string
	}{
		{"an administrator's own", "Zm9vYmFyYmF6cXV1eGZvb2JhcmJhenF1dXg9==\n", 0o600, "Zm9vYmFyYmF6cXV1eGZvb2JhcmJhenF1dXg9==", ""},
		{"read-only", strings.Repeat("a", 32), 0o400, strings.Repeat("a", 32), ""},
		{"readable by all", strings.Repeat("a", 32), 0o644, "", "chmod 600"},
		{"readable by the group", strings.Repeat("a", 32), 0o640, "", "chmod 600"},
		{"empty", "", 0o600, "", "remove it"},
		{"short", strings.Repeat("a", 31), 0o600, "", "remove it"},
		{"two lines", strings.Repeat("a", 32) + "\n" + strings.Repeat("a", 32), 0o600, "", "remove it"},
		{"long", strings.Repeat("a", 5000), 0o600, "", "remove it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode&0o077 != 0 {
				t.Skip("windows has no such modes")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, AdminFile)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			got, err := AdminToken(dir)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q, %v; want %q, error with %q", got, err, tt.want, tt.err)
			}
			if err != nil && tt.content != "" && strings.Contains(err.Error(), strings.TrimSpace(tt.content)) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

// Whoever makes the token first, all see the same one.
func TestAdminTokenRace(t *testing.T) {
	dir := t.TempDir()
	toks := make([]string, 8)
	var wg sync.WaitGroup
	for i := range toks {
		wg.Go(func() {
			var err error
			if toks[i], err = AdminToken(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, tok := range toks {
		if tok != toks[0] {
			t.Errorf("%q and %q", tok, toks[0])
		}
	}
}
