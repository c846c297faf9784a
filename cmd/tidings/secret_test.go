package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filesOf returns a function that writes a file in the folder and returns its name.
func filesOf(t *testing.T, dir string) func(name, text string, mode os.FileMode) string {
	return func(name, text string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
}

// What is wrong with a file of the configuration is told with what to do about it.
func TestSecretHints(t *testing.T) {
	write := filesOf(t, t.TempDir())
	open := write("open", "hush", 0o640)
	_, read := openSecret(open, "secret_file in [[x]]", "secret")
	_, none := openSecret(open+".none", "secret_file in [[x]]", "secret")
	_, noFile := authorities(open+".none", "[[x]]")
	_, noPEM := authorities(open, "[[x]]")
	for _, tt := range []struct {
		err        error
		text, hint string
	}{
		{read, "has mode 0640: others than its owner may use the secret in it", "chmod 600 " + open},
		{none, "no such file", "secret_file in [[x]] has to name a file that this user may read"},
		{noFile, "no such file", "tls_ca in [[x]] has to name a file that this user may read"},
		{noPEM, "has no certificate", "tls_ca in [[x]] has to name a file of certificates in PEM"},
	} {
		hinted, ok := errors.AsType[hintError](tt.err)
		if !ok || !strings.Contains(tt.err.Error(), tt.text) || hinted.hint != tt.hint {
			t.Errorf("%v, with the hint %q; want %q, %q", tt.err, hinted.hint, tt.text, tt.hint)
		}
	}
}
